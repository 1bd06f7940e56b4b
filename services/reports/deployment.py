"""Point 10 of a report: the swap, what every replica said afterwards, and how long the subject was suppressed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from services.reports.data import DeploymentPart, ProbePart, ReplicaPart, SuppressionPart, TrialPart
from services.store import suppressions
from services.store.tables import Recheck, RunStep, Ticket
from services.suppression import OFF, state_of

CACHES = (
    "Prefix cache of the engine: keyed by the adapter's name, which is made from its content and never used again, so "
    "nothing computed with the old adapter can be hit. Nothing to flush.",
    "External KV stores, response caches and semantic caches: Lethe has none.",
    "Outside Lethe, to be flushed by whoever runs them: caches of proxies in front of the gateway, answers that "
    "clients stored, RAG indexes, models distilled from answers.",
)


def deployment_of(
    session: Session, ticket: Ticket, steps: Mapping[str, RunStep], results: Mapping[str, Mapping[str, Any]]
) -> DeploymentPart | None:
    """The swap of the ticket's last run; None where nothing was committed."""
    swapped = results.get("swap", {})
    if "digest" not in swapped:
        return None
    probed = results.get("probe", {}).get("outcome")
    since = steps["swap"].ended_at
    return DeploymentPart(
        release_digest=swapped["digest"],
        generation=swapped["generation"],
        released_at=steps["release"].ended_at,
        activated_at=since,
        seconds=swapped.get("seconds"),
        replicas=tuple(_replica(one) for one in swapped["replicas"]),
        fenced=tuple(swapped.get("fenced", ())),
        caches=CACHES,
        probe_passed=None if probed is None else probed == "pass",
        probes=_probes(session, ticket, swapped["generation"]),
    )


def trial_of(results: Mapping[str, Mapping[str, Any]]) -> TrialPart | None:
    """What the canary and shadow share came to, also where it kept the release from being committed."""
    found = results.get("swap", {}).get("trial")
    return None if found is None else TrialPart(**{**found, "why": tuple(found["why"])})


def suppression_of(session: Session, ticket: Ticket) -> SuppressionPart | None:
    """How long answers about the subject were suppressed, and why; None: never, and never wanted."""
    rows = suppressions.of_ticket(session, ticket.ticket_id)
    if not rows:
        return SuppressionPart(state="off") if OFF in ticket.acts else None
    state = state_of(session, ticket)
    return SuppressionPart(
        state=state.state,
        since=min(row.since for row in rows),
        confirmed_at=state.confirmed_at,
        until=state.lifted_at,
        reasons=tuple(dict.fromkeys(row.reason for row in rows)),
    )


def _replica(one: Mapping[str, Any]) -> ReplicaPart:
    return ReplicaPart(
        replica=one["replica_id"],
        digest=one["digest"],
        engine=one.get("engine"),
        prepared_at=_moment(one.get("prepared_at")),
        committed_at=_moment(one.get("committed_at")),
        acknowledged_at=datetime.fromisoformat(one["acked_at"]),
    )


def _probes(session: Session, ticket: Ticket, generation: int) -> tuple[ProbePart, ...]:
    """About the subject at any time since; about people who are kept right after the swap."""
    kept = Recheck.ticket_id.is_(None) & (Recheck.generation == generation)
    query = select(Recheck).where(or_(Recheck.ticket_id == ticket.ticket_id, kept), Recheck.generation >= generation)
    return tuple(
        ProbePart(
            at=row.at,
            kind=row.kind,
            replica=row.replica_id,
            generation=row.generation,
            asked_about=group,
            answers=found["n"],
            share=found["share"],
            required=found["required"],
            outcome=found["outcome"],
        )
        for row in session.scalars(query.order_by(Recheck.at, Recheck.replica_id, Recheck.ticket_id))
        for group, found in row.figures["groups"].items()
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
