"""The board: order, pages, filters, finding."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from services.store import board as boards
from services.store.tables import Ticket
from services.store.tickets import get_ticket
from tests.console.house import OFFICER, READER, House, accessible
from tests.unit.services.place import Place

NOW = datetime.now(UTC)


def fill(place: Place, number: int) -> list[str]:
    """Approved tickets; the n-th is due n days from now, the first three are late, pairs share a deadline."""
    ids = [place.file(("email", f"p{n}@example.org")) for n in range(number)]
    with place.store.write() as session:
        for n, ticket_id in enumerate(ids):
            get_ticket(session, ticket_id).due_at = NOW + timedelta(days=n // 2 - 1, minutes=-1)
    return ids


def test_tickets_come_in_the_order_of_their_deadlines_a_page_at_a_time(place: Place) -> None:
    ids = fill(place, 9)
    wanted = boards.Wanted(statuses=("approved", "denied"))
    seen: list[Ticket] = []
    after: boards.Place | None = None
    with place.store.read() as session:
        while page := boards.board(session, wanted, after=after, limit=4):
            seen += page
            last = page[-1]
            assert last.due_at is not None
            after = last.due_at, last.ticket_id
        assert [one.due_at for one in seen] == sorted(one.due_at for one in seen if one.due_at)
        assert sorted(one.ticket_id for one in seen) == sorted(ids)
        assert boards.count_due(session, ("approved",), before=NOW) == 4
        assert boards.by_status(session) == {"approved": 9}


def test_a_ticket_without_a_deadline_is_shown_first(house: House, page: Page) -> None:
    ids = fill(house.place, 3)
    with house.place.store.write() as session:
        get_ticket(session, ids[2]).due_at = None
    house.log_in(page)
    expect(page.locator("tbody tr").first).to_contain_text(ids[2])
    expect(page.locator("tbody tr").first).to_contain_text("no deadline")


def test_the_board_in_a_browser(house: House, page: Page) -> None:
    ids = fill(house.place, 60)
    house.log_in(page)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("1 day late")
    expect(rows.first).to_contain_text("Searching")
    accessible(page)
    page.get_by_role("link", name="Later deadlines").click()
    expect(rows).to_have_count(10)
    page.get_by_role("link", name="From the start").click()
    page.get_by_role("link", name="4 ✕ late").or_(page.get_by_role("link", name="4 late")).click()
    expect(rows).to_have_count(4)
    page.get_by_label("Status").select_option("denied")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No ticket is like that.")).to_be_visible()
    page.get_by_label("Ticket, or their number").fill("e-7")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{house.url}/console/tickets/{ids[6]}")


def test_a_person_is_found_by_an_identifier_and_it_stays_out_of_the_address(house: House, page: Page) -> None:
    ids = fill(house.place, 2)
    house.log_in(page)
    page.get_by_label("Value").fill("P1@Example.org")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{house.url}/console/tickets/{ids[1]}")
    page.goto(f"{house.url}/console/")
    page.get_by_label("Value").fill("nobody@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No ticket holds this identifier.")).to_be_visible()
    accessible(page)


@pytest.mark.parametrize("scopes", [READER])
def test_who_may_not_see_identities_cannot_search_for_them(house: House, page: Page, scopes: list[str]) -> None:
    house.log_in(page, scopes)
    expect(page.get_by_label("Value")).to_have_count(0)
    expect(page.get_by_role("link", name="Releases")).to_have_count(0)
    assert set(scopes) < set(OFFICER)


def test_it_is_usable_on_a_telephone_and_by_keyboard(house: House, page: Page) -> None:
    fill(house.place, 4)
    house.log_in(page)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    accessible(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_bad_address_gets_a_page_that_says_so(house: House, page: Page) -> None:
    house.log_in(page)
    answer = page.goto(f"{house.url}/console/?after=nonsense")
    assert answer is not None
    assert answer.status == 422
    accessible(page)
    answer = page.goto(f"{house.url}/console/nothing-here")
    assert answer is not None
    assert answer.status == 404
