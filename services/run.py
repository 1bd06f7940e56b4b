"""The way of a run: augmented set, data checks, adapter, verdict, release; then swap and report.

Each step can be called, tested and resumed alone: it does nothing if the run is past it. A run is worked on by the
unlearning service up to its release and by the intake from there, because a swap must not wait for the next run.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, RunEvent, RunStatus
from services import jobs, telemetry
from services.installation import Installation
from services.patience import passes, patiently
from services.run_end import end_run
from services.store.engine import Store
from services.store.releases import add_release
from services.store.runs import fenced, get_run, tickets_of, transition_run, write_progress
from services.store.steps import begin_step, end_step, steps_of
from services.unlearning.runners import Runners

ACTOR = "system:unlearning"
_PROGRESS_S = 0.5
_RUNNER_LIVES = 3  # an operation that kills its runner so often (memory, most likely) fails the run
# What is tried in a run before its verdict is no: where a training starts, and which of its seeds it takes.
TRIES = (("release", 0), ("base", 0), ("base", 1))

_log = logging.getLogger(__name__)

Result = dict[str, Any]


@dataclass(frozen=True)
class Workshop:
    """What the steps of a run work with in the unlearning service."""

    installation: Installation
    store: Store
    runners: Runners


@dataclass(frozen=True)
class Step:
    """One step: the status in which it is due, the work, and the event that its success is.

    Attributes:
        name: In the store, in progress and in the report.
        due: The status in which the run waits for it.
        event: What happens to the run when the work is done.
        work: Does it; gets the run's id and the attempt.
    """

    name: str
    due: RunStatus
    event: RunEvent
    work: Callable[[Workshop, str, int], Result]


@dataclass(frozen=True)
class Try:
    """One training of a run, and what was found of its adapter."""

    training: Result
    found: Result


class Refused(LetheError):
    """A step that was done and whose outcome ends the run: the checks failed, the verdict is no.

    Args:
        code: A registered code; it says how the run ends (``run_end``).
        message: For the ticket.
        result: What the step found, for the report.
    """

    def __init__(self, code: str, message: str, result: Mapping[str, Any]) -> None:
        super().__init__(code, message)
        self.result = dict(result)


def _ask_runner(
    workshop: Workshop, run_id: str, attempt: int, op: str, args: Mapping[str, Any] | None = None
) -> Result:
    """Call the run's child; its progress goes to the store, a cancel that the store holds goes to the child."""
    last = 0.0
    cancel = False

    def progress(data: Mapping[str, Any]) -> None:
        nonlocal last, cancel
        if time.monotonic() - last >= _PROGRESS_S:
            last = time.monotonic()
            try:
                with workshop.store.write() as session:
                    cancel = write_progress(session, run_id, attempt, {"step": op, **data})
            except LetheError as error:
                if not passes(error):
                    raise
                _log.warning("progress not stored: %s", error.code)  # the next one may be; the work goes on

    for left in reversed(range(_RUNNER_LIVES)):
        runner = workshop.runners.of(run_id)
        try:
            return runner.call(op, {"run_id": run_id, **(args or {})}, progress=progress, should_cancel=lambda: cancel)
        except LetheError as error:
            if error.code != "runner.died":
                raise
            workshop.runners.end()  # the next one goes on from the last checkpoint
            if not left:
                raise
    raise AssertionError("unreachable")


def augment(workshop: Workshop, run_id: str, attempt: int) -> Result:
    """Make and seal the augmented set and the probes of every ticket of the run."""
    return _ask_runner(workshop, run_id, attempt, "augment")


def check(workshop: Workshop, run_id: str, attempt: int) -> Result:
    """Hold the augmented set against the data checks.

    Raises:
        Refused: ``checks.quarantined``.
    """
    found = _ask_runner(workshop, run_id, attempt, "check")
    if not found["success"]:
        failed = ", ".join(one["expectation"] for one in found["results"] if not one["success"])
        message = f"The augmented set failed: {failed}."
        raise Refused("checks.quarantined", message, found)
    return found


def train(workshop: Workshop, run_id: str, attempt: int) -> Result:
    """Train from the last release, or go on from the last checkpoint of an attempt that died."""
    return _trained(workshop, run_id, attempt, *TRIES[0])


