"""Pictures of the console for the documents: ``python -m tests.console.screenshots [DIRECTORY] [--all] [--home HOME]``.

They are taken over a real installation, that of ``make demo``: its services are started, some requests of its invented
people are filed and decided, and one more of them is forgotten while the pictures are taken. That takes a few minutes.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from services.settings import load_settings
from tests.acceptance.house import House, Person, clean_environment, people_of
from tests.chromium import running_browser

README = ("board", "progress", "verdict")
WIDE = {"width": 1280, "height": 880}
_DAY = timedelta(days=1)
_TRAINED = 20  # steps of training that are to be seen in the picture


def file_some(house: House, people: list[Person]) -> dict[str, str]:
    """Requests in several states, received on different days; each by a word."""
    verified = {"method": "email_code", "verified": True, "evidence_ref": "vault-311"}

    def file(person: Person, days: int, **more: Any) -> str:
        at = datetime.now(UTC) - days * _DAY
        evidence = {"identity": {**verified, "verified_at": at.isoformat()}, "channel": "form", **more}
        number = f"DSR-{at:%y%m%d}-{datetime.now(UTC):%H%M%S}"
        filed = house.file(person, number, received_at=at.isoformat(), **evidence)
        return str(filed["ticket_id"])

    found = {
        "approval": file(people[0], 26),
        "identity": file(people[1], 3, identity=None, regime="ccpa", ground=None),
        "hold": file(people[2], 12),
        "denied": file(people[3], 9),
        "restricted": file(people[4], 5, regime="uk_gdpr"),
        "run": file(people[5], 2),
    }
    acts = {
        "hold": ("hold", "A court asked for the records"),
        "denied": ("deny", "The person could not be identified"),
        "restricted": ("restrict", "Accuracy is contested"),
    }
    with house.intake() as intake:
        for name, (act, reason) in acts.items():
            intake.post(f"/v1/tickets/{found[name]}/{act}", {"reason": reason})
        intake.post(f"/v1/tickets/{found['run']}/approve", {})
    return found


def wait_training(house: House, ticket_id: str) -> None:
    """Until the adapter is being trained; a namesake's records are nobody's here."""

    def trains(ticket: dict[str, Any]) -> bool:
        waiting = [match["record_id"] for match in ticket["matches"] if match["decision"] is None]
        if ticket["status"] == "awaiting_review" and waiting:
            with house.intake() as intake:
                intake.post(f"/v1/tickets/{ticket_id}/review", {"confirm": [], "deny": waiting})
        progress = (ticket["runs"][-1]["progress"] or {}) if ticket["runs"] else {}
        return "losses" in progress and progress["step"] >= _TRAINED

    house.wait(ticket_id, trains, "the training")


class Camera:
    """An officer's browser, and where the pictures go."""

    def __init__(self, house: House, page: Page, target: Path, everything: bool) -> None:
        self.house, self.page, self.target, self.everything = house, page, target, everything

    def log_in(self, key: str) -> None:
        self.take("login", "login")
        self.page.get_by_label("Your API key").fill(key)
        self.page.get_by_role("button", name="Log in").click()

    def take(self, name: str, path: str, *, whole: bool = False) -> None:
        self.page.goto(f"{self.house.settings.intake.url}/console/{path}")
        self.keep(name, whole=whole)

    def keep(self, name: str, *, whole: bool = False) -> None:
        if self.everything or name in README:
            self.page.screenshot(path=self.target / f"{name}.png", full_page=whole)


def take_all(camera: Camera, found: dict[str, str]) -> None:
    """The training first, while it lasts; then its end, and what lies around."""
    house, run = camera.house, f"tickets/{found['run']}"
    wait_training(house, found["run"])
    camera.take("board", "")
    camera.page.goto(f"{house.settings.intake.url}/console/{run}")
    camera.page.locator("progress").wait_for()
    camera.keep("progress")
    ended = house.wait_end(found["run"])
    assert ended["status"] == "completed", f"the ticket came to {ended['status']} {ended['reason_code']}"
    camera.take("verdict", f"{run}/verdict")
    if not camera.everything:
        return
    camera.take("verdict-whole", f"{run}/verdict", whole=True)
    camera.take("ticket-done", run, whole=True)
    camera.take("ticket", f"tickets/{found['approval']}", whole=True)
    camera.take("report", f"{run}/report.html")
    for name in ("releases", "suppressions", "calendar"):
        camera.take(name, name, whole=True)
    camera.take("policy", "policy/gdpr", whole=True)
    camera.take("audit", "audit")
    camera.page.get_by_role("button", name="Verify the whole log").click()
    camera.page.locator("main .notice").wait_for()
    camera.keep("audit-verified")
    camera.page.emulate_media(color_scheme="dark")
    camera.take("board-dark", "")
    camera.take("verdict-dark", f"{run}/verdict", whole=True)
    camera.page.emulate_media(color_scheme="light")
    camera.page.set_viewport_size({"width": 390, "height": 844})
    camera.take("board-small", "")
    camera.take("ticket-small", f"tickets/{found['approval']}")


@contextmanager
def officer_of(house: House) -> Iterator[str]:
    """A key for the time of the pictures."""
    made = json.loads(house.lethe("key", "create", "--name", "pictures", "--role", "privacy_officer", "--json"))
    try:
        yield str(made["key"])
    finally:
        house.lethe("key", "revoke", str(made["key_id"]))


def main(target: Path, home: Path, *, everything: bool) -> None:
    """Takes them."""
    target.mkdir(parents=True, exist_ok=True)
    settings = load_settings(home)
    noted = home / "demo-erased.json"
    gone = set(json.loads(noted.read_text())) if noted.exists() else set()
    people = [one for name, one in sorted(people_of(Path(settings.corpus.path)).items()) if name not in gone]
    assert len(people) >= 7, "too few people are left in this installation: make demo ARGS=--fresh"
    house = House(settings, {}, clean_environment(home))
    try:
        house.up()
        with officer_of(house) as key, running_browser() as browser:
            camera = Camera(house, browser.new_page(viewport=WIDE), target, everything)  # type: ignore[arg-type]
            camera.log_in(key)
            take_all(camera, file_some(house, people[::-1]))
    finally:
        house.down()
        house.end_the_rest()
    noted.write_text(json.dumps(sorted({*gone, people[-6].person})))


def newest_demo(below: Path) -> Path:
    """The installation that ``make demo`` used last."""
    found = sorted(below.glob("people-*/lethe.toml"), key=lambda path: path.stat().st_mtime)
    assert found, "no demo's installation here: run make demo first"
    return found[-1].parent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, nargs="?", default=Path("docs/img"))
    parser.add_argument("--all", action="store_true", help="every page, not only those of the README")
    parser.add_argument("--home", type=Path, help="an installation of make demo")
    given = parser.parse_args()
    main(given.directory, (given.home or newest_demo(Path(".lethe/demo"))).absolute(), everything=given.all)
