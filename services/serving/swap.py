"""The coordinator of a fleet swap: propose, wait until replicas have prepared, commit or abort, wait for the receipt.

It keeps nothing to itself: killed at any point and called again, it goes on from what the store says. Every change is
decided (services/serving/rollout.py) and made in one writing transaction. docs/swap.md tells the protocol.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from pipelines.adapter import Trust
from policies.errors import LetheError
from services import keys
from services.serving.rollout import FleetView, Member, Step, StepKind, Version, next_step
from services.serving.statement import Statement, write_statement
from services.serving.trial import longest_s
from services.serving.wanted import proposed_of
from services.settings import Settings
from services.store import dialect
from services.store.engine import Store
from services.store.releases import abort, commit, get_desired, list_replicas, live_replicas, propose
from services.store.tables import DesiredState, Replica
from services.store.types import utc_now

READY = "ready"
_POLL_S = 0.05
_CHANGES = (StepKind.PROPOSE, StepKind.COMMIT, StepKind.ABORT)

Judge = Callable[[str, int], bool | None]
"""Says what becomes of a trial, given the base and the proposed generation: None while it runs, then yes or no."""


def refused_state(generation: int, code: str) -> str:
    """How a replica that serves nothing says in its row which generation it refuses, and why."""
    return f"refused:{generation}:{code}"[:64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One replica's word: it serves this release and has unloaded the one before.

    Attributes:
        replica_id: Whose.
        digest: That it verified and serves.
        engine: Which engine serves it there; None if it does not say.
        prepared_at: It had verified, loaded and probed it; None for one that joined after the commit.
        committed_at: Its alias pointed to it.
        acked_at: What came before was unloaded.
    """

    replica_id: str
    digest: str
    engine: str | None
    prepared_at: datetime | None
    committed_at: datetime | None
    acked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReceipt:
    """A swap after which no replica answers from an older generation.

    Attributes:
        base_digest: Which base.
        generation: Served now.
        digest: Of the release.
        replicas: One confirmation each.
        fenced: Replicas that had a lease when it was committed and did not come along; they answer nobody.
        seconds: From the proposal to the last confirmation.
    """

    base_digest: str
    generation: int
    digest: str
    replicas: tuple[Confirmation, ...]
    fenced: tuple[str, ...]
    seconds: float


def swap_to(
    store: Store,
    base_digest: str,
    release_digest: str,
    *,
    settings: Settings,
    actor: str,
    stop: Callable[[], str | None] = lambda: None,
    suppressed: Collection[str] = (),
    trial: Judge | None = None,
    revive: bool = False,
) -> SwapReceipt:
    """Make a release the one that every replica serves; blocks until it is, or until it cannot be.

    Args:
        store: Opened by a process that may sign with the audit key.
        base_digest: Which base.
        release_digest: A stored release of it.
        settings: Of the installation.
        actor: Who did it.
        stop: Asked until the commit, also inside its transaction (so it may only read): a code there aborts the swap.
        suppressed: Tickets that may be missing from the release's watermark, because they are suppressed in output.
        trial: Asked once enough replicas have prepared; only its yes lets them commit.
        revive: An operator's way out where no replica can serve what is desired: then none can prepare either, and the
            release is committed once the time to prepare is over.

    Raises:
        LetheError: ``swap.refused``, ``swap.timeout``, ``swap.trial_failed``, or what ``stop`` said: nothing was
            committed. ``swap.timeout`` after the commit, ``swap.superseded``, ``desired_state.conflict`` (another swap
            is on its way), and as ``propose``.
    """
    swap = Swap(store, base_digest, release_digest, settings, actor, stop, tuple(suppressed), trial, revive)
    while (receipt := swap.turn()) is None:
        time.sleep(_POLL_S)
    return receipt


def as_json(receipt: SwapReceipt) -> dict[str, Any]:
    """A receipt as a run's step and a report keep it."""
    return {
        "generation": receipt.generation,
        "digest": receipt.digest,
        "seconds": receipt.seconds,
        "fenced": list(receipt.fenced),
        "replicas": [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}
            for one in receipt.replicas
        ],
    }


