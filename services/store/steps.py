"""The steps of a run, as they were done: what the report tells and what a resumed run need not do again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.store.runs import fenced
from services.store.tables import RunStep
from services.store.types import utc_now


def begin_step(session: Session, run_id: str, step: str, attempt: int, *, at: datetime | None = None) -> None:
    """Notes that an attempt begins a step; beginning it again keeps the first start, so that durations are honest.

    Raises:
        LetheError: ``run.stale_attempt``.
    """
    fenced(session, run_id, attempt)
    row = session.get(RunStep, (run_id, step))
    if row is None:
        session.add(RunStep(run_id=run_id, step=step, attempt=attempt, started_at=at or utc_now()))
    else:
        row.attempt, row.ended_at = attempt, None


def end_step(
    session: Session,
    run_id: str,
    step: str,
    attempt: int,
    result: Mapping[str, Any],
    *,
    at: datetime | None = None,
) -> None:
    """Stores what a step found.

    Raises:
        LetheError: ``run.stale_attempt``.
    """
    fenced(session, run_id, attempt)
    row = session.get_one(RunStep, (run_id, step))
    row.result, row.ended_at = dict(result), at or utc_now()
    session.flush()


def steps_of(session: Session, run_id: str) -> dict[str, RunStep]:
    """Every step that was begun, by name, in the order of beginning."""
    query = select(RunStep).where(RunStep.run_id == run_id).order_by(RunStep.started_at)
    return {row.step: row for row in session.scalars(query)}
