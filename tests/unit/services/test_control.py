"""The control loop: it submits what is due, under ids made from what a job is about. The jobs are a fake table."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import after_swap, control, jobs, keys, release_ops, ticket
from services.control import Control
from services.intake.desk import Desk
from services.intake.protocols.senders import add_sender
from services.jobs import JobStatus
from services.serving.statement import statement_path
from services.store.callbacks import callbacks_of, queue_callbacks
from services.store.protocol_tables import Callback, SentTicket
from services.store.releases import report_replica
from services.store.tables import DesiredState
from services.store.tickets import get_ticket
from services.store.types import utc_now
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import BASE, OFFICER, RELEASE_0, Place, codes


@dataclass
class FakeJobs:
    """A fake queue: it remembers what was submitted and says of a job what the test says."""

    submitted: list[tuple[str, str, tuple[Any, ...], str, str | None]] = field(default_factory=list)
    states: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def submit(
        self, workflow: str, workflow_id: str, args: Any = (), *, queue: str, partition: str | None = None
    ) -> None:
        if workflow_id not in self.states:
            self.submitted.append((workflow, workflow_id, tuple(args), queue, partition))
            self.states[workflow_id] = ("queued", None)

    def get(self, workflow_id: str) -> JobStatus | None:
        if workflow_id not in self.states:
            return None
        state, code = self.states[workflow_id]
        return JobStatus(
            workflow_id=workflow_id,
            workflow="",
            state=state,  # type: ignore[arg-type]
            queue=None,
            executor_id=None,
            version=self.versions.get(workflow_id, jobs.queue.VERSION),
            result=None,
            error_code=code,
            created_at=None,
            updated_at=None,
        )

    def cancel(self, workflow_id: str) -> None:
        self.states[workflow_id] = ("cancelled", None)

    def ids(self) -> list[str]:
        return [workflow_id for _, workflow_id, *_ in self.submitted]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    fake = FakeJobs()
    monkeypatch.setattr(jobs, "submit", fake.submit)
    monkeypatch.setattr(jobs, "get", fake.get)
    monkeypatch.setattr(jobs, "cancel", fake.cancel)
    return fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(place: Place, clock: Clock) -> Control:
    return Control(place.installation, place.store, clock=clock)


def test_an_approved_ticket_is_looked_up_once(place: Place, queue: FakeJobs, loop: Control) -> None:
    ticket_id = place.file(("name", place.people[0].names[0]))
    version = place.ticket(ticket_id).version
    for _ in range(3):
        loop.tick()
    assert queue.submitted == [("look_up", f"{ticket_id}:look_up-{version}.1", (ticket_id,), "control", None)]


def test_who_was_not_verified_in_time_is_denied_within_the_hour(
    place: Place, queue: FakeJobs, loop: Control, clock: Clock
) -> None:
    before = Desk(place.store, place.desk.packs, clock=lambda: utc_now() - timedelta(days=50))
    asked = {"regime": "ccpa", "base": "demo", "subject": [{"kind": "email", "value": "late@example.org"}]}

    def file(name: str) -> str:
        return before.file(json.dumps({"external_id": name, **asked}).encode(), OFFICER)[0]

    first = file("late-1")
    assert place.ticket(first).status == TicketStatus.AWAITING_IDENTITY
    loop.tick()
    assert place.ticket(first).status == TicketStatus.DENIED
    second = file("late-2")
    for clock.now, status in ((3599.0, "awaiting_identity"), (3609.0, "denied")):
        loop.tick()
        assert place.ticket(second).status == status


def test_a_second_approval_is_a_second_look_up(place: Place, queue: FakeJobs, loop: Control) -> None:
    ticket_id = place.file(("name", place.people[9].names[0]))
    loop.tick()
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.AWAITING_REVIEW
    loop.tick()
    assert len(queue.ids()) == 1
    with place.store.read() as session:
        waiting = [row.record_id for row in ticket._reviews(session, ticket_id)]
    place.desk.review(ticket_id, OFFICER, confirm=[], deny=waiting)
    loop.tick()
    assert len(set(queue.ids())) == 2


def test_a_ready_ticket_is_planned_and_its_run_submitted_to_the_queue_of_its_base(
    place: Place, queue: FakeJobs, loop: Control
) -> None:
    ticket_id = place.ready()
    loop.tick()
    loop.tick()
    [(workflow, workflow_id, args, name, partition)] = queue.submitted
    run_id = args[0]
    assert (workflow, workflow_id, name, partition) == ("run", f"{run_id}:work.1", "gpu", BASE)
    assert [one.ticket_id for one in place.tickets(run_id)] == [ticket_id]


def test_a_released_run_is_published_by_the_intake(place: Place, queue: FakeJobs, loop: Control) -> None:
    run_id = place.released()
    loop.tick()
    loop.tick()
    assert queue.submitted == [("publish", f"{run_id}:publish.1", (run_id,), "control", None)]


def test_a_failed_job_is_submitted_anew_after_a_pause(
    place: Place, queue: FakeJobs, loop: Control, clock: Clock
) -> None:
    run_id = place.released()
    loop.tick()
    queue.states[f"{run_id}:publish.1"] = ("failed", "swap.timeout")
    loop.tick()
    clock.now = 9.9
    loop.tick()
    assert queue.ids() == [f"{run_id}:publish.1"]
    clock.now = 10.1
    loop.tick()
    loop.tick()
    assert queue.ids() == [f"{run_id}:publish.1", f"{run_id}:publish.2"]
    queue.states[f"{run_id}:publish.2"] = ("cancelled", None)
    loop.tick()
    clock.now = 20.3
    loop.tick()
    assert queue.ids()[-1] == f"{run_id}:publish.3"


def test_a_loop_that_was_started_again_finds_the_number_where_it_was(
    place: Place, queue: FakeJobs, clock: Clock
) -> None:
    run_id = place.released()
    queue.states = {f"{run_id}:publish.{n}": ("failed", "swap.timeout") for n in (1, 2)}
    loop = Control(place.installation, place.store, clock=clock)
    for _ in range(8):
        loop.tick()
        clock.now += 6
    assert queue.ids() == [f"{run_id}:publish.3"]


@pytest.mark.parametrize(("state", "code"), [("failed", "internal"), ("cancelled", None)])
def test_a_run_whose_job_is_dead_fails_and_its_tickets_can_be_retried(
    place: Place, queue: FakeJobs, loop: Control, state: str, code: str | None
) -> None:
    run_id = place.planned()
    queue.states[f"{run_id}:work.1"] = (state, code)
    loop.tick()
    assert place.run(run_id).status == "failed"
    assert codes(place.tickets(run_id)) == {(TicketStatus.FAILED, code or "jobs.given_up")}
    [one] = place.tickets(run_id)
    assert place.installation.path("reports", one.ticket_id, "report.json").exists()
    loop.tick()
    assert queue.submitted == []
    assert place.desk.retry(one.ticket_id, OFFICER) == TicketStatus.READY
    loop.tick()
    loop.tick()
    assert len(queue.submitted) == 1


def test_a_store_that_is_busy_for_a_moment_does_not_end_the_loop(
    place: Place, queue: FakeJobs, loop: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns: list[int] = []

    def tick() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise LetheError("store.busy", "busy")
        if len(turns) == 2:
            raise ValueError("mara@example.org")
        loop.stop()

    monkeypatch.setattr(loop, "tick", tick)
    monkeypatch.setattr(control, "_TICK_S", 0.001)
    loop.wake()
    loop.run()
    assert len(turns) == 3
    assert "store.busy" in caplog.text
    assert "ValueError" in caplog.text
    assert "mara" not in caplog.text


def test_the_jobs_bodies_do_the_work(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registered functions, called outside of DBOS: a step is then a plain call."""
    monkeypatch.setattr(control, "_desk", [(place.installation, place.store)])
    ticket_id = place.file(("name", place.people[0].names[0]))
    assert control.look_up(ticket_id) == TicketStatus.READY
    run_id = place.released(1)
    place.serve()
    monkeypatch.setattr(jobs, "current", lambda: jobs.Job(workflow_id="w", run_id=run_id, attempt=0))
    gateway = FakeGateway(place.installation)
    monkeypatch.setattr(after_swap, "_asker", lambda _: gateway.asker())
    assert control.publish(run_id) == "completed"
    with place.store.write() as session:
        order_id = release_ops.order_recheck(session, base=None, actor="t")
    assert control.release_order(order_id) == "done"
    with place.store.read() as session:
        assert release_ops.get_order(session, order_id).result == {"outcome": "pass"}


