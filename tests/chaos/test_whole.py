"""The whole chaos, on SQLite and on PostgreSQL (``make chaos``): whatever dies, every ticket comes through once.

A quick part of it, every step killed in its middle on SQLite, is ``test_quick.py``.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import pytest
from sqlalchemy import select

from policies.lifecycle import TicketStatus
from services import jobs
from services.recover import recover
from services.resume import retry_standing
from services.store.runs import runs_of
from services.store.tables import DesiredState
from tests.chaos.invariants import check_store, check_ticket
from tests.chaos.stage import INTAKE, OFFICER, POINTS, STEPS, UNLEARNING, Stage, stage
from tests.chaos.test_quick import kill_at
from tests.postgres import Server

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_every_boundary_of_every_step_and_inside_it(whole: Stage, point: str, step: str) -> None:
    kill_at(whole, point, step)


def test_a_runner_that_is_killed_is_replaced_within_the_step(whole: Stage) -> None:
    whole.stalls.set("inside-train")
    ticket_id = whole.file()
    whole.at("inside-train", whole.kill_runner)
    assert whole.rests(ticket_id).status == "completed"
    assert [run.attempt for run in whole.runs(ticket_id)] == [0]


def test_both_workers_killed_at_once_and_twice_in_the_same_step(whole: Stage) -> None:
    whole.stalls.set("inside-train")
    ticket_id = whole.file()
    for _ in range(2):
        whole.until(lambda: whole.stalls.reached("inside-train"), "training")
        whole.kill(INTAKE)
        whole.kill(UNLEARNING)
        whole.stalls.set("inside-train")
        whole.start(UNLEARNING)
    whole.start(INTAKE)
    whole.at("inside-train", lambda: None)
    assert whole.rests(ticket_id).status == "completed"
    assert whole.runs(ticket_id)[-1].attempt == 2


def test_of_two_workers_of_each_role_the_others_take_over(whole: Stage) -> None:
    if whole.store.one_host:
        pytest.skip("SQLite is one host, and one process of each role")
    for role in (INTAKE, UNLEARNING):
        whole.start(role)
    whole.stalls.set("inside-verify")
    ticket_id = whole.file()
    whole.at("inside-verify", lambda: whole.kill_one(UNLEARNING))
    assert whole.rests(ticket_id).status == "completed"
    whole.stalls.set("inside-swap")
    other = whole.file()
    whole.at("inside-swap", lambda: whole.kill_one(INTAKE))
    assert whole.rests(other).status == "completed"
    for role in (INTAKE, UNLEARNING):
        whole.restart(role)


def test_a_database_that_restarts_in_the_middle_costs_nothing(whole: Stage, request: pytest.FixtureRequest) -> None:
    if whole.store.one_host:
        pytest.skip("SQLite has no server that could restart")
    server: Server = request.getfixturevalue("server")

    def restart() -> None:
        server.stop("immediate")
        server.start()

    for step in ("inside-train", "inside-close"):
        whole.stalls.set(step)
        ticket_id = whole.file()
        whole.at(step, restart)
        assert whole.rests(ticket_id).status == "completed"


def test_a_new_version_takes_up_what_waits_and_what_was_under_way(whole: Stage) -> None:
    """The number of the steps' order is raised: jobs of the old one would wait for ever for a worker of their own."""
    whole.kill(UNLEARNING)
    waiting = whole.file()
    whole.until(lambda: whole.ticket(waiting).status == "in_run", "planned")
    whole.restart(INTAKE, "2")
    whole.start(UNLEARNING, "2")
    assert whole.rests(waiting).status == "completed"
    whole.stalls.set("inside-train")
    under_way = whole.file()
    whole.at("inside-train", lambda: whole.kill(UNLEARNING))
    whole.restart(INTAKE, "3")
    whole.start(UNLEARNING, "3")
    assert whole.rests(under_way).status == "completed"
    for one in (waiting, under_way):
        check_ticket(whole.store, one)
    for role in (INTAKE, UNLEARNING):
        whole.restart(role, "3")


