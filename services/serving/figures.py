"""Figures of the fleet and of pending erasures for the metrics: numbers only, read when somebody asks for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from opentelemetry import trace
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policies.lifecycle import CLOSED_TICKET, RunStatus
from services import telemetry
from services.serving.alias import Alias
from services.serving.swap import READY, SwapReceipt
from services.store import dialect, suppressions
from services.store.engine import Store
from services.store.releases import list_desired, list_replicas
from services.store.tables import DesiredState, Recheck, Run, Ticket

_NONE = -1
_BASE_DIGITS = 16
_LATELY = timedelta(days=1)


class Replica(Protocol):
    """What is told of a replica in its own process."""

    alias: Alias

    @property
    def ready(self) -> bool: ...


@dataclass(slots=True)
class Fleet:
    """What the store says at one moment; durations in seconds.

    Attributes:
        desired: Generation by base.
        live: Replicas with a running lease.
        behind: Of these, not settled at the desired generation.
        fenced: Whose lease ended behind the generation that was committed meanwhile.
        suppressed: Rules in force.
        unconfirmed: Of these, not yet applied by every live replica.
        waiting: Approved tickets whose release is not served yet.
        pending_s: Age of the oldest of them, from its approval.
        due_s: Until the nearest deadline of an open ticket; None: there is none.
        rejected: Runs that the gate rejected within the last day. Told by the store, since the worker may be gone.
        remembered: Findings of the last day's re-checks (a replica and a person) that failed.
    """

    desired: dict[str, int] = field(default_factory=dict)
    live: int = 0
    behind: int = 0
    fenced: int = 0
    suppressed: int = 0
    unconfirmed: int = 0
    waiting: int = 0
    pending_s: float = 0.0
    due_s: float | None = None
    rejected: int = 0
    remembered: int = 0


def read_fleet(session: Session) -> Fleet:
    """The figures, in one reading transaction."""
    now, fleet = dialect.clock(session), Fleet()
    for state in list_desired(session):
        _count_replicas(session, state, now, fleet)
    fleet.suppressed = len(suppressions.active(session))
    fleet.unconfirmed = len(suppressions.unconfirmed(session))
    is_open = Ticket.status.not_in(CLOSED_TICKET)
    fleet.waiting, oldest = session.execute(
        select(func.count(), func.min(Ticket.approved_at)).where(is_open, Ticket.approved_at.is_not(None))
    ).one()
    if oldest is not None:
        fleet.pending_s = max(0.0, (now - oldest).total_seconds())
    due = session.scalar(select(func.min(Ticket.due_at)).where(is_open))
    if due is not None:
        fleet.due_s = (due - now).total_seconds()
    rejected = select(func.count()).where(Run.status == RunStatus.REJECTED, Run.ended_at > now - _LATELY)
    remembered = select(func.count()).where(Recheck.outcome == "fail", Recheck.at > now - _LATELY)
    fleet.rejected, fleet.remembered = session.scalar(rejected) or 0, session.scalar(remembered) or 0
    return fleet


def _count_replicas(session: Session, state: DesiredState, now: datetime, fleet: Fleet) -> None:
    fleet.desired[state.base_digest[:_BASE_DIGITS]] = state.generation
    for row in list_replicas(session, state.base_digest):
        settled = (row.generation, row.release_digest, row.state) == (state.generation, state.release_digest, READY)
        if row.lease_until > now:
            fleet.live += 1
            fleet.behind += not settled
        elif row.generation < state.generation and row.lease_until > state.changed_at:
            fleet.fenced += 1


def observe_fleet(store: Store) -> None:
    """Let the metrics of this process tell what the store says; for the intake, after ``telemetry.setup``."""

    def fleet() -> Fleet:
        with store.read() as session:
            return read_fleet(session)

    def one(name: str, figure: Callable[[Fleet], float | None]) -> None:
        def figures() -> list[tuple[float, dict[str, str]]]:
            value = figure(fleet())
            return [] if value is None else [(value, {})]

        telemetry.observe(name, figures)

    one("lethe.replicas.live", lambda f: f.live)
    one("lethe.replicas.behind", lambda f: f.behind)
    one("lethe.replicas.fenced", lambda f: f.fenced)
    one("lethe.suppressions.active", lambda f: f.suppressed)
    one("lethe.suppressions.unconfirmed", lambda f: f.unconfirmed)
    one("lethe.erasure.waiting", lambda f: f.waiting)
    one("lethe.erasure.pending", lambda f: f.pending_s)
    one("lethe.erasure.due", lambda f: f.due_s)
    one("lethe.runs.rejected", lambda f: f.rejected)
    one("lethe.rechecks.failed", lambda f: f.remembered)
    telemetry.observe(
        "lethe.generation.desired", lambda: [(number, {"lethe.base": base}) for base, number in fleet().desired.items()]
    )


def observe_replica(replica_id: str, replica: Replica) -> None:
    """Let the metrics of this process tell what its replica serves; for the gateway, after ``telemetry.setup``."""
    about = {"lethe.replica": replica_id}

    def generation() -> int:
        served = replica.alias.current
        return _NONE if served is None else served.generation

    telemetry.observe("lethe.adapter.generation", lambda: [(generation(), about)])
    telemetry.observe("lethe.replica.ready", lambda: [(int(replica.ready), about)])


def record_receipt(receipt: SwapReceipt) -> None:
    """Tell a swap that is confirmed: how long it took, and in the present span what is served now."""
    last = max(word.acked_at for word in receipt.replicas)
    flips = [word.committed_at for word in receipt.replicas if word.committed_at is not None]
    phases = {}
    if flips:  # the first alias that was flipped says when it was committed, within milliseconds
        after = min(receipt.seconds, max(0.0, (last - min(flips)).total_seconds()))
        phases = {"prepare": receipt.seconds - after, "commit": after}
    telemetry.record_swap(receipt.seconds, outcome="ok", phases=phases)
    trace.get_current_span().set_attributes(
        {
            "lethe.generation": receipt.generation,
            "lethe.release": receipt.digest,
            "lethe.replicas": len(receipt.replicas),
        }
    )
