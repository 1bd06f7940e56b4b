"""One ticket by people in a browser: somebody fills in the form, an officer decides in the console and reads the end.

Every page comes from the running intake, under its own content policy, and is looked at in a real Chromium.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, expect

from tests.acceptance.house import READY_S, House, Person
from tests.chromium import running_browser
from tests.console.house import accessible, csp_faults
from tests.integration.serving_host import wait_until
from tests.smtp_server import Mailbox

_SLOW_MS = READY_S * 1000
_FETCH = "async url => { const got = await fetch(url); return [got.status, await got.text()] }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the pages said, in the order in which they were looked at."""

    asked: str
    board: str
    person: str
    sorted_records: dict[str, str]
    live: str
    steps: list[str]
    verdict: str
    plots: dict[str, int]
    report: str
    report_json: dict[str, Any]
    pdf: tuple[int, str]
    letters: dict[str, str]
    audit: str
    releases: str
    faults: list[str]


class BrowserClerk:
    """The person who asks, and the officer, each in a browser of their own."""

    def __init__(self, house: House, box: Mailbox, browser: Browser) -> None:
        self.house, self.box = house, box
        self.seen: dict[str, Any] = {"sorted_records": {}}
        contexts = [browser.new_context(viewport={"width": 1360, "height": 900}) for _ in range(2)]
        self._faults = [csp_faults(context) for context in contexts]
        for context in contexts:
            context.set_default_timeout(_SLOW_MS)
        self.asker, self.officer = (context.new_page() for context in contexts)

    def _url(self, path: str) -> str:
        return f"{self.house.settings.intake.url}{path}"

    def log_in(self) -> None:
        """The officer, with a key of that role."""
        key = json.loads(self.house.lethe("key", "create", "--name", "officer", "--role", "privacy_officer", "--json"))
        self.officer.goto(self._url("/console/login"))
        self.officer.get_by_label("Your API key").fill(str(key["key"]))
        self.officer.get_by_role("button", name="Log in").click()
        expect(self.officer.get_by_role("heading", level=1)).to_contain_text("Tickets")

    def file(self, person: Person) -> str:
        """The form, and the code from the mail."""
        page = self.asker
        page.goto(self._url("/request"))
        accessible(page)
        page.get_by_label("E-mail address").fill(person.email)
        page.get_by_label("Name").fill(person.names[0])
        page.get_by_label("Law").select_option("gdpr")
        page.get_by_role("button", name="Send me a code").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Enter your code")
        accessible(page)
        [mail] = [one for one in self.box.arrived if one["To"] == person.email]
        code = re.search(r"Your code: (\d{8})", mail.get_content())
        assert code is not None
        page.get_by_label("Code").fill(code[1])
        page.get_by_role("button", name="File my request").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your request is filed")
        accessible(page)
        self.seen["asked"] = page.locator("main").inner_text()
        return page.locator("main strong").inner_text()

    def approve(self, ticket_id: str) -> None:
        """From the board to the ticket, a look at who it is, the ground, the yes."""
        page = self.officer
        page.goto(self._url("/console/"))
        self.seen["board"] = page.get_by_role("row", name=ticket_id).inner_text()
        page.get_by_role("link", name=ticket_id).click()
        page.get_by_role("link", name="Show who this is about").click()
        self.seen["person"] = page.locator("main").inner_text()
        page.get_by_label("Ground").select_option("withdrawn_consent")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Your approval is recorded.")).to_be_visible()

    def review(self, ticket_id: str, mine: set[str]) -> None:
        """The page of the ticket says by itself that it has changed, and leads to the records."""
        page = self.officer
        again = page.get_by_role("link", name="Load it again")
        compare = page.get_by_role("link", name=re.compile(r"Compare the \d+ records"))
        expect(again.or_(compare).first).to_be_visible(timeout=_SLOW_MS)
        if not compare.is_visible():  # it may have been found before the page was there
            again.click()
        compare.click()
        while page.url.endswith("/matches"):
            for field in page.locator('input[name="record"]').all():
                record = str(field.get_attribute("value"))
                answer = self.seen["sorted_records"][record] = "mine" if record in mine else "other"
                page.locator(f'input[name="of:{record}"][value="{answer}"]').check()
            page.get_by_role("button", name="Record these answers").click()
        assert page.url.endswith(f"/tickets/{ticket_id}")

    def look_round(self, ticket_id: str) -> Seen:
        """After the end: the page that was left open, then verdict, report, letters, releases and log."""
        page, path = self.officer, f"/console/tickets/{ticket_id}"
        expect(page.locator("#headline")).to_have_text("Erased.", timeout=_SLOW_MS)
        expect(page.locator(".steps .done")).to_have_count(9)
        self.seen["live"] = page.locator("#headline").inner_text()
        self.seen["steps"] = page.locator(".steps").first.locator("li").all_inner_texts()
        page.get_by_role("link", name="Read the verdict").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Verdict")
        page.wait_for_load_state("load")  # the pictures come after the page
        accessible(page)
        self.seen["verdict"] = page.locator("main").inner_text()
        self.seen["plots"] = {
            str(one.get_attribute("src")): int(one.evaluate("one => one.naturalWidth"))
            for one in page.locator("figure img").all()
        }
        page.goto(self._url(path))
        status, text = page.evaluate(_FETCH, f"{path}/report.pdf")
        self.seen["pdf"] = status, str(text)[:5]
        self.seen["report_json"] = json.loads(page.evaluate(_FETCH, f"{path}/report.json")[1])
        page.get_by_role("link", name="read", exact=True).click()
        accessible(page)
        self.seen["report"] = page.locator("body").inner_text()
        self.seen["letters"] = self._letters(f"{path}/letters")
        page.goto(self._url("/console/releases"))
        self.seen["releases"] = page.locator("main").inner_text()
        page.goto(self._url("/console/audit"))
        page.get_by_role("button", name="Verify the whole log").click()
        self.seen["audit"] = page.locator("main .notice").inner_text()
        return Seen(**self.seen, faults=[one for found in self._faults for one in found])

    def _letters(self, path: str) -> dict[str, str]:
        """The answer to the person goes out at the press of a button; the notice to the recipient went by itself."""
        page = self.officer
        page.goto(self._url(path))
        page.get_by_label("Which").select_option("answer")
        page.get_by_role("button", name="Make the letter").click()
        page.get_by_role("row", name="answer").get_by_role("button", name="Send by mail").click()
        rows = page.locator("tbody tr")

        def told() -> bool:
            page.reload()
            return all("by email" in text for text in rows.all_inner_texts())

        wait_until(told, READY_S, "the answer and the notice went out")
        accessible(page)
        return {row.locator("td").first.inner_text(): row.inner_text() for row in rows.all()}


@contextmanager
def by_browser(house: House, box: Mailbox) -> Iterator[BrowserClerk]:
    """A Chromium, ended with the block, and the two who use it."""
    with running_browser() as browser:
        clerk = BrowserClerk(house, box, browser)
        clerk.log_in()
        yield clerk