def test_an_order_is_submitted_once_and_forgotten_people_are_asked_about_on_schedule(
    place: Place, queue: FakeJobs, loop: Control, clock: Clock
) -> None:
    loop.tick()
    assert queue.ids() == []  # nobody has been erased yet
    with place.store.write() as session:
        state = session.get_one(DesiredState, BASE)
        state.watermark = ["t-1"]
    clock.now += 11
    for _ in range(3):
        loop.tick()
    with place.store.read() as session:
        [order] = release_ops.open_orders(session)
    assert (order.kind, order.actor) == ("recheck", "system:control")
    assert queue.submitted == [("release_order", f"{order.order_id}:order.1", (order.order_id,), "control", None)]
    clock.now += 11
    loop.tick()
    assert len(queue.ids()) == 1  # a day has not gone by
    with place.store.write() as session:
        release_ops.get_order(session, order.order_id).ordered_at -= timedelta(days=9)
    clock.now += 11
    loop.tick()
    assert len(queue.ids()) == 1  # it could not be carried out yet: another would ask the same


def test_a_ticket_is_looked_up_only_once_every_replica_applies_its_suppression(
    place: Place, queue: FakeJobs, loop: Control
) -> None:
    said: dict[str, Any] = {
        "base_digest": BASE,
        "state": "ready",
        "generation": 0,
        "release_digest": RELEASE_0,
        "lease_s": 60.0,
    }
    with place.store.write() as session:
        report_replica(session, "r-9", **said)  # applies no rule yet
    ticket_id = place.file(("name", place.people[0].names[0]))
    loop.tick()
    assert queue.ids() == []
    with place.store.write() as session:
        report_replica(session, "r-9", **said, suppression_version=10**6)
    loop.tick()
    assert queue.ids() == [f"{ticket_id}:look_up-{place.ticket(ticket_id).version}.1"]


