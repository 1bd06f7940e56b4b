"""Releases and their moves, the suppression list, the audit log and its check."""

import json

from playwright.sync_api import Page, expect
from sqlalchemy import select, text

from services import audit, keys, release_ops
from services.store.releases import add_release
from services.store.tables import ReleaseOrder
from tests.console import scenes
from tests.console.house import OFFICER, OPERATOR, READER, House, accessible
from tests.unit.services.place import BASE, RELEASE_0
from tests.unit.services.place import OFFICER as CLERK

NEW = "a" * 64


def release(house: House) -> None:
    with house.place.store.write() as session:
        add_release(
            session,
            digest=NEW,
            base_digest=BASE,
            parent_digest=RELEASE_0,
            path="",
            watermark=(),
            verdict={"outcome": "accepted"},
            actor="system:test",
        )


def test_a_move_is_planned_reasoned_and_ordered(house: House, page: Page) -> None:
    release(house)
    house.log_in(page, OPERATOR, None)
    page.get_by_role("link", name="Releases").click()
    accessible(page)
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("Nothing is done yet.")).to_be_visible()
    accessible(page)
    page.get_by_label("Why").fill("It was verified again")
    page.get_by_role("button", name="Promote now").click()
    expect(page.get_by_text("Ordered as")).to_be_visible()
    expect(page.get_by_text("under way")).to_be_visible()
    accessible(page)
    with house.place.store.read() as session:
        [order] = session.scalars(select(ReleaseOrder))
        assert (order.kind, order.release_digest, release_ops.why_of(session, order)) == (
            "promote",
            NEW,
            "It was verified again",
        )
    assert "verified again" not in page.content()
    page.get_by_role("button", name="Promote").click()  # one is under way
    expect(page.get_by_text("release.busy")).to_be_visible()
    expect(page.get_by_role("button", name="Promote now")).to_have_count(0)


def test_a_plan_that_is_out_of_date_is_shown_again(house: House, page: Page) -> None:
    release(house)
    house.log_in(page, OPERATOR, None)
    page.goto(f"{house.url}/console/releases")
    page.get_by_role("button", name="Promote").click()
    page.get_by_label("Why").fill("It was verified again")
    with house.place.store.write() as session:
        session.execute(text("UPDATE desired_state SET generation = generation + 1"))
    page.get_by_role("button", name="Promote now").click()
    expect(page.get_by_role("alert")).to_contain_text("has changed")
    expect(page.get_by_label("Why")).to_have_value("It was verified again")
    with house.place.store.read() as session:
        assert not session.scalars(select(ReleaseOrder)).all()


def test_who_may_only_look_moves_nothing(house: House, page: Page) -> None:
    release(house)
    house.log_in(page, OFFICER)
    page.goto(f"{house.url}/console/releases")
    expect(page.get_by_role("button", name="Promote")).to_have_count(0)


def test_the_suppression_list(house: House, page: Page) -> None:
    ticket_id = scenes.file(house.place, 7)
    house.place.desk.restrict(ticket_id, CLERK, reason="Accuracy is contested")
    house.log_in(page, READER, "privacy_officer")
    page.get_by_role("link", name="Suppression").click()
    expect(page.get_by_role("row", name=ticket_id)).to_contain_text("on its way")
    expect(page.get_by_role("row", name=ticket_id)).to_contain_text("restricted by a person")
    accessible(page)
    house.place.desk.unrestrict(ticket_id, CLERK, reason="It was found to be right")
    page.reload()
    expect(page.get_by_text("Nobody is suppressed.")).to_be_visible()
    page.get_by_role("link", name="With those that ended").click()
    expect(page.get_by_role("row", name=ticket_id)).to_contain_text("ended")


def test_the_audit_log_is_read_checked_and_exported(house: House, page: Page) -> None:
    ticket_id = scenes.file(house.place, 3)
    house.log_in(page)
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("row", name="ticket.receive")).to_contain_text(ticket_id)
    accessible(page)
    page.get_by_label("About").select_option("console")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Verify the whole log").click()
    expect(page.get_by_text("Every entry and every signature holds")).to_be_visible()
    accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    path = download.value.path()
    assert audit.verify(path, keys.trust_bundle(house.place.installation.settings)).ok


def test_a_changed_entry_is_found_by_the_button(house: House, page: Page) -> None:
    scenes.file(house.place, 3)
    with house.place.store.write() as session:
        changed = json.dumps({"ticket_id": "t-forged"})
        session.execute(
            text("UPDATE audit_entries SET payload = :changed WHERE kind = 'ticket.receive'"), {"changed": changed}
        )
    house.log_in(page)
    page.goto(f"{house.url}/console/audit")
    page.get_by_role("button", name="Verify the whole log").click()
    expect(page.get_by_text("The log does not hold")).to_be_visible()
    expect(page.locator(".notice")).to_contain_text("entry.hash")
    accessible(page)