def verify(workshop: Workshop, run_id: str, attempt: int) -> Result:
    """Measure and decide. What misses a threshold is trained again, as ``TRIES`` has it, before the verdict counts.

    A warm start may carry what an earlier one spoilt, and a training hangs on its seed. Not where a gate is open for
    want of something that no training gives (a control, a tier of attacks): it would be open again. Every try has to
    pass the same gates on the same probes, and the result tells of those that did not.

    Raises:
        Refused: ``verdict.rejected``, with every reason in the result.
    """
    with workshop.store.read() as session:
        trained = steps_of(session, run_id)["train"].result or {}
    tries = [Try(trained, _verified(workshop, run_id, attempt, trained))]
    for start, again in TRIES[TRIES.index((trained["start"], 0)) + 1 :]:
        if tries[-1].found["outcome"] == "accepted" or not tries[-1].found["training_could_help"]:
            break
        trained = _trained(workshop, run_id, attempt, start, again)
        tries.append(Try(trained, _verified(workshop, run_id, attempt, trained)))
    *earlier, last = tries
    found = {**last.found, "training": last.training, "earlier_tries": [asdict(one) for one in earlier]}
    if found["outcome"] != "accepted":
        message = f"The verdict is {found['outcome']}: {len(found['reasons'])} threshold(s) not reached."
        raise Refused("verdict.rejected", message, found)
    return found


def _trained(workshop: Workshop, run_id: str, attempt: int, start: str, again: int) -> Result:
    return _ask_runner(workshop, run_id, attempt, "train", {"start": start, "again": again})


def _verified(workshop: Workshop, run_id: str, attempt: int, trained: Result) -> Result:
    return _ask_runner(workshop, run_id, attempt, "verify", {"directory": trained["directory"]})


def release(workshop: Workshop, run_id: str, attempt: int) -> Result:
    """Seal and sign the adapter with its verdict, and enter it among the releases; once, however often it is begun."""
    with workshop.store.read() as session:
        entered = steps_of(session, run_id)["release"].result
    if entered is not None:  # the attempt before died after it had entered the release
        return entered
    sealed = _ask_runner(workshop, run_id, attempt, "release")
    patiently(lambda: _enter(workshop, run_id, attempt, sealed), for_s=workshop.installation.settings.jobs.outage_s)
    return sealed


def _enter(workshop: Workshop, run_id: str, attempt: int, sealed: Result) -> None:
    """The release and the step's result, which says so, in one transaction."""
    with workshop.store.write() as session:
        add_release(
            session,
            digest=sealed["digest"],
            base_digest=sealed["base_digest"],
            path=sealed["path"],
            watermark=sealed["watermark"],
            verdict=sealed["verdict"],
            actor=ACTOR,
            parent_digest=sealed["parent"],
            run_id=run_id,
        )
        end_step(session, run_id, "release", attempt, sealed)


STEPS = (
    Step("augment", RunStatus.AUGMENTING, RunEvent.AUGMENTED, augment),
    Step("check", RunStatus.CHECKING, RunEvent.CHECKED, check),
    Step("train", RunStatus.TRAINING, RunEvent.TRAINED, train),
    Step("verify", RunStatus.VERIFYING, RunEvent.VERIFIED, verify),
    Step("release", RunStatus.RELEASING, RunEvent.RELEASED, release),
)


def take(workshop: Workshop, run_id: str, step: Step, attempt: int) -> str:
    """Do one step, unless the run is past it; the status that follows.

    Raises:
        LetheError: Whatever the step raises; ``unlearn.cancelled`` where somebody asked for it before or meanwhile;
            ``run.stale_attempt`` where a newer attempt has taken over.
    """
    outage_s = workshop.installation.settings.jobs.outage_s

    def enter() -> tuple[str, list[str]]:
        with workshop.store.write() as session:
            status = str(get_run(session, run_id).status)
            if status == step.due:
                _heed_cancel(session, run_id)
                begin_step(session, run_id, step.name, attempt)
            return status, [ticket.trace_id for ticket in tickets_of(session, run_id) if ticket.trace_id]

    status, traces = patiently(enter, for_s=outage_s)
    if status != step.due:
        return status
    try:
        result = _measured(step, lambda: step.work(workshop, run_id, attempt), run_id, attempt, traces)
    except Refused as refusal:
        # Kept before anything else happens: of a recorded step that is replayed after a crash only the code is left.
        found = refusal.result
        patiently(lambda: _keep(workshop, run_id, step, attempt, found), for_s=outage_s)
        _count_rejections(refusal.result)
        raise
    return patiently(lambda: _complete(workshop, run_id, step, attempt, result), for_s=outage_s)


