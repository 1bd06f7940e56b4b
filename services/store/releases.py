"""Releases, the desired state that every replica follows, and what the replicas say of themselves."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit
from services.store import dialect
from services.store.tables import DesiredState, Release, Replica, Suppression
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


def list_served(session: Session) -> list[DesiredState]:
    """The desired state of every base, in the order in which it counts as the installation's.

    An installation has one base, which its settings name; another lineage is that of a base that it had before, or is
    about to have. So: what live replicas serve, and of several the one that was begun last.
    """
    states = list_desired(session)
    if len(states) < 2:
        return states
    begun: dict[str, datetime] = {}
    for release in list_releases(session):
        begun.setdefault(release.base_digest, release.created_at)
    states.sort(key=lambda state: begun[state.base_digest], reverse=True)
    return sorted(states, key=lambda state: not live_replicas(session, state.base_digest))


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
        changed_at=at or dialect.clock(session),
    )
    session.add(state)
    session.flush()
    _record(session, state, actor, at)
    return state


def propose(
    session: Session,
    base_digest: str,
    *,
    expected_generation: int,
    release_digest: str,
    prepare_s: float,
    actor: str,
    suppressed: Collection[str] = (),
    at: datetime | None = None,
) -> DesiredState:
    """Asks every replica to prepare a release; it is not desired yet. Proposing the same again changes nothing.

    Args:
        session: A writing session.
        base_digest: Which base.
        expected_generation: The generation that the caller read and built upon; the proposed one is one higher.
        release_digest: A stored release of this base.
        prepare_s: How long replicas have; whoever has not prepared by then is fenced by the commit.
        actor: Who did it.
        suppressed: Tickets that may be missing from the release's watermark, because they are suppressed in output.
        at: When; the store's clock by default.

    Raises:
        LetheError: ``desired_state.conflict`` (another was first, or something else is proposed),
            ``release.not_found``, ``release.wrong_base``, ``release.watermark`` (the release does not know a ticket
            that is erased now).
    """
    release = get_release(session, release_digest)
    if release.base_digest != base_digest:
        raise LetheError("release.wrong_base", "This release belongs to another base.")
    current = get_desired(session, base_digest)
    missing = set(current.watermark) - set(release.watermark) - set(suppressed)
    if missing:
        raise LetheError("release.watermark", f"{len(missing)} erased tickets are not in it.")
    if (current.generation, current.proposed_digest) == (expected_generation, release_digest):
        return current
    moment = at or dialect.clock(session)
    values = {
        "proposed_digest": release_digest,
        "proposed_generation": expected_generation + 1,
        "proposed_at": moment,
        "prepare_until": moment + timedelta(seconds=prepare_s),
    }
    free = (DesiredState.generation == expected_generation, DesiredState.proposed_digest.is_(None))
    _swap(session, base_digest, free, values)
    # Words about an earlier proposal say nothing about this one.
    blank = {"prepared_generation": -1, "prepared_digest": None, "prepared_at": None, "refused": None, "trial": None}
    session.execute(update(Replica).where(Replica.base_digest == base_digest).values(**blank))
    state = get_desired(session, base_digest)
    _record_proposal(session, "desired_state.proposed", state, {"actor": actor}, moment)
    return state


def commit(
    session: Session, base_digest: str, *, generation: int, release_digest: str, actor: str, at: datetime | None = None
) -> DesiredState:
    """Makes the proposed release the desired one.

    Whether enough replicas have prepared is decided by ``services.serving.rollout`` in this same transaction.

    Raises:
        LetheError: ``desired_state.conflict``: this is not what is proposed (any more).
    """
    current = get_desired(session, base_digest)
    release = get_release(session, release_digest)
    values = {
        "generation": generation,
        "release_digest": release_digest,
        "watermark": sorted({*release.watermark, *current.watermark}),
        "changed_at": at or dialect.clock(session),
        "proposed_digest": None,
        "proposed_generation": None,
        "prepare_until": None,
    }
    _swap(session, base_digest, _is_proposed(generation, release_digest), values)
    state = get_desired(session, base_digest)
    _record(session, state, actor, at)
    return state


def abort(
    session: Session,
    base_digest: str,
    *,
    generation: int,
    release_digest: str,
    reason: str,
    actor: str,
    at: datetime | None = None,
) -> DesiredState:
    """Takes a proposal back: what is served stays, and replicas unload what they prepared.

    Raises:
        LetheError: ``desired_state.conflict``: this is not what is proposed (any more).
    """
    state = get_desired(session, base_digest)
    facts = {"actor": actor, "reason_code": reason}
    _record_proposal(session, "desired_state.aborted", state, facts, at or dialect.clock(session))
    values = {"proposed_digest": None, "proposed_generation": None, "proposed_at": None, "prepare_until": None}
    _swap(session, base_digest, _is_proposed(generation, release_digest), values)
    return get_desired(session, base_digest)


def _is_proposed(generation: int, release_digest: str) -> tuple[ColumnElement[bool], ...]:
    return (
        DesiredState.generation == generation - 1,
        DesiredState.proposed_generation == generation,
        DesiredState.proposed_digest == release_digest,
    )


def _swap(
    session: Session, base_digest: str, expected: tuple[ColumnElement[bool], ...], values: Mapping[str, Any]
) -> None:
    """The compare-and-swap: the values, if the row still is as expected."""
    query = update(DesiredState).where(DesiredState.base_digest == base_digest, *expected).values(**values)
    if session.execute(query.returning(DesiredState.generation)).scalar() is None:
        state = get_desired(session, base_digest)
        what = "nothing" if state.proposed_digest is None else "another release"
        raise LetheError(
            "desired_state.conflict", f"The desired state is at generation {state.generation}; {what} is proposed."
        )


def bump_suppression(session: Session, base_digest: str) -> int:
    """Tells the replicas of a base that the list of suppressed subjects changed."""
    version = session.execute(
        update(DesiredState)
        .where(DesiredState.base_digest == base_digest)
        .values(suppression_version=DesiredState.suppression_version + 1)
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
    suppression_version: int = 0,
    address: str | None = None,
    about: dict[str, Any] | None = None,
    trial: dict[str, Any] | None = None,
    acked: bool = False,
    at: datetime | None = None,
) -> bool:
    """What a replica says of itself; renews its lease, unless it is fenced.

    A replica behind the committed generation, a starting one (generation -1) among them, keeps whatever lease it had:
    it runs out, and another begins only with the desired generation, and with every rule of suppression that was
    confirmed without this replica. ``lease_s`` 0 gives the lease back.

    Returns:
        Whether the lease was renewed.
    """
    moment = at or dialect.clock(session)
    desired = session.get(DesiredState, base_digest, populate_existing=True)
    replica = session.get(Replica, replica_id, populate_existing=True)
    if replica is None:
        replica = Replica(replica_id=replica_id, generation=-1, prepared_generation=-1, lease_until=moment)
    if (replica.generation, replica.release_digest) != (generation, release_digest):
        replica.committed_at = moment
    replica.base_digest = base_digest
    replica.state = state
    replica.generation = generation
    replica.release_digest = release_digest
    replica.suppression_version = suppression_version
    replica.address, replica.about = address, about
    replica.trial = trial
    leased = desired is not None and _keeps_up(desired, generation, release_digest)
    if leased and replica.lease_until <= moment:
        leased = not _lacks_rules(session, base_digest, suppression_version)
    if leased or not lease_s:
        replica.lease_until = moment + timedelta(seconds=lease_s)
    if generation < 0:  # an engine that was started anew holds nothing that could be committed
        replica.prepared_generation, replica.prepared_digest, replica.prepared_at = -1, None, None
    if acked:
        replica.acked_at = moment
    session.add(replica)
    session.flush()
    return leased


def _keeps_up(desired: DesiredState, generation: int, release_digest: str | None) -> bool:
    """Whether a replica may answer; one that is ahead may too: then the store is the one that is behind."""
    if generation == desired.generation:
        return release_digest == desired.release_digest
    return generation > desired.generation


def _lacks_rules(session: Session, base_digest: str, applied: int) -> bool:
    """Whether somebody was told suppressed whom a replica that applies this version would not suppress."""
    query = select(Suppression.suppression_id).where(
        Suppression.base_digest == base_digest,
        Suppression.lifted_at.is_(None),
        Suppression.confirmed_at.is_not(None),
        Suppression.version > applied,
    )
    return session.scalar(query.limit(1)) is not None


def report_prepared(
    session: Session,
    replica_id: str,
    *,
    base_digest: str,
    proposed_at: datetime,
    refused: str | None = None,
    at: datetime | None = None,
) -> bool:
    """A replica's word on a proposal: it has prepared it, or refuses it for a reason (a code).

    Args:
        session: A writing session.
        replica_id: Whose word.
        base_digest: Which base.
        proposed_at: Of the proposal that it speaks of; a word about an older one is not taken.
        refused: Why it will not prepare it.
        at: When; the store's clock by default.

    Returns:
        Whether the word was taken.
    """
    desired = get_desired(session, base_digest)
    replica = session.get(Replica, replica_id, populate_existing=True)
    if replica is None or desired.proposed_digest is None or desired.proposed_at != proposed_at:
        return False
    if not _keeps_up(desired, replica.generation, replica.release_digest):
        return False
    replica.refused = refused
    if refused is None:
        assert desired.proposed_generation is not None
        replica.prepared_generation = desired.proposed_generation
        replica.prepared_digest = desired.proposed_digest
        replica.prepared_at = at or dialect.clock(session)
    session.flush()
    return True


def list_replicas(session: Session, base_digest: str) -> list[Replica]:
    """Every replica that ever reported, whether its lease runs or not."""
    query = select(Replica).where(Replica.base_digest == base_digest).order_by(Replica.replica_id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def live_replicas(session: Session, base_digest: str, *, at: datetime | None = None) -> list[Replica]:
    """Replicas whose lease still runs: all that may answer anybody."""
    moment = at or dialect.clock(session)
    return [replica for replica in list_replicas(session, base_digest) if replica.lease_until > moment]


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


def _record_proposal(session: Session, kind: str, state: DesiredState, facts: Mapping[str, Any], at: datetime) -> None:
    payload = {
        "base": state.base_digest,
        "generation": state.proposed_generation,
        "release": state.proposed_digest,
        **facts,
    }
    audit.append(session, kind=kind, payload=payload, at=at)
    dialect.notify(session)