def test_statements_that_a_crash_left_out_are_made_up_for(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    path = statement_path(place.installation.path("releases"), BASE)
    control.keep_statements(place.installation, place.store)
    assert path.exists()
    path.unlink()
    keys.rotate(place.installation.settings, "audit")  # the commit is older than the key that states it
    control.keep_statements(place.installation, place.store)
    control.keep_statements(place.installation, place.store)
    assert (path.exists(), caplog.text) == (True, "")
    path.write_bytes(b"{}")
    control.keep_statements(place.installation, place.store)
    assert "serving.statement_damaged" in caplog.text


def test_a_run_that_waits_for_a_worker_of_an_older_version_is_given_to_the_new_one(
    place: Place, queue: FakeJobs, loop: Control
) -> None:
    run_id = place.planned(0)
    loop.tick()
    assert queue.ids() == [f"{run_id}:work.1"]
    queue.versions[f"{run_id}:work.1"] = "0"
    loop.tick()
    assert queue.ids() == [f"{run_id}:work.1", f"{run_id}:work.2"]
    assert queue.states[f"{run_id}:work.1"][0] == "cancelled"
    # Whoever starts next looks at the newest of them, and does not take the old one for a job that came to nothing.
    for _ in range(3):
        Control(place.installation, place.store).tick()
    assert place.run(run_id).status == "planned"
    assert len(queue.ids()) == 2


@pytest.mark.parametrize(("state", "version"), [("running", "0"), ("queued", "9"), ("queued", "x")])
def test_a_job_that_an_older_worker_holds_or_a_newer_one_waits_for_is_left_alone(
    place: Place, queue: FakeJobs, loop: Control, state: str, version: str
) -> None:
    run_id = place.planned(0)
    loop.tick()
    queue.states[f"{run_id}:work.1"] = (state, None)
    queue.versions[f"{run_id}:work.1"] = version
    loop.tick()
    assert queue.ids() == [f"{run_id}:work.1"]


def test_a_callback_is_submitted_once_for_each_attempt(place: Place, queue: FakeJobs, clock: Clock) -> None:
    ticket_id = place.file(("email", "mara@example.org"))
    with place.store.write() as session:
        add_sender(session, "controller", "opendsr", actor="t")
        session.add(
            SentTicket(ticket_id=ticket_id, sender_id="controller", reference="r", callbacks=1, created_at=utc_now())
        )
        session.flush()
        queue_callbacks(session, get_ticket(session, ticket_id), at=utc_now())
    loop = Control(place.installation, place.store, clock=clock)
    for _ in range(2):
        loop.tick()
    with place.store.read() as session:
        [row] = callbacks_of(session, ticket_id)
    sent = [(workflow, args) for workflow, _, args, *_ in queue.submitted if workflow == "callback"]
    assert sent == [("callback", (row.callback_id,))]
    with place.store.write() as session:
        session.get_one(Callback, row.callback_id).attempts = 1
    loop.tick()
    assert [one for one in queue.ids() if "deliver" in one] == [
        f"{row.callback_id}:deliver-{attempt}.1" for attempt in (0, 1)
    ]
