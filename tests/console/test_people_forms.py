"""Forms about people: exemptions, repetitions, letters and regurgitation claims."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from services.claims import claims_of
from services.people import exemptions, notices, recipients
from tests.console.house import OFFICER, READER, House, accessible, serving
from tests.console.scenes import body
from tests.smtp_server import smtp_server
from tests.unit.services.place import OFFICER as CLERK
from tests.unit.services.place import Place


def file(house: House, number: int = 0, **more: object) -> str:
    return house.place.desk.file(body(house.place, number, **more), CLERK)[0]


def opened(house: House, page: Page, path: str) -> None:
    page.goto(f"{house.url}/console/tickets/{path}")


def test_a_category_is_kept_under_an_exemption_until_it_is_ended(house: House, page: Page) -> None:
    ticket_id = file(house)
    house.log_in(page)
    opened(house, page, ticket_id)
    form = page.locator("details.act", has_text="Keep something under an exemption")
    form.locator("summary").click()
    form.get_by_label("Exemption").select_option("legal_claims")
    form.get_by_label("A category").fill("contract.*")
    form.get_by_label("… or one record's id").fill("r-1")
    form.get_by_label("Look at it again by").fill(f"{datetime.now(UTC) + timedelta(days=60):%Y-%m-%d}")
    form.get_by_label("Reason").fill("A dispute about the contract")
    form.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("alert")).to_contain_text("exemption.invalid")  # one target, not two
    form.get_by_label("… or one record's id").fill("")
    form.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("The exemption is recorded; decide again.")).to_be_visible()
    with house.place.store.read() as session:
        [kept] = exemptions.of_ticket(session, ticket_id)
    assert (kept.category, kept.code) == ("contract.*", "legal_claims")
    accessible(page)
    page.locator("summary", has_text="to be looked at by").click()
    page.locator(f"[id='{kept.exemption_id}-reason']").fill("The dispute is settled")
    page.get_by_role("button", name="End the exemption").click()
    expect(page.get_by_text("The exemption is ended.")).to_be_visible()
    with house.place.store.read() as session:
        assert exemptions.of_ticket(session, ticket_id) == []


def test_a_repetition_is_closed_for_the_earlier_ticket(house: House, page: Page) -> None:
    first = file(house)
    again = file(house, external_id="case-again")
    house.log_in(page)
    opened(house, page, again)
    form = page.locator("details.act", has_text="Close as a repetition")
    form.locator("summary").click()
    form.get_by_label("The ticket that goes on").select_option(first)
    form.get_by_label("Reason").fill("The same person asked twice")
    form.get_by_role("button", name="Close as a repetition").click()
    expect(page.get_by_text("It is closed as a repetition.")).to_be_visible()
    assert house.place.ticket(again).acts["duplicate_of"] == first
    accessible(page)


def test_letters_are_made_read_and_recorded_as_sent(house: House, page: Page) -> None:
    with house.place.store.write() as session:
        recipients.add(session, "crm-vendor", "data", None, actor="t", at=datetime.now(UTC))
    ticket_id, person = file(house), house.place.people[0]
    house.place.desk.approve(ticket_id, CLERK)
    house.log_in(page)
    opened(house, page, f"{ticket_id}/letters")
    page.get_by_label("Which").select_option("answer")
    page.get_by_role("button", name="Make the letter").click()
    expect(page.get_by_role("alert")).to_contain_text("letter.not_due")  # nothing is erased yet
    page.get_by_label("Which").select_option("receipt")
    page.get_by_role("button", name="Make the letter").click()
    receipt = page.get_by_role("row", name="receipt")
    expect(receipt).to_contain_text("not sent")
    accessible(page)
    receipt.get_by_label("Went out by").select_option("post")
    receipt.get_by_role("button", name="Record as sent").click()
    expect(page.get_by_role("row", name="receipt")).to_contain_text("by post")
    vendor = page.get_by_role("row", name="crm-vendor")
    assert person.email not in page.content()
    vendor.get_by_role("link", name="read").click()
    expect(page.locator("pre.letter")).to_contain_text(person.email)
    accessible(page)
    page.get_by_role("button", name="Telling them is impossible").click()
    expect(page.get_by_role("row", name="crm-vendor")).to_contain_text("impossible")
    with house.place.store.read() as session:
        found = {row.letter: row.status for row in notices.of_ticket(session, ticket_id)}
    assert found == {"receipt": "sent", "recipient_data": "impossible"}
    answer = house.client().get(f"/console/tickets/{ticket_id}/letters", follow_redirects=False)
    assert answer.status_code == 303  # to the log-in


def test_a_letter_is_sent_by_mail_from_its_page(make_place: Callable[..., Place], page: Page) -> None:
    with smtp_server() as box:
        mail = {"host": "127.0.0.1", "port": box.port, "security": "none", "sender": "privacy@lethe.example"}
        with serving(make_place(mail=mail)) as house:
            ticket_id = file(house)
            house.log_in(page)
            opened(house, page, f"{ticket_id}/letters")
            page.get_by_label("Which").select_option("receipt")
            page.get_by_role("button", name="Make the letter").click()
            receipt = page.get_by_role("row", name="receipt")
            box.refused.add(house.place.people[0].email)
            receipt.get_by_role("button", name="Send by mail").click()
            expect(page.get_by_role("alert")).to_contain_text("letter.undeliverable")
            expect(receipt).to_contain_text("tried 1 time")
            accessible(page)
            box.refused.clear()
            box.breaks = "end"
            receipt.get_by_role("button", name="Send by mail").click()
            expect(page.get_by_role("alert")).to_contain_text("mail.unsure")
            expect(receipt).to_contain_text("perhaps sent")
            accessible(page)
            box.breaks = ""
            receipt.get_by_role("button", name="It did not arrive").click()
            receipt.get_by_role("button", name="Send by mail").click()
            expect(receipt).to_contain_text("by email")
            expect(receipt.get_by_role("button", name="Send by mail")).to_have_count(0)
        assert [message["To"] for message in box.arrived] == [house.place.people[0].email] * 2


def test_who_may_only_look_makes_no_letter_and_reads_none(house: House, page: Page) -> None:
    ticket_id = file(house)
    house.log_in(page, READER)
    opened(house, page, f"{ticket_id}/letters")
    expect(page.get_by_role("button", name="Make the letter")).to_have_count(0)
    for path in ("claims", "letters/n-1"):
        answer = page.goto(f"{house.url}/console/tickets/{ticket_id}/{path}")
        assert answer is not None
        assert answer.status == 403


def test_a_claim_is_filed_once(house: House, page: Page) -> None:
    ticket_id = file(house)
    house.log_in(page, OFFICER)
    opened(house, page, f"{ticket_id}/claims")
    accessible(page)
    for output in ("She lives at 4 Elm Road.", "She lives in Paris."):
        opened(house, page, f"{ticket_id}/claims")
        page.get_by_label("Its number").fill("claim-1")
        page.get_by_label("What was asked").fill("Where does she live?")
        page.get_by_label("What the model said").fill(output)
        page.get_by_role("button", name="File the claim").click()
    expect(page.get_by_role("alert")).to_contain_text("ticket.conflict")
    expect(page.get_by_text("4 Elm Road")).to_be_visible()
    accessible(page)
    with house.place.store.read() as session:
        assert [one.output for one in claims_of(session, ticket_id)] == ["She lives at 4 Elm Road."]
