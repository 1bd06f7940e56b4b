"""Workflows and their steps: registered by name, run by a worker, replayed after a crash.

A workflow is a plain function whose body calls ``step`` for everything that has an effect. Killed in the middle, it is
run again from its beginning: finished steps return what they returned before, the interrupted one runs again. So a step
must be restartable, and every write that it makes goes through ``store.runs.fenced`` with the attempt of ``current()``.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from policies.errors import ERRORS, LetheError
from services import leases
from services.audit.entry import opaque_faults
from services.store.engine import Store

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job that is being worked on; writes of its steps carry the attempt (``store.runs.fenced``)."""

    workflow_id: str
    run_id: str
    attempt: int


registered: dict[str, Callable[..., Any]] = {}
_on_lost: list[Callable[[], object]] = []
_current: ContextVar[Job | None] = ContextVar("lethe_job", default=None)


def workflow(name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Register a workflow function under a name that never changes; the function stays callable as it is."""

    def register(function: Callable[..., T]) -> Callable[..., T]:
        if registered.setdefault(name, function) is not function:
            raise ValueError(f"two workflows are named {name}")
        return function

    return register


def step(name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run one step of the workflow that is being worked on; outside of one, just call it.

    Its result is recorded, so it must be made of ids, digests and numbers. What it raises is recorded too: errors of
    ours as they are, anything else as ``internal`` without its text, which could quote a person's data.
    """
    if _current.get() is None:
        return function(*args, **kwargs)
    from dbos import DBOS, PortableWorkflowError

    def guarded() -> T:
        try:
            result = function(*args, **kwargs)
        except LetheError as error:
            _heed_fence(error)
            raise
        except Exception as error:
            _log.exception("step failed", extra={"lethe.step": name})
            raise LetheError("internal", f"Step {name} failed with {type(error).__name__}.") from None
        if faults := opaque_faults(result):
            raise LetheError("jobs.personal_data", f"The result of step {name} is not made of ids and numbers.", faults)
        return result

    try:
        return cast("T", DBOS.run_step({"name": name}, guarded))
    except PortableWorkflowError as error:  # how a recorded error comes back when the workflow is run again
        raise _replayed(error) from None


def current() -> Job:
    """The job that is being worked on.

    Raises:
        LetheError: ``jobs.not_launched`` outside of a workflow.
    """
    job = _current.get()
    if job is None:
        raise LetheError("jobs.not_launched", "No job is being worked on here.")
    return job


def when_lost(act: Callable[[], object]) -> None:
    """What this process does once it learns that another has taken its job over."""
    _on_lost[:] = [act]


def _heed_fence(error: LetheError) -> None:
    """End this process before the refusal reaches DBOS.

    DBOS asks only whether the job is pending, not whose it is: recorded, the refusal would end the job that another
    worker is at by now, and be replayed to whoever takes it up next.
    """
    if error.code == "run.stale_attempt" and _on_lost:
        _log.error("the job was taken over")
        _on_lost[-1]()


def with_job(function: Callable[..., T], store: Store) -> Callable[..., T]:
    """The function with its job around it. The attempt is read anew on every run of the body, never replayed."""
    from dbos import DBOS

    def body(*args: Any) -> T:
        workflow_id = str(DBOS.workflow_id)
        with store.read() as session:
            attempt = leases.attempt_of(session, leases.run_of(workflow_id))
        token = _current.set(Job(workflow_id=workflow_id, run_id=leases.run_of(workflow_id), attempt=attempt))
        try:
            return function(*args)
        except LetheError as error:
            _heed_fence(error)
            raise
        except Exception as error:  # DBOS's own signals are no Exceptions, and pass
            _log.exception("workflow failed", extra={"lethe.job": workflow_id})
            raise LetheError("internal", f"The workflow failed with {type(error).__name__}.") from None
        finally:
            _current.reset(token)

    return body


def error_code(error: Any) -> str | None:
    """Our code of a recorded error; None where there was none."""
    if error is None:
        return None
    code = getattr(error, "code", None)
    return code if code in ERRORS else "internal"


def _replayed(error: Any) -> LetheError:
    """Our error from its recorded form: DBOS keeps name, message, code and details of an exception, not its type."""
    code = error_code(error) or "internal"
    details = error.data if isinstance(error.data, list) else []
    return LetheError(code, str(error.message).removeprefix(f"{code}: "), tuple(str(item) for item in details))
