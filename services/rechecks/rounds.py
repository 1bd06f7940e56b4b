"""One round: every live replica is asked, what it says is judged, and the figures are kept."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit, telemetry
from services.rechecks.judge import Judged, Outcome, judge, worst
from services.rechecks.questions import Questions, Set, sample
from services.rechecks.replica import Asked, Asker
from services.store.engine import Store
from services.store.releases import get_desired, live_replicas
from services.store.tables import Recheck
from services.store.types import new_id, utc_now

Kind = Literal["after_swap", "scheduled"]
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one replica's answers about one person (None: about people who are kept) came to."""

    replica_id: str
    ticket_id: str | None
    outcome: Outcome
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What all replicas said.

    Attributes:
        base_digest: Which base.
        generation: That answered.
        release_digest: Which release that is.
        findings: One for each replica and person.
    """

    base_digest: str
    generation: int
    release_digest: str
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        """Passed only where everything was asked and reached."""
        return worst([finding.outcome for finding in self.findings])

    def of(self, ticket_id: str) -> Outcome:
        """What came out about one person, on all replicas together."""
        return worst([finding.outcome for finding in self.findings if finding.ticket_id == ticket_id])

    def not_passed(self) -> list[str]:
        """The tickets whose person some replica still tells of, or of whom nothing could be scored."""
        return sorted({f.ticket_id for f in self.findings if f.ticket_id is not None and f.outcome != "pass"})


def ask_all(store: Store, base_digest: str, questions: Sequence[Questions], asker: Asker, *, seed: str) -> Round:
    """Ask every replica whose lease runs; the same part of the questions on each.

    Raises:
        LetheError: ``swap.probe_unanswered`` where a live replica does not answer, or none is live;
            ``swap.superseded`` where the desired state changed meanwhile. Nothing is known then: ask again.
    """
    with store.read() as session:
        state = get_desired(session, base_digest)
        live = live_replicas(session, base_digest)
    if not live:
        raise LetheError("swap.probe_unanswered", "No replica has a lease.")
    if unknown := [replica.replica_id for replica in live if not replica.address]:
        raise LetheError("swap.probe_unanswered", f"Replica {unknown[0]} has not said where it listens.")
    replicas = [
        Asked(replica_id=replica.replica_id, address=replica.address or "", generation=state.generation)
        for replica in live
    ]

    def one(replica: Asked) -> list[Finding]:
        try:
            return [_ask(replica, about, asker, seed) for about in questions]
        except LetheError as error:
            if error.code == "swap.probe_unanswered" and not _lives(store, base_digest, replica.replica_id):
                return []  # it answers nobody any more, so it need not answer us
            raise

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="replica") as threads:
        found = [finding for findings in threads.map(one, replicas) for finding in findings]
    if questions and not found:
        raise LetheError("swap.probe_unanswered", "No replica has a lease any more.")
    return Round(
        base_digest=base_digest,
        generation=state.generation,
        release_digest=state.release_digest,
        findings=tuple(found),
    )


def record(session: Session, found: Round, kind: Kind) -> None:
    """Keep the figures, and say in the audit log what was asked and what came out."""
    at = utc_now()
    session.add_all(
        Recheck(
            recheck_id=new_id("k"),
            at=at,
            kind=kind,
            base_digest=found.base_digest,
            generation=found.generation,
            replica_id=finding.replica_id,
            ticket_id=finding.ticket_id,
            outcome=finding.outcome,
            figures={"release": found.release_digest, "groups": finding.figures},
        )
        for finding in found.findings
    )
    session.flush()
    payload = {
        "base": found.base_digest,
        "generation": found.generation,
        "release": found.release_digest,
        "kind": kind,
        "outcome": found.outcome,
        "replicas": len({finding.replica_id for finding in found.findings}),
        "asked": len({finding.ticket_id for finding in found.findings if finding.ticket_id}),
        "not_passed": found.not_passed()[:50],
    }
    audit.append(session, kind="recheck.done", payload=payload, at=at)
    telemetry.count_recheck(found.outcome)


def failed_releases(session: Session, base_digest: str) -> set[str]:
    """Releases that some replica's answers have refuted: never rolled forward to."""
    rows = session.scalars(select(Recheck).where(Recheck.base_digest == base_digest, Recheck.outcome == "fail"))
    return {str(row.figures["release"]) for row in rows}


def of_release(session: Session, base_digest: str, release_digest: str) -> list[dict[str, Any]]:
    """What replicas said while they served a release, the newest first; figures only."""
    rows = session.scalars(select(Recheck).where(Recheck.base_digest == base_digest).order_by(Recheck.at.desc()))
    return [view(row) for row in rows if row.figures["release"] == release_digest]


def view(row: Recheck) -> dict[str, Any]:
    """A row as it is told."""
    fields = ("kind", "generation", "replica_id", "ticket_id", "outcome")
    return {
        "at": row.at.isoformat(timespec="seconds"),
        **{name: getattr(row, name) for name in fields},
        "groups": row.figures["groups"],
    }


def _ask(replica: Asked, about: Questions, asker: Asker, seed: str) -> Finding:
    judged = [_judge(replica, part, asker, f"{seed}:{about.ticket_id}") for part in about.sets]
    return Finding(
        replica_id=replica.replica_id,
        ticket_id=about.ticket_id,
        outcome=worst([one.outcome for one in judged]),
        figures={one.group: one.figures() for one in judged},
    )


def _judge(replica: Asked, part: Set, asker: Asker, seed: str) -> Judged:
    """A part of the questions first. One that misses may be bad luck: then all are asked, as for the verdict."""
    first = sample(part.probes, asker.serving.probe_sample, seed)
    answers = asker.answers(replica, [probe.question for probe in first])
    judged = judge(part.group, first, answers, part.required)
    asked = {probe.probe_id for probe in first}
    rest = [probe for probe in part.probes if probe.probe_id not in asked]
    if judged.outcome == "pass" or not rest:
        return judged
    answers += asker.answers(replica, [probe.question for probe in rest])
    return judge(part.group, (*first, *rest), answers, part.required)


def _lives(store: Store, base_digest: str, replica_id: str) -> bool:
    with store.read() as session:
        return any(replica.replica_id == replica_id for replica in live_replicas(session, base_digest))
