"""Leases of workers: who is alive, and whose work must be taken over."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.store.tables import WorkerLease
from services.store.types import utc_now


def renew_lease(session: Session, executor_id: str, role: str, *, lease_s: float, at: datetime | None = None) -> None:
    """Says that a worker is alive for ``lease_s`` more seconds."""
    moment = at or utc_now()
    lease = session.get(WorkerLease, executor_id)
    if lease is None:
        lease = WorkerLease(executor_id=executor_id, role=role, started_at=moment)
        session.add(lease)
    lease.lease_until = moment + timedelta(seconds=lease_s)
    session.flush()


def lapsed_leases(session: Session, *, role: str | None = None, at: datetime | None = None) -> list[WorkerLease]:
    """Workers that have been silent for longer than they promised."""
    query = select(WorkerLease).where(WorkerLease.lease_until <= (at or utc_now()))
    return list(session.scalars(query if role is None else query.where(WorkerLease.role == role)))


def live_leases(session: Session, *, role: str | None = None, at: datetime | None = None) -> list[WorkerLease]:
    """Workers that are alive."""
    query = select(WorkerLease).where(WorkerLease.lease_until > (at or utc_now()))
    return list(session.scalars(query if role is None else query.where(WorkerLease.role == role)))


def end_lease(session: Session, executor_id: str) -> None:
    """Forgets a worker: it stopped, or its work was taken over."""
    session.execute(delete(WorkerLease).where(WorkerLease.executor_id == executor_id))
