"""Put jobs on queues, and ask what became of them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from policies.errors import LetheError
from services.audit.entry import opaque_faults
from services.jobs.flow import error_code

QueueName = Literal["control", "gpu"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
T = TypeVar("T")

# Raise it only when the order of the steps of a workflow changes, and keep the old path until its last job has ended:
# a job is run by its own version only. Left to DBOS it would change with every edit and strand whatever is running.
VERSION = "1"

_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
_off_loop = ThreadPoolExecutor(max_workers=2, thread_name_prefix="jobs")
_open = False  # whether this process has launched


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What became of a job."""

    workflow_id: str
    workflow: str
    state: State
    queue: str | None
    executor_id: str | None
    version: str | None
    result: Any
    error_code: str | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True)
class StepRecord:
    """A step that a job has finished."""

    name: str
    error_code: str | None


def submit(
    workflow_name: str, workflow_id: str, args: Sequence[Any] = (), *, queue: QueueName, partition: str | None = None
) -> None:
    """Put a job on a queue, unless a job of that id was ever submitted: then nothing happens.

    Args:
        workflow_name: As registered, in this process or in another.
        workflow_id: ``<run>:<n>``; raise n only to do the same thing anew.
        args: Ids, digests and numbers.
        queue: Who works on it: ``control`` is the intake's, ``gpu`` the unlearning service's.
        partition: The base, for ``gpu``: jobs of one base run one after another.

    Raises:
        LetheError: ``jobs.personal_data``, ``jobs.not_launched``.
    """
    if faults := (*opaque_faults(workflow_id), *opaque_faults(list(args)), *opaque_faults(partition)):
        raise LetheError("jobs.personal_data", "An argument of a job is more than an id or a number.", faults)
    if (queue == "gpu") != (partition is not None):
        raise ValueError("jobs of the queue gpu, and no others, name the base as their partition")
    from dbos import DBOS, EnqueueOptions

    options: EnqueueOptions = {
        "workflow_name": workflow_name,
        "workflow_id": workflow_id,
        "queue_name": queue,
        "app_version": VERSION,
    }
    if partition is not None:
        options["queue_partition_key"] = partition
    _launched(lambda: DBOS.enqueue_workflow_with_options(options, *args))


def get(workflow_id: str) -> JobStatus | None:
    """What became of a job; None if there is none of that id."""
    from dbos import DBOS

    status = _launched(lambda: DBOS.get_workflow_status(workflow_id))
    return None if status is None else _status(status)


def steps(workflow_id: str) -> list[StepRecord]:
    """The steps that a job has finished, in order."""
    from dbos import DBOS

    found = _launched(lambda: DBOS.list_workflow_steps(workflow_id))
    return [StepRecord(step["function_name"], error_code(step["error"])) for step in found]


def left_behind(job: JobStatus) -> bool:
    """Whether a job waits for a worker of an older version, which nobody starts any more.

    It is submitted anew under the next number: every step sees for itself what is done already. A job that an older
    worker still holds is left to it; once that has ended, the reaper puts the job back on its queue.
    """
    given = job.version or ""
    return job.state == "queued" and given.isdigit() and int(given) < int(VERSION)


def cancel(workflow_id: str) -> None:
    """Let no further step of a job begin. The step that runs now runs on: it looks at its own cancel flag.

    Raises:
        LetheError: ``jobs.unknown``, ``jobs.not_launched``.
    """
    from dbos import DBOS

    _known(workflow_id)
    _launched(lambda: DBOS.cancel_workflow(workflow_id))


def resume(workflow_id: str, queue: QueueName) -> None:
    """Put a job that was cancelled, or that nobody works on, back on its queue. It keeps its partition.

    For a job of a dead worker the reaper does this, and raises the attempt first; by hand it is for cancelled jobs.

    Raises:
        LetheError: ``jobs.unknown``, ``jobs.not_launched``.
    """
    from dbos import DBOS

    _known(workflow_id)
    _launched(lambda: DBOS.resume_workflow(workflow_id, queue_name=queue))


def _status(status: Any) -> JobStatus:
    return JobStatus(
        workflow_id=status.workflow_id,
        workflow=status.name,
        state=_STATES[status.status],
        queue=status.queue_name,
        executor_id=status.executor_id,
        version=status.app_version,
        result=status.output,
        error_code=error_code(status.error),
        created_at=_moment(status.created_at),
        updated_at=_moment(status.updated_at),
    )


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _known(workflow_id: str) -> None:
    """DBOS cancels a job that does not exist without a word."""
    if get(workflow_id) is None:
        raise LetheError("jobs.unknown", "There is no job of this id.")


def _launched(call: Callable[[], T]) -> T:
    if not _open:
        raise LetheError("jobs.not_launched", "This process does not take part in the jobs.")
    return outside_loop(call)


def outside_loop(call: Callable[[], T]) -> T:
    """DBOS's synchronous calls raise where an event loop runs, as in a BentoML ``__init__`` or an async handler."""
    return call() if asyncio._get_running_loop() is None else _off_loop.submit(call).result()


def set_open(now: bool) -> None:
    """Said by the worker: whether this process can be asked about jobs."""
    global _open
    _open = now