def record_statement(settings: Settings, state: DesiredState) -> bool:
    """Keep the signed statement of what is committed; called after every commit, and when the intake starts.

    Raises:
        LetheError: ``serving.statement_damaged``, ``keys.missing``.
    """
    statement = Statement(
        base_digest=state.base_digest,
        generation=state.generation,
        release_digest=state.release_digest,
        watermark=frozenset(state.watermark),
        at=utc_now(),  # not of the commit: the key may be younger than that
    )
    trust = Trust.from_file(keys.trust_path(settings))
    return write_statement(settings.home / "releases", statement, keys.load_private(settings, "audit"), trust)


@dataclass
class Swap:
    """One call of ``swap_to``, turn by turn. What it remembers only serves to notice what others did meanwhile."""

    store: Store
    base: str
    goal: str
    settings: Settings
    actor: str
    stop: Callable[[], str | None]
    suppressed: tuple[str, ...]
    judge: Judge | None
    revive: bool = False
    replaces: int | None = None  # the generation that is desired before the commit
    proposed: bool = False
    committed: bool = False
    deadline: float = 0.0
    passed: bool = False
    failed: str | None = None

    def turn(self) -> SwapReceipt | None:
        """Look and do the next step; gives the receipt at the end.

        Raises:
            LetheError: As ``swap_to``.
        """
        with self.store.read() as session:
            step, view = self._look(session)
            if step.kind is StepKind.CONFIRMED:
                return _receipt(get_desired(session, self.base), list_replicas(session, self.base), view)
        if step.kind in _CHANGES:
            with self.store.write() as session:
                step, view = self._look(session)  # again: what changes it now would have to wait for this transaction
                self._change(session, step, view)
        if step.kind is StepKind.STOP or (step.kind is StepKind.ABORT and _digest_of(view.proposed) == self.goal):
            raise self._failure(step, view)
        if step.kind is StepKind.TRIAL:
            self._try(view)
        if step.kind is StepKind.WAIT:
            self._wait(step, view)
        return None

    def _look(self, session: Session) -> tuple[Step, FleetView]:
        state = get_desired(session, self.base)
        self._notice(state)
        view = self._view(session, state)
        return next_step(view), view

    def _notice(self, state: DesiredState) -> None:
        """See what became of the swap, by whoever did it."""
        if self.replaces is None:
            self.replaces = state.generation - (state.release_digest == self.goal)
        expected = self.replaces + (state.release_digest == self.goal)
        if state.generation != expected or (self.committed and state.release_digest != self.goal):
            raise LetheError("swap.superseded", f"The desired state is at generation {state.generation} by now.")
        if state.release_digest == self.goal and not self.committed:
            self.committed = True
            record_statement(self.settings, state)
            serving = self.settings.serving
            self.deadline = time.monotonic() + serving.prepare_timeout_s + serving.drain_timeout_s + serving.lease_s

    def _view(self, session: Session, state: DesiredState) -> FleetView:
        now, serving = dialect.clock(session), self.settings.serving
        late = abandoned = False
        if state.prepare_until is not None:
            late = now >= state.prepare_until
            spare = serving.prepare_timeout_s + longest_s(serving)
            abandoned = now >= state.prepare_until + timedelta(seconds=spare)
        return FleetView(
            goal=self.goal,
            desired=(state.generation, state.release_digest),
            proposed=proposed_of(state),
            members=tuple(member_of(one) for one in live_replicas(session, self.base, at=now)),
            min_ready=serving.min_ready,
            late=late,
            abandoned=abandoned,
            stop=None if self.committed else self.failed or self.stop(),
            untried=self.judge is not None and not self.passed,
            revive=self.revive,
        )

    def _change(self, session: Session, step: Step, view: FleetView) -> None:
        if step.kind is StepKind.PROPOSE:
            if self.proposed:
                raise LetheError("swap.superseded", "The proposal was taken back by somebody else.")
            self.proposed = True
            propose(
                session,
                self.base,
                expected_generation=view.desired[0],
                release_digest=self.goal,
                prepare_s=self.settings.serving.prepare_timeout_s,
                actor=self.actor,
                suppressed=self.suppressed,
            )
        elif view.proposed is not None and step.kind in _CHANGES:
            generation, digest = view.proposed
            if step.kind is StepKind.COMMIT:
                commit(session, self.base, generation=generation, release_digest=digest, actor=self.actor)
            else:
                reason = step.reason
                abort(session, self.base, generation=generation, release_digest=digest, reason=reason, actor=self.actor)

    def _try(self, view: FleetView) -> None:
        assert self.judge is not None
        assert view.proposed is not None
        outcome = self.judge(self.base, view.proposed[0])
        self.passed = outcome is True
        if outcome is False:
            self.failed = "swap.trial_failed"

    def _wait(self, step: Step, view: FleetView) -> None:
        if step.reason:
            raise LetheError(step.reason, "Another release is proposed; only one swap is made at a time.")
        if self.committed and time.monotonic() > self.deadline:
            late = tuple(
                f"{m.replica_id}: generation {m.served[0]}, {'settled' if m.settled else 'not settled'}"
                for m in view.members
                if m.served != view.desired or not m.settled
            )
            raise LetheError("swap.timeout", f"Generation {view.desired[0]} is not confirmed in time.", late)

    def _failure(self, step: Step, view: FleetView) -> LetheError:
        refusals = tuple(f"{m.replica_id}: {m.refused}" for m in view.members if m.refused is not None)
        if step.reason == "swap.refused":
            return LetheError(step.reason, "Replicas refuse the release; the one before still serves.", refusals)
        if step.reason == "swap.timeout":
            silent = tuple(
                f"{m.replica_id}: not prepared"
                for m in view.members
                if m.refused is None and m.prepared != view.proposed
            )
            found = sum(m.prepared == view.proposed for m in view.members)
            text = f"{found} of {len(view.members)} replicas prepared in time, {view.min_ready} are needed."
            return LetheError(step.reason, text, refusals + silent)
        return LetheError(step.reason, "The swap was stopped before its commit; the release before still serves.")


