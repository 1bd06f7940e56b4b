"""The control loop submits a deletion when it is due, under an id that every change makes new; the queue is a fake."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from services import control, jobs, publication
from services.control import Control
from services.deletion import work
from tests.unit.services.deletion.test_work import closed, ids_in, make, row
from tests.unit.services.place import OFFICER, Place
from tests.unit.services.test_publication import published

__all__ = ["make"]  # a fixture


def test_a_deletion_is_submitted_for_each_change_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[tuple[str, str, list[Any]]] = []
    monkeypatch.setattr(jobs, "get", lambda _: None)
    monkeypatch.setattr(jobs, "submit", lambda name, job, args, **_: submitted.append((name, job, list(args))))
    loop = Control(place.installation, place.store)
    run_id = published(place, 0)
    publication.close(place.installation, place.store, run_id, 0)
    [ticket] = place.tickets(run_id)

    def due() -> list[str]:
        submitted.clear()
        loop.tick()
        return [job for name, job, args in submitted if name == "delete_sources" and args == [ticket.ticket_id]]

    first = due()
    assert len(first) == 1
    assert due() == first, "the same job until something has changed"
    work.look(place.installation, place.store, ticket.ticket_id)
    assert due() == [], "the dry run is done: a person is what it waits for"
    with place.store.write() as session:
        work.order(session, ticket.ticket_id, actor=OFFICER.actor)
    [second] = due()
    assert second != first[0]


def test_the_job_looks_and_deletes_what_was_ordered(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(control, "_desk", [(place.installation, place.store)])

    def noted(name: str) -> Callable[..., int]:
        def call(*_: object) -> int:
            called.append(name)
            return len(called)

        return call

    monkeypatch.setattr(work, "look", noted("look"))
    monkeypatch.setattr(work, "carry_out", noted("delete"))
    assert control.delete_sources("t-1") == 2
    assert called == ["look", "delete"]


@pytest.mark.slow
def test_a_real_worker_carries_it_out(make: Callable[..., Place]) -> None:
    """DBOS and the loop as in the intake: nobody but they touches the source."""
    place = make(mode="delete")
    ticket_id = closed(place)
    before = ids_in(place)
    settings = place.installation.settings
    jobs.migrate(settings)
    _, stop = control.start(settings, place.store)
    try:
        until = time.monotonic() + 240
        while row(place, ticket_id).status != "done" and time.monotonic() < until:
            time.sleep(0.5)
    finally:
        stop()
    done = row(place, ticket_id)
    assert (done.status, done.reason_code, done.found_after) == ("done", None, 0)
    assert len(before - ids_in(place)) == done.asked
