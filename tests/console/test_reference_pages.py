"""The calendar of deadlines and the policy in words."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from policies.pack import builtin_packs, load_pack
from services.console.conditions_in_words import in_words
from services.store.tickets import get_ticket
from tests.console import scenes
from tests.console.house import READER, House, accessible


def test_the_calendar_leads_to_the_tickets_of_a_day(house: House, page: Page) -> None:
    ids = [scenes.file(house.place, number) for number in (3, 4, 5)]
    now = datetime.now(UTC)
    with house.place.store.write() as session:
        for ticket_id, days in zip(ids, (-1, 2, 2), strict=True):
            get_ticket(session, ticket_id).due_at = (now + timedelta(days=days)).replace(hour=23, minute=59, second=59)
    house.log_in(page, READER)
    soon = now + timedelta(days=2)
    page.goto(f"{house.url}/console/calendar?month={soon:%Y-%m}")
    accessible(page)
    page.get_by_role("link", name=f"2 soon on {soon:%d %B}").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto(f"{house.url}/console/calendar?month={now - timedelta(days=1):%Y-%m}")
    expect(page.get_by_role("link", name="1 late")).to_be_visible()
    page.get_by_role("link", name="The month before").click()
    page.goto(f"{house.url}/console/calendar?month=nonsense")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{now:%B %Y}")


def test_a_ticket_stands_on_the_day_of_its_own_zone_in_calendar_and_board(house: House, page: Page) -> None:
    """A deadline of Los Angeles ends on the next day of UTC."""
    ids = [scenes.file(house.place, 3, regime="ccpa", ground=None), scenes.file(house.place, 4)]
    with house.place.store.write() as session:
        for ticket_id, end in zip(ids, ("2027-04-24T06:59:59Z", "2027-04-24T23:59:59Z"), strict=True):
            get_ticket(session, ticket_id).due_at = datetime.fromisoformat(end)
    house.log_in(page, READER)
    for day, ticket_id in (("23", ids[0]), ("24", ids[1])):
        page.goto(f"{house.url}/console/calendar?month=2027-04")
        page.get_by_role("link", name=f"1 due on {day} April").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text(ticket_id)


def test_every_policy_has_its_page(house: House, page: Page) -> None:
    house.log_in(page, READER)
    page.get_by_role("link", name="Policy").click()
    accessible(page)
    for regime in builtin_packs():
        page.goto(f"{house.url}/console/policy/{regime}")
        expect(page.locator(".rules > li")).to_have_count(len(load_pack(regime).data.rules))
        accessible(page)
    answer = page.goto(f"{house.url}/console/policy/hammurabi")
    assert answer is not None
    assert answer.status == 422


def test_every_rule_of_the_built_in_packs_has_words() -> None:
    for regime in builtin_packs():
        for rule in load_pack(regime).data.rules:
            assert in_words(rule.when), rule.when


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("true", "always"),
        ("!identity.verified && clock.overdue", "the identity is not verified and the answer is late"),
        ('ticket.ground == "unlawful_processing"', "the ground is unlawful processing"),
        ('ticket.ground == ""', "the ground is not known"),
        ("clock.days_left <= 3 || hold.active", "the number of days left is at most 3, or a legal hold stands"),
        ("'child' in ticket.notes", "the notes include child"),
        ('ticket.channel in ["email", "letter"]', "the way it came in is email or letter"),
        ("!(hold.active || clock.overdue)", "it is not so that a legal hold stands, or the answer is late"),
        (
            "(hold.active || clock.overdue) && approvals.complete",
            "(a legal hold stands, or the answer is late) and every approval that is needed is given",
        ),
        (
            "approvals.given < approvals.needed",
            "the number of approvals given is less than the number of approvals needed",
        ),
        ("ticket.notes.exists(n, n == 'child')", None),
        ("size(ticket.scope) > 1", None),
        ("identity.verified == true", None),
        ("&& true", None),
        ("true true", None),
        ('ticket.ground == "a\\"b"', None),
        ("", None),
    ],
)
def test_conditions_in_words(condition: str, words: str | None) -> None:
    assert in_words(condition) == words
