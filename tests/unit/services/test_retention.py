"""Retention: what was kept goes when its time is over, never earlier, and never while it is needed."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import select

from policies.errors import LetheError
from policies.pack import load_pack
from services import audit, keys, publication, retention, sealed_items, sealing, suppression
from services.installation import Installation
from services.retention import Due
from services.store.tables import AuditEntryRow, Recheck, SubjectKey
from services.store.types import utc_now
from tests.unit.services.place import OFFICER, Place
from tests.unit.services.test_publication import published

PACK = load_pack("gdpr").data.retention


def later(months: int) -> datetime:
    moment: datetime = utc_now() + relativedelta(months=months, days=1)
    return moment


def closed(place: Place, number: int = 0) -> str:
    run_id = published(place, number)
    publication.close(place.installation, place.store, run_id, 0)
    return place.tickets(run_id)[0].ticket_id


def plan(place: Place, at: datetime) -> Due:
    with place.store.read() as session:
        return retention.plan(place.installation, session, at=at)


def carry_out(place: Place, at: datetime) -> Due:
    return retention.carry_out(place.installation, place.store, at=at)


def purposes(place: Place, ticket_id: str) -> set[str]:
    with place.store.read() as session:
        return {item.purpose for item in sealed_items.items_of(session, ticket_id)}


def test_what_was_kept_goes_first_and_the_key_at_the_end(place: Place) -> None:
    ticket_id = closed(place)
    assert plan(place, later(PACK.sealed_months - 1)).items == ((ticket_id, ("deletion",)),), "ids of records: a year"
    due = carry_out(place, later(PACK.sealed_months))
    assert [one for one, _ in due.items] == [ticket_id]
    assert due.subjects == ()
    assert purposes(place, ticket_id) == set()
    assert carry_out(place, later(PACK.sealed_months)).items == (), "twice is once"
    subject = place.ticket(ticket_id).subject_ref
    assert plan(place, later(PACK.register_months - 1)).subjects == ()
    assert carry_out(place, later(PACK.register_months)).subjects == (ticket_id,)
    with place.store.read() as session:
        assert session.get_one(SubjectKey, subject).wrapped is None
        kinds = list(session.scalars(select(AuditEntryRow.kind).order_by(AuditEntryRow.seq)))
        with pytest.raises(LetheError):
            sealing.commitment(session, subject)
    assert kinds[-2:] == ["retention.ended", "subject.key_destroyed"]
    assert plan(place, later(PACK.register_months)).nothing
    log = place.installation.home / "log.jsonl"
    settings = place.installation.settings
    audit.export(place.store, log, keys.load_private(settings, "audit"))
    assert audit.verify(log, keys.trust_bundle(settings)).ok


def test_a_report_can_be_made_after_the_key_is_gone(place: Place) -> None:
    from services.reports.collect import report_ticket

    ticket_id = closed(place)
    carry_out(place, later(PACK.register_months))
    found = report_ticket(place.installation, place.store, ticket_id)
    values = {item["path"]: item.get("value") for point in found["points"] for item in point["items"]}
    assert values["audit.first_entry"] is None
    assert not [one for one in found["remains"] if "sealed_items" in one["where"] or "hashes" in one["what"]]


def test_a_legal_hold_on_any_ticket_of_the_person_keeps_everything(place: Place) -> None:
    ticket_id = closed(place)
    other = place.file(("email", place.people[0].email))
    place.desk.hold(other, OFFICER, reason="a court asked")
    due = carry_out(place, later(PACK.register_months))
    assert (due.items, due.subjects) == ((), ())
    assert (ticket_id, "legal_hold") in due.waiting
    assert sealed_items.PROBES in purposes(place, ticket_id)
    place.desk.release_hold(other, OFFICER)
    assert carry_out(place, later(PACK.register_months)).subjects == (ticket_id,)


def test_who_is_suppressed_still_is_not_let_go(place: Place) -> None:
    ticket_id = closed(place)
    with place.store.write() as session:
        suppression.suppress_again(session, ticket_id, suppression.PROBE_FAILED, actor="t")
    due = carry_out(place, later(PACK.register_months))
    assert due.subjects == ()
    assert (ticket_id, "suppressed") in due.waiting


def test_nothing_goes_under_a_run_or_from_an_open_ticket(place: Place) -> None:
    ticket_id = closed(place, 0)
    open_one = place.planned(1)
    due = carry_out(place, later(PACK.register_months))
    assert (due.items, due.subjects) == ((), ())
    assert (ticket_id, "run_under_way") in due.waiting
    assert place.tickets(open_one)[0].ticket_id not in due.subjects


def test_old_figures_of_rechecks_go(place: Place) -> None:
    ticket_id = closed(place)
    with place.store.read() as session:
        before = len(list(session.scalars(select(Recheck))))
    assert before
    months = place.installation.settings.retention.recheck_months
    assert plan(place, utc_now() + timedelta(days=1)).rechecks == 0
    assert carry_out(place, later(months)).rechecks == before
    with place.store.read() as session:
        assert list(session.scalars(select(Recheck))) == []
    assert place.ticket(ticket_id).status == "completed"


@pytest.mark.parametrize("regime", ["ccpa"])
def test_the_ccpa_register_is_kept_for_24_months_at_least(regime: str) -> None:
    assert load_pack(regime).data.retention.register_months >= 24


def test_the_intake_looks_by_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from services import control

    looked: list[Installation] = []
    monkeypatch.setattr(retention, "carry_out", lambda installation, _: looked.append(installation))
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    loop = control.Control(place.installation, place.store, clock=clock)
    loop._keep_retention()
    loop._keep_retention()
    now[0] += place.installation.settings.retention.every_hours * 3600
    loop._keep_retention()
    assert len(looked) == 2