def _receipt(state: DesiredState, rows: Sequence[Replica], view: FleetView) -> SwapReceipt:
    live = {member.replica_id for member in view.members}
    words = tuple(_confirmation(row) for row in rows if row.replica_id in live)
    began = state.proposed_at if state.proposed_digest is None and state.proposed_at else state.changed_at
    return SwapReceipt(
        base_digest=state.base_digest,
        generation=state.generation,
        digest=state.release_digest,
        replicas=words,
        fenced=tuple(
            row.replica_id
            for row in rows
            if row.replica_id not in live and row.lease_until > state.changed_at and row.generation < state.generation
        ),
        seconds=max(0.0, (max(word.acked_at for word in words) - began).total_seconds()),
    )


def member_of(row: Replica) -> Member:
    """A replica's row, as the coordinator sees it."""
    prepared = None if row.prepared_digest is None else (row.prepared_generation, row.prepared_digest)
    return Member(
        replica_id=row.replica_id,
        served=(row.generation, row.release_digest or ""),
        settled=row.state == READY and row.acked_at is not None,
        prepared=prepared,
        refused=row.refused,
    )


def _digest_of(version: Version | None) -> str | None:
    return None if version is None else version[1]


def _confirmation(row: Replica) -> Confirmation:
    assert row.release_digest is not None
    assert row.acked_at is not None
    return Confirmation(
        replica_id=row.replica_id,
        digest=row.release_digest,
        engine=None if row.about is None else row.about.get("engine"),
        prepared_at=row.prepared_at,
        committed_at=row.committed_at,
        acked_at=row.acked_at,
    )
