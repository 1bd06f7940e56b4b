"""When a run starts, and for whom: tickets that can share a training do, and none misses its date for it.

Runs of one base are serial (each starts from the last release), so waiting tickets form one queue. It is served by due
date, in batches. Waiting for more tickets saves training; it ends when a batch is full, when somebody has waited long
enough, or when starting any later would make somebody late.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A ticket whose forget set is fixed.

    Attributes:
        ticket_id: Which.
        since: Since when a run could have taken it.
        due: When its erasure must be live; None where the regime sets no date.
    """

    ticket_id: str
    since: datetime
    due: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """How long a run takes, as the plan expects it.

    Attributes:
        fixed_s: Whatever the number of tickets: loading, checks, the verdict about others, release, swap, probes.
        ticket_s: More for each ticket.
    """

    fixed_s: float
    ticket_s: float

    def of(self, tickets: int) -> timedelta:
        """Of a run with so many tickets."""
        return timedelta(seconds=self.fixed_s + self.ticket_s * tickets)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """What the organisation wants of its runs.

    Attributes:
        window: How long a ticket waits for others to share a run with.
        most: Most tickets of one run.
        cost: Expected length of runs.
        reserve: Left between the expected end of a run and the date: room for a second try and for people.
    """

    window: timedelta
    most: int
    cost: RunCost
    reserve: timedelta

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError("a run has at least one ticket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        batch: The tickets of the run that starts now; empty: wait.
        wake: When to look again at the latest; None where a run starts or nobody waits.
        late: Tickets that will miss their date, or its reserve, whatever is done.
    """

    batch: tuple[str, ...] = ()
    wake: datetime | None = None
    late: tuple[str, ...] = ()


def by_date(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Who is due first comes first; among those without a date who has waited longest."""
    return sorted(waiting, key=urgency)


def urgency(one: Waiting) -> tuple[bool, datetime, datetime, str]:
    """The place in ``by_date``, as something to compare."""
    return (one.due is None, one.due or one.since, one.since, one.ticket_id)


def latest_start(waiting: Sequence[Waiting], rules: BatchRules) -> datetime | None:
    """The last moment at which the queue can be begun, run after run, so that everybody is in time; None: any.

    Args:
        waiting: In the order of ``by_date``.
        rules: Sizes and lengths.
    """
    latest = None
    before = timedelta()
    for first in range(0, len(waiting), rules.most):
        batch = waiting[first : first + rules.most]
        before += rules.cost.of(len(batch))
        due = batch[0].due  # the first of a batch is due first
        if due is not None:
            start = due - rules.reserve - before
            latest = start if latest is None else min(latest, start)
    return latest


def plan_batch(waiting: Sequence[Waiting], rules: BatchRules, now: datetime) -> Plan:
    """Whether a run starts now, and for whom. The base must be free: runs of one base are serial.

    Args:
        waiting: All tickets of the base that a run could take.
        rules: What the organisation wants.
        now: The present moment.
    """
    if not waiting:
        return Plan()
    queue = by_date(waiting)
    latest = latest_start(queue, rules)
    patient = min(one.since for one in queue) + rules.window
    wake = patient if latest is None else min(patient, latest)
    if now < wake and len(queue) < rules.most:
        return Plan(wake=wake)
    return Plan(batch=tuple(one.ticket_id for one in queue[: rules.most]), late=_late(queue, rules, now))


def _late(queue: Sequence[Waiting], rules: BatchRules, now: datetime) -> tuple[str, ...]:
    """Who is not done in time if every run starts as early as it can."""
    late, end = [], now
    for first in range(0, len(queue), rules.most):
        batch = queue[first : first + rules.most]
        end += rules.cost.of(len(batch))
        late += [one.ticket_id for one in batch if one.due is not None and end + rules.reserve > one.due]
    return tuple(late)
