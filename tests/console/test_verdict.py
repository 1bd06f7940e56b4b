"""The verdict's page: its figures are those of the report, its plots are pictures under the page's strict policy."""

import pytest
from playwright.sync_api import Page, expect

from services.reports.build import build_report
from services.reports.collect import collect
from tests.console import scenes
from tests.console.house import House, accessible


@pytest.mark.parametrize(("outcome", "said"), [("rejected", "at least one threshold is missed"), ("accepted", "met")])
def test_the_verdict_is_that_of_the_report(house: House, page: Page, outcome: str, said: str) -> None:
    ticket_id = scenes.verdict_of(house.place, 0, outcome)
    house.log_in(page)
    page.goto(f"{house.url}/console/tickets/{ticket_id}")
    page.get_by_role("link", name="Read the verdict").click()
    expect(page.locator(".notice")).to_contain_text(said)
    with house.place.store.read() as session:
        report = build_report(collect(session, ticket_id))
    shown = page.locator("table").first.locator("tbody tr")
    gates = [gate for gate in report["gates"] if not gate["name"].startswith("attack:")]
    expect(shown).to_have_count(len(gates))
    for row, gate in zip(shown.all(), gates, strict=True):
        expect(row).to_contain_text("–" if gate["value"] is None else f"{gate['value']:.3f}")
    page.wait_for_load_state("load")  # the pictures come after the page
    for picture in page.locator("figure img").all():
        assert picture.evaluate("one => one.complete && one.naturalWidth > 100"), "a plot is not drawn"
        assert picture.get_attribute("alt")
    assert page.locator("figure img").count() == 2
    accessible(page)


def test_nothing_measured_is_said_and_no_fault(house: House, page: Page) -> None:
    ticket_id = scenes.file(house.place, 3)
    house.log_in(page)
    answer = page.goto(f"{house.url}/console/tickets/{ticket_id}/verdict")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("alert")).to_contain_text("Nothing was measured")
