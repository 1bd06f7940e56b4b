"""Releases, the desired state that every replica follows, and what the replicas say of themselves."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit
from services.store import dialect
from services.store.tables import DesiredState, Release, Replica
from services.store.types import utc_now


def add_release(
    session: Session,
    *,
    digest: str,
    base_digest: str,
    path: str,
    watermark: Iterable[str],
    verdict: dict[str, Any],
    actor: str,
    parent_digest: str | None = None,
    run_id: str | None = None,
    at: datetime | None = None,
) -> Release:
    """Stores a verified adapter; storing the same one again changes nothing.

    Raises:
        LetheError: ``release.exists``: the digest is known with another base, parent or watermark.
    """
    marks = sorted(set(watermark))
    known = session.get(Release, digest)
    if known is not None:
        if (known.base_digest, known.parent_digest, known.watermark) != (base_digest, parent_digest, marks):
            raise LetheError("release.exists", "This release is stored with another base, parent or watermark.")
        return known
    moment = at or utc_now()
    release = Release(
        digest=digest,
        base_digest=base_digest,
        parent_digest=parent_digest,
        run_id=run_id,
        watermark=marks,
        verdict=verdict,
        path=path,
        created_at=moment,
    )
    session.add(release)
    session.flush()
    payload = {"digest": digest, "base": base_digest, "parent": parent_digest, "run_id": run_id, "actor": actor}
    audit.append(session, kind="release.added", payload={**payload, "tickets": len(marks)}, at=moment)
    return release


def get_release(session: Session, digest: str) -> Release:
    """One release.

    Raises:
        LetheError: ``release.not_found``.
    """
    release = session.get(Release, digest)
    if release is None:
        raise LetheError("release.not_found", "There is no such release.")
    return release


def list_releases(session: Session, base_digest: str | None = None) -> list[Release]:
    """Releases, oldest first."""
    query = select(Release).order_by(Release.created_at, Release.digest)
    return list(session.scalars(query if base_digest is None else query.where(Release.base_digest == base_digest)))


def get_desired(session: Session, base_digest: str) -> DesiredState:
    """What the replicas of a base should serve.

    Raises:
        LetheError: ``desired_state.missing``.
    """
    state = session.scalar(
        select(DesiredState).where(DesiredState.base_digest == base_digest).execution_options(populate_existing=True)
    )
    if state is None:
        raise LetheError("desired_state.missing", "This base has no release yet.")
    return state


def list_desired(session: Session) -> list[DesiredState]:
    """The desired state of every base."""
    return list(session.scalars(select(DesiredState).order_by(DesiredState.base_digest)))


def init_desired(session: Session, release: Release, *, actor: str, at: datetime | None = None) -> DesiredState:
    """Begins a base's lineage at generation 0 with its release 0; a base that has begun stays as it is."""
    known = session.get(DesiredState, release.base_digest)
    if known is not None:
        return known
    state = DesiredState(
        base_digest=release.base_digest,
        generation=0,
        release_digest=release.digest,
        watermark=release.watermark,
        suppression_version=0,
        changed_at=at or utc_now(),
    )
    session.add(state)
    session.flush()
    _record(session, state, actor, at)
    return state


def compare_and_swap(
    session: Session,
    base_digest: str,
    *,
    expected_generation: int,
    release_digest: str,
    actor: str,
    suppressed: Collection[str] = (),
    at: datetime | None = None,
) -> DesiredState:
    """Makes a release the desired one, if nobody else changed the desired state since it was read.

    Args:
        session: A writing session.
        base_digest: Which base.
        expected_generation: The generation that the caller read and built upon; the new one is one higher.
        release_digest: A stored release of this base.
        actor: Who did it.
        suppressed: Tickets that may be missing from the release's watermark, because they are suppressed in output.
        at: When; now by default.

    Raises:
        LetheError: ``desired_state.conflict`` (another was first), ``release.not_found``, ``release.wrong_base``,
            ``release.watermark`` (the release does not know a ticket that is erased now).
    """
    release = get_release(session, release_digest)
    if release.base_digest != base_digest:
        raise LetheError("release.wrong_base", "This release belongs to another base.")
    current = get_desired(session, base_digest)
    missing = set(current.watermark) - set(release.watermark) - set(suppressed)
    if missing:
        raise LetheError("release.watermark", f"{len(missing)} erased tickets are not in it.")
    generation = session.execute(
        update(DesiredState)
        .where(DesiredState.base_digest == base_digest, DesiredState.generation == expected_generation)
        .values(
            generation=expected_generation + 1,
            release_digest=release_digest,
            watermark=sorted({*release.watermark, *current.watermark}),
            changed_at=at or utc_now(),
        )
        .returning(DesiredState.generation)
    ).scalar()
    if generation is None:
        raise LetheError("desired_state.conflict", f"The desired state is at generation {current.generation} by now.")
    state = get_desired(session, base_digest)
    _record(session, state, actor, at)
    return state


def bump_suppression(session: Session, base_digest: str, *, at: datetime | None = None) -> int:
    """Tells the replicas of a base that the list of suppressed subjects changed."""
    version = session.execute(
        update(DesiredState)
        .where(DesiredState.base_digest == base_digest)
        .values(suppression_version=DesiredState.suppression_version + 1, changed_at=at or utc_now())
        .returning(DesiredState.suppression_version)
    ).scalar()
    if version is None:
        raise LetheError("desired_state.missing", "This base has no release yet.")
    dialect.notify(session)
    return version


def report_replica(
    session: Session,
    replica_id: str,
    *,
    base_digest: str,
    state: str,
    generation: int,
    release_digest: str | None,
    lease_s: float,
    prepared_digest: str | None = None,
    suppression_version: int = 0,
    acked: bool = False,
    at: datetime | None = None,
) -> Replica:
    """What a replica says of itself; renews its lease."""
    moment = at or utc_now()
    replica = session.get(Replica, replica_id) or Replica(replica_id=replica_id)
    replica.base_digest = base_digest
    replica.state = state
    replica.generation = generation
    replica.release_digest = release_digest
    replica.prepared_digest = prepared_digest
    replica.suppression_version = suppression_version
    replica.lease_until = moment + timedelta(seconds=lease_s)
    if acked:
        replica.acked_at = moment
    session.add(replica)
    session.flush()
    return replica


def live_replicas(session: Session, base_digest: str, *, at: datetime | None = None) -> list[Replica]:
    """Replicas whose lease still runs."""
    query = select(Replica).where(Replica.base_digest == base_digest, Replica.lease_until > (at or utc_now()))
    return list(session.scalars(query.order_by(Replica.replica_id)))


def _record(session: Session, state: DesiredState, actor: str, at: datetime | None) -> None:
    payload = {
        "base": state.base_digest,
        "generation": state.generation,
        "release": state.release_digest,
        "tickets": len(state.watermark),
        "actor": actor,
    }
    audit.append(session, kind="desired_state.changed", payload=payload, at=at)
    dialect.notify(session)
