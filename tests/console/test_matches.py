"""Sorting the records of possible namesakes, side by side with what is known of the person."""

import hashlib

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from services.console.pages.matches import REASONS
from services.store.tables import MatchReview
from tests.console import scenes
from tests.console.house import OFFICER, READER, House, accessible


def test_a_person_sorts_namesakes(house: House, page: Page) -> None:
    ticket_id, records = scenes.namesakes(house.place)
    person = house.place.people[1]
    house.log_in(page)
    page.goto(f"{house.url}/console/tickets/{ticket_id}")
    page.get_by_role("link", name="Compare the 4 records").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("4 open, 0 sorted")
    expect(page.locator(".sides")).to_contain_text(person.email)
    assert set(page.locator("mark").all_inner_texts()) <= set(" ".join(person.names).split())
    assert page.locator("mark").count() >= 2
    accessible(page)
    page.get_by_role("button", name="Record these answers").click()  # nothing was answered
    expect(page.get_by_role("alert")).to_contain_text("at least one record")
    for record in records[:2]:
        page.locator(f'input[name="of:{record}"][value="mine"]').check()
    page.locator(f'input[name="of:{records[2]}"][value="other"]').check()
    page.get_by_role("button", name="Record these answers").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 open, 3 sorted")
    page.locator(f'input[name="of:{records[3]}"][value="other"]').check()
    page.get_by_role("button", name="Record these answers").click()
    expect(page.locator(".headline")).to_contain_text("Searching")
    with house.place.store.read() as session:
        rows = session.scalars(select(MatchReview).where(MatchReview.ticket_id == ticket_id))
        assert {row.record_id: row.decision for row in rows} == dict(
            zip(records, ("confirm", "confirm", "deny", "deny"), strict=True)
        )


@pytest.mark.parametrize("known", [True, False], ids=["of somebody in the corpus", "of nobody there any more"])
def test_matches_of_a_digest_are_shown_beside_what_the_corpus_knows(house: House, page: Page, known: bool) -> None:
    person = house.place.people[1]
    digest = hashlib.sha256(person.email.encode()).hexdigest() if known else "0" * 64
    subject = [{"kind": "email", "value": digest, "form": "sha256"}]
    ticket_id, _ = scenes.namesakes(house.place, subject=subject)
    house.log_in(page)
    answer = page.goto(f"{house.url}/console/tickets/{ticket_id}/matches")
    assert answer is not None
    assert answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_contain_text("4 open, 0 sorted")
    assert (page.locator("mark").count() > 0) is known


def test_who_may_not_see_identities_sees_no_records(house: House, page: Page) -> None:
    ticket_id, _ = scenes.namesakes(house.place)
    house.log_in(page, [*READER, "tickets:decide"], "privacy_officer")
    page.goto(f"{house.url}/console/tickets/{ticket_id}")
    expect(page.get_by_role("link", name="Compare")).to_have_count(0)
    answer = page.goto(f"{house.url}/console/tickets/{ticket_id}/matches")
    assert answer is not None
    assert answer.status == 403
    assert "tickets:identity" in OFFICER


def test_every_reason_of_the_search_has_words() -> None:
    from policies.identifiers import Fit

    assert {fit.value for fit in Fit} <= set(REASONS)