def _keep(workshop: Workshop, run_id: str, step: Step, attempt: int, result: Result) -> None:
    with workshop.store.write() as session:
        end_step(session, run_id, step.name, attempt, result)


def _complete(workshop: Workshop, run_id: str, step: Step, attempt: int, result: Result) -> str:
    """The step's result and the status that follows, in one transaction; done before if its commit went unconfirmed."""
    with workshop.store.write() as session:
        fenced(session, run_id, attempt)
        if get_run(session, run_id).status != step.due:
            return str(get_run(session, run_id).status)
        _heed_cancel(session, run_id)
        end_step(session, run_id, step.name, attempt, result)
        run = transition_run(
            session,
            run_id,
            step.event,
            actor=ACTOR,
            attempt=attempt,
            checks_passed=True if step.event is RunEvent.CHECKED else None,
            verdict_passed=True if step.event is RunEvent.VERIFIED else None,
            release_digest=result.get("digest") if step.event is RunEvent.RELEASED else None,
        )
        return str(run.status)


def _heed_cancel(session: Session, run_id: str) -> None:
    """A hold or a withdrawal of one ticket cancels the run and plans the others anew; it does not fail them."""
    if get_run(session, run_id).cancel_requested:
        raise LetheError("unlearn.cancelled", "Somebody asked to cancel the run.")


def _count_rejections(found: Mapping[str, Any]) -> None:
    for gate in found.get("verdict", {}).get("gates", ()):
        if gate["required"] and gate["state"] != "pass":
            telemetry.count_rejection(gate["name"])


def _measured(step: Step, work: Callable[[], Result], run_id: str, attempt: int, traces: Sequence[str]) -> Result:
    """Do a step's work in the run's trace, linked to the intake traces of its tickets; count how long it took."""
    began, outcome = time.monotonic(), "internal"
    try:
        with telemetry.run_span(f"run.{step.name}", run_id, tickets=traces, attempt=attempt):
            result = work()
        outcome = "ok"
        return result
    except LetheError as error:
        outcome = error.code
        raise
    finally:
        telemetry.record_step(step.name, time.monotonic() - began, outcome=outcome)


def begin(workshop: Workshop, run_id: str, attempt: int) -> str:
    """Start a planned run."""

    def start() -> str:
        with workshop.store.write() as session:
            if get_run(session, run_id).status != RunStatus.PLANNED:
                return str(get_run(session, run_id).status)
            _heed_cancel(session, run_id)
            return str(transition_run(session, run_id, RunEvent.START, actor=ACTOR, attempt=attempt).status)

    return patiently(start, for_s=workshop.installation.settings.jobs.outage_s)


def give_up(workshop: Workshop, run_id: str, attempt: int, code: str) -> str:
    """End a run that cannot go on, and tell its tickets why; nothing was swapped."""
    return patiently(
        lambda: end_run(workshop.installation, workshop.store, run_id, code, actor=ACTOR, attempt=attempt),
        for_s=workshop.installation.settings.jobs.outage_s,
    )


def carry_out(workshop: Workshop, run_id: str) -> str:
    """The body of the durable job: every step in order, until the release is made or the run has ended."""
    attempt = jobs.current().attempt
    try:
        jobs.step("begin", begin, workshop, run_id, attempt)
        for step in STEPS:
            status = jobs.step(step.name, take, workshop, run_id, step, attempt)
            if status in CLOSED_RUN:
                return status
        return "released"
    except LetheError as error:
        if error.code == "run.stale_attempt":
            raise
        return jobs.step("give_up", give_up, workshop, run_id, attempt, error.code)
    finally:
        workshop.runners.end()