def test_a_hold_in_the_middle_cancels_and_the_other_ticket_comes_through(whole: Stage) -> None:
    whole.stalls.set("before-begin")
    whole.restart(UNLEARNING, "3")
    first = whole.file()
    whole.until(lambda: whole.stalls.reached("before-begin"), "begun")
    whole.desk.hold(first, OFFICER, reason="a court has asked for these data")
    whole.stalls.lift("before-begin")
    second = whole.file()
    assert whole.rests(second).status == "completed"
    assert whole.ticket(first).status == TicketStatus.ON_HOLD
    whole.desk.release_hold(first, OFFICER)
    whole.desk.approve(first, OFFICER)
    assert whole.rests(first).status == "completed"
    for one in (first, second):
        check_ticket(whole.store, one)


def test_a_full_disk_fails_the_run_with_its_reason_and_all_are_resumed_at_once(whole: Stage) -> None:
    (whole.home / "full").touch()
    stood = [whole.file()]
    assert whole.rests(stood[0]).status == "failed"
    stood.append(whole.file())
    assert whole.rests(stood[1]).status == "failed"
    assert {whole.ticket(one).reason_code for one in stood} == {"storage.full"}
    for one in stood:
        check_ticket(whole.store, one)
    (whole.home / "full").unlink()
    assert whole.desk.retry(stood[0], OFFICER) == TicketStatus.READY  # singly
    assert whole.rests(stood[0]).status == "completed"
    assert retry_standing(whole.desk, OFFICER, reason="storage.full") == [stood[1]]  # in bulk
    assert retry_standing(whole.desk, OFFICER, reason="storage.full") == []
    assert whole.rests(stood[1]).status == "completed"


def test_after_all_of_it_everything_fits_together(whole: Stage, tmp_path: Path) -> None:
    for ticket_id in whole.filed:
        check_ticket(whole.store, ticket_id)
    check_store(whole.store, whole.home, tmp_path)


@pytest.mark.parametrize("index_lost", [False, True])
def test_an_older_backup_is_recovered_and_nobody_is_remembered(tmp_path: Path, index_lost: bool) -> None:
    with stage(tmp_path / "stage") as made:
        kept = made.file()
        assert made.rests(kept).status == "completed"
        for role in (INTAKE, UNLEARNING):
            made.kill(role)
        backup = tmp_path / "backup"
        backup.mkdir()
        for name in ("lethe.sqlite", "dbos.sqlite"):
            with closing(sqlite3.connect(made.home / name)) as live, closing(sqlite3.connect(backup / name)) as copy:
                live.backup(copy)
        for role in (INTAKE, UNLEARNING):
            made.start(role)
        lost = made.file()
        assert made.rests(lost).status == "completed"
        for role in (INTAKE, UNLEARNING):
            made.kill(role)
        for name in ("lethe.sqlite", "dbos.sqlite"):
            # As SQLite's own `.restore` does: a replica lives on, and a file exchanged under it would be damaged by it.
            with closing(sqlite3.connect(backup / name)) as copy, closing(sqlite3.connect(made.home / name)) as live:
                copy.backup(live)
        [found] = recover(made.host.installation, made.store, actor="system:test")
        assert found.behind
        assert found.unknown == (lost,)
        made.filed.remove(lost)
        if index_lost:
            # No part of a backup: it is made anew from the corpus, by a store that knows no erasure of these.
            rmtree(made.home / "index")
        for role in (INTAKE, UNLEARNING):
            made.start(role)
        again = made.rests(made.file_again())
        with made.store.read() as session:
            runs = runs_of(session, again.ticket_id)
            [state] = session.scalars(select(DesiredState))
        assert {kept, lost} <= set(state.watermark)
        if index_lost:
            assert (again.status, [run.status for run in runs]) == ("completed", ["completed"])
            assert again.ticket_id in state.watermark
        else:  # what is left of the person is kept by law, and there is nothing more to forget
            assert (again.status, again.reason_code, runs) == ("denied", "forget_set.exempt", [])
        assert jobs.queue.VERSION == "1"
