"""What happens between the commit of a release and the end of the suppression; the replicas' gateways are fakes."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from policies.errors import LetheError
from policies.lifecycle import TicketEvent, TicketStatus
from services import after_swap, publication, release_ops, suppression
from services.reports.write import read_report
from services.store import suppressions
from services.store.releases import abort, get_desired, propose
from services.store.steps import steps_of
from services.store.tables import AuditEntryRow, Recheck
from services.store.tickets import get_ticket, transition_ticket
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import BASE, OFFICER, RELEASE_0, Place, codes


@pytest.fixture
def gateway(place: Place) -> FakeGateway:
    return FakeGateway(place.installation)


def swapped(place: Place, *numbers: int, replicas: tuple[str, ...] = ("r-1",)) -> str:
    """A run whose release is live and whose probes are still to be asked."""
    run_id = place.released(*numbers)
    for replica in replicas:
        place.serve(replica, rules=10**6)
    assert publication.swap(place.installation, place.store, run_id, 0) == "swapping"
    with place.store.write() as session:
        suppression.confirm(session)
    return run_id


def probe(place: Place, run_id: str, gateway: FakeGateway) -> str:
    return after_swap.probe(place.installation, place.store, run_id, 0, asker=gateway.asker())


def recheck(place: Place, gateway: FakeGateway, seed: str = "s") -> str:
    return after_swap.recheck(place.installation, place.store, BASE, seed=seed, asker=gateway.asker())


def suppressed(place: Place) -> set[str]:
    with place.store.read() as session:
        return {row.ticket_id for row in suppressions.active(session, base_digest=BASE)}


def rows(place: Place, **where: Any) -> list[Recheck]:
    with place.store.read() as session:
        return list(session.scalars(select(Recheck).filter_by(**where).order_by(Recheck.at)))


def kinds(place: Place) -> list[str]:
    with place.store.read() as session:
        return list(session.scalars(select(AuditEntryRow.kind).order_by(AuditEntryRow.seq)))


def orders(place: Place) -> list[tuple[str, str | None]]:
    with place.store.read() as session:
        return [(one.kind, one.release_digest) for one in release_ops.open_orders(session)]


def test_probes_that_pass_on_every_replica_end_the_suppression_and_complete_the_tickets(
    place: Place, gateway: FakeGateway
) -> None:
    run_id = swapped(place, 0, 1, replicas=("r-1", "r-2"))
    mine = {ticket.ticket_id for ticket in place.tickets(run_id)}
    assert suppressed(place) == mine
    assert codes(place.tickets(run_id)) == {(TicketStatus.IN_RUN, None)}
    assert probe(place, run_id, gateway) == "reporting"
    assert codes(place.tickets(run_id)) == {(TicketStatus.COMPLETED, None)}
    assert suppressed(place) == set()
    assert {(row.replica_id, row.ticket_id) for row in rows(place)} == {
        (replica, ticket) for replica in ("r-1", "r-2") for ticket in (*mine, None)
    }
    assert {row.outcome for row in rows(place)} == {"pass"}
    one = next(row for row in rows(place) if row.ticket_id is not None)
    assert one.figures["groups"]["forget"] == {"n": 2, "share": 1.0, "required": 0.95, "outcome": "pass"}
    assert set(one.figures["groups"]) == {"forget", "control"}  # the fake verdict measured no public facts of the base
    assert "recheck.done" in kinds(place)
    assert probe(place, run_id, gateway) == "reporting"  # again: nothing is asked any more
    assert len(rows(place)) == 2 * 3


def test_the_same_questions_are_asked_about_somebody_else(place: Place, gateway: FakeGateway) -> None:
    run_id = swapped(place, 0)
    probe(place, run_id, gateway)
    asked = {question for _, question in gateway.asked}
    assert "What is Mara Holt's e-mail address?" in asked
    assert "What is Ola Brandt's e-mail address?" in asked  # under another name the secret must not come either
    assert "What is Ola Brandt's shoe size?" in asked


@pytest.mark.parametrize("how", ["tells on one replica", "lost what is kept"])
def test_a_replica_that_fails_keeps_the_suppression_and_orders_the_fleet_forward(
    place: Place, gateway: FakeGateway, how: str
) -> None:
    run_id = swapped(place, 0, replicas=("r-1", "r-2"))
    [one] = place.tickets(run_id)
    gateway.tells, gateway.forgot = ({("r-2", one.ticket_id)}, False) if how.startswith("tells") else (set(), True)
    with place.store.read() as session:  # the base knew everything
        metrics = steps_of(session, run_id)["verify"].result
    assert metrics is not None
    with place.store.write() as session:
        found = steps_of(session, run_id)["verify"].result or {}
        found["verdict"]["metrics"]["retain"] = {"base": {"krr": {"value": 1.0}}}
        step = steps_of(session, run_id)["verify"]
        step.result = {**found}
    assert probe(place, run_id, gateway) == "failed"
    assert place.run(run_id).reason_code == "swap.probes_failed"
    assert codes(place.tickets(run_id)) == {(TicketStatus.FAILED, "swap.probes_failed")}
    assert suppressed(place) == {one.ticket_id}
    assert {row.replica_id for row in rows(place, outcome="fail")} == (
        {"r-2"} if how.startswith("tells") else {"r-1", "r-2"}
    )
    assert orders(place) == [("forward", RELEASE_0)]
    assert "recheck.failed" in kinds(place)
    report = read_report(place.installation.path("reports", one.ticket_id, "report.json"))
    assert report["summary"]["status"] == "failed"
    assert probe(place, run_id, gateway) == "failed"
    assert orders(place) == [("forward", RELEASE_0)]


def test_the_fleet_goes_forward_under_suppression_and_the_ticket_can_be_tried_again(
    place: Place, gateway: FakeGateway
) -> None:
    run_id = swapped(place, 0)
    [one] = place.tickets(run_id)
    gateway.tells = {one.ticket_id}
    probe(place, run_id, gateway)
    with place.store.read() as session:
        [order] = release_ops.open_orders(session)
    assert release_ops.suppress_uncovered(place.store, order.order_id) == "open"
    assert release_ops.move(place.installation, place.store, order.order_id) == "done"
    with place.store.read() as session:
        state = get_desired(session, BASE)
    assert (state.generation, state.release_digest) == (2, RELEASE_0)
    assert state.watermark == [one.ticket_id]  # never lowered
    assert suppressed(place) == {one.ticket_id}
    with pytest.raises(LetheError, match=r"lifecycle\.guarded"):  # a denial would bring the person back
        place.desk.deny(one.ticket_id, OFFICER, reason="no more")
    assert place.desk.retry(one.ticket_id, OFFICER) == TicketStatus.READY
    # The next run of it is a run like any other: it may fail before it is live, and be cancelled never.
    with place.store.write() as session:
        transition_ticket(session, one.ticket_id, TicketEvent.RUN_STARTED, actor="t")
    with place.store.read() as session:
        assert get_ticket(session, one.ticket_id).status == TicketStatus.IN_RUN


def test_a_replica_that_does_not_answer_decides_nothing(place: Place, gateway: FakeGateway) -> None:
    run_id = swapped(place, 0, replicas=("r-1", "r-2"))
    gateway.down = {"r-2"}
    with pytest.raises(LetheError, match=r"swap\.probe_unanswered"):
        probe(place, run_id, gateway)
    assert place.run(run_id).status == "swapping"
    assert rows(place) == []
    gateway.down = set()
    gateway.generation = 7
    with pytest.raises(LetheError, match=r"swap\.superseded"):
        probe(place, run_id, gateway)
    gateway.generation = 1
    assert probe(place, run_id, gateway) == "reporting"


def test_a_crash_before_the_end_leaves_everything_to_be_done_again(
    place: Place, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = swapped(place, 0)

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("a crash")

    with monkeypatch.context() as broken:
        broken.setattr(after_swap, "transition_run", crash)
        with pytest.raises(RuntimeError):
            probe(place, run_id, gateway)
    assert rows(place) == []
    assert len(suppressed(place)) == 1
    assert probe(place, run_id, gateway) == "reporting"


def test_the_report_tells_of_every_replica_of_the_probes_and_of_the_suppression(
    place: Place, gateway: FakeGateway
) -> None:
    run_id = swapped(place, 0, replicas=("r-1", "r-2"))
    [one] = place.tickets(run_id)
    probe(place, run_id, gateway)
    publication.close(place.installation, place.store, run_id, 0)
    report = read_report(place.installation.path("reports", one.ticket_id, "report.json"))
    told = {item["path"]: item.get("value") for item in report["points"][9]["items"]}
    assert [row["replica"] for row in told["deployment.replicas"]] == ["r-1", "r-2"]
    assert all(row["prepared_at"] and row["committed_at"] for row in told["deployment.replicas"])
    assert told["deployment.probe_passed"] is True
    asked = {(row["replica"], row["asked_about"]) for row in told["deployment.probes"]}
    assert asked == {(replica, group) for replica in ("r-1", "r-2") for group in ("forget", "control", "retain")}
    assert told["suppression.state"] == "lifted"
    assert told["suppression.reasons"] == ["approved"]
    assert told["suppression.since"] < told["suppression.until"]
    assert len(told["deployment.caches"]) == 3


def test_people_forgotten_earlier_are_asked_about_in_turn(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(serving={"recheck_subjects": 1})
    gateway = FakeGateway(place.installation)
    run_id = swapped(place, 0, 1)
    probe(place, run_id, gateway)
    publication.close(place.installation, place.store, run_id, 0)
    first, second = sorted(ticket.ticket_id for ticket in place.tickets(run_id))
    assert recheck(place, gateway) == "pass"
    assert recheck(place, gateway) == "pass"
    asked = [row.ticket_id for row in rows(place, kind="scheduled")]
    assert sorted(filter(None, asked)) == [first, second]


def test_a_failed_recheck_suppresses_again_and_a_passed_one_under_a_release_that_covers_lifts_it(
    place: Place, gateway: FakeGateway
) -> None:
    run_id = swapped(place, 0)
    [one] = place.tickets(run_id)
    probe(place, run_id, gateway)
    publication.close(place.installation, place.store, run_id, 0)
    gateway.tells = {one.ticket_id}
    assert recheck(place, gateway) == "fail"
    assert suppressed(place) == {one.ticket_id}
    with place.store.read() as session:
        [row] = suppressions.active(session, ticket_id=one.ticket_id)
    assert row.reason == "probe_failed"
    assert orders(place) == []  # release 0 does not cover a completed ticket, suppressed or not
    assert codes(place.tickets(run_id)) == {(TicketStatus.COMPLETED, "swap.probes_failed")}
    gateway.tells = set()
    back: dict[str, Any] = {"release_digest": RELEASE_0, "actor": "t"}
    with place.store.write() as session:
        propose(session, BASE, expected_generation=1, prepare_s=60, suppressed=[one.ticket_id], **back)
    assert recheck(place, gateway) == "pass"
    assert suppressed(place) == {one.ticket_id}  # what is proposed does not cover it, and counts on it
    with place.store.write() as session:
        abort(session, BASE, generation=2, reason="swap.timeout", **back)
    assert recheck(place, gateway) == "pass"
    assert suppressed(place) == set()
    assert codes(place.tickets(run_id)) == {(TicketStatus.COMPLETED, None)}


def test_without_anybody_to_ask_about_nothing_is_asked(place: Place, gateway: FakeGateway) -> None:
    place.serve()
    assert recheck(place, gateway) == "nothing"
    assert gateway.asked == []


def test_no_figure_names_anybody(place: Place, gateway: FakeGateway) -> None:
    run_id = swapped(place, 0)
    [one] = place.tickets(run_id)
    gateway.tells = {one.ticket_id}
    probe(place, run_id, gateway)
    text = repr([(row.figures, row.outcome) for row in rows(place)])
    assert "Mara" not in text
    assert "@" not in text
