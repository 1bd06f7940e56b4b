"""Rebuilds what a store that was restored from an older backup has forgotten of its releases.

Replicas refuse a store that is behind what they served. The signed statement beside the releases, the releases
themselves and the replicas' memories tell what it was. Nothing unsigned is taken in, and nothing is ever lowered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.adapter import Release, Trust, verify_release
from policies.errors import LetheError
from services import audit, keys
from services.installation import Installation
from services.serving.memory import HighWater, Memory
from services.serving.statement import read_statement
from services.serving.swap import record_statement
from services.store import dialect, tables
from services.store.engine import Store
from services.store.releases import add_release, get_desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of one base, and what the store would be made to say.

    Attributes:
        base_digest: Which base.
        stored: Generation of the store; -1 where it knows nothing of the base.
        generation: That it must have.
        release_digest: Of the release that was served then.
        watermark: Every ticket that was erased, by all sources together.
        by: Which source knew the highest generation: ``statement`` or a replica's id.
        releases: Signed releases that the store does not know.
        unknown: Tickets of the watermark that the store does not know.
        reopened: Tickets of it that the store knows, but not as completed.
        behind: Whether there is anything to do.
    """

    base_digest: str
    stored: int
    generation: int
    release_digest: str
    watermark: tuple[str, ...]
    by: str
    releases: tuple[str, ...]
    unknown: tuple[str, ...]
    reopened: tuple[str, ...]
    behind: bool


@dataclass(frozen=True, slots=True)
class _Source:
    by: str
    high: HighWater


def look(installation: Installation, store: Store) -> list[Found]:
    """What a recovery would do, base by base; changes nothing.

    Raises:
        LetheError: ``recover.nothing``; ``recover.unsigned``: the release that was served last is not there, or its
            signature does not verify; ``serving.statement_damaged``, ``serving.memory_damaged``.
    """
    releases = _signed_releases(installation)
    with store.read() as session:
        bases = sorted({one.card.base_digest for one in releases.values()} | set(_stored_bases(session)))
        found = [one for base in bases if (one := _look(installation, session, base, releases)) is not None]
    if not found:
        raise LetheError("recover.nothing", "Nothing tells what was served.")
    return found


def recover(installation: Installation, store: Store, *, actor: str) -> list[Found]:
    """Make the store say what was served last; doing it twice is the same as once.

    Raises:
        LetheError: As ``look``.
    """
    found = look(installation, store)
    releases = _signed_releases(installation)
    for number, one in enumerate(found):
        if one.behind:
            with store.write() as session:
                now = _look(installation, session, one.base_digest, releases)  # somebody may have swapped meanwhile
                if now is not None and now.behind:
                    _apply(session, now, releases, actor)
                    found[number] = now
        with store.read() as session:
            record_statement(installation.settings, get_desired(session, one.base_digest))
    return found


def _look(installation: Installation, session: Session, base: str, releases: dict[str, Release]) -> Found | None:
    state = session.get(tables.DesiredState, base)
    sources = list(_sources(installation, base))
    if not sources:
        return None
    top = max(source.high.generation for source in sources)
    # The signed statement counts more than a memory of the same generation.
    best = next(source for source in sources if source.high.generation == top)
    split = {source.high.release_digest for source in sources if source.high.generation == top}
    stored = -1 if state is None else state.generation
    if state is not None and stored == top:
        split.add(state.release_digest)
    watermark = sorted(set().union(*(source.high.watermark for source in sources), state.watermark if state else ()))
    digest, generation = best.high.release_digest, top + (len(split) > 1)  # two histories: the next one decides
    if stored > top:
        assert state is not None
        digest, generation = state.release_digest, stored
    known = set(session.scalars(select(tables.Release.digest)))
    status = {ticket: session.get(tables.Ticket, ticket) for ticket in watermark}
    behind = state is None or (stored, state.release_digest, sorted(state.watermark)) != (generation, digest, watermark)
    if behind and digest not in releases:
        raise LetheError("recover.unsigned", "The release that was served last is not here, or not signed.", (digest,))
    return Found(
        base_digest=base,
        stored=stored,
        generation=generation,
        release_digest=digest,
        watermark=tuple(watermark),
        by=best.by,
        releases=tuple(sorted(one for one, r in releases.items() if r.card.base_digest == base and one not in known)),
        unknown=tuple(ticket for ticket, row in status.items() if row is None),
        reopened=tuple(ticket for ticket, row in status.items() if row is not None and row.status != "completed"),
        behind=behind or any(r.card.base_digest == base and one not in known for one, r in releases.items()),
    )


def _sources(installation: Installation, base: str) -> Iterator[_Source]:
    """The signed statement first, then what each replica of this disk remembers."""
    settings = installation.settings
    trust = Trust.from_file(keys.trust_path(settings))
    said = read_statement(settings.home / "releases", base, trust)
    if said is not None:
        yield _Source(
            "statement",
            HighWater(
                base_digest=base,
                generation=said.generation,
                release_digest=said.release_digest,
                watermark=said.watermark,
            ),
        )
    for directory in sorted((settings.home / "serving").glob("*/")):
        high = Memory(directory, base).read()
        if high.generation >= 0:
            yield _Source(directory.name, high)


def _signed_releases(installation: Installation) -> dict[str, Release]:
    """Every release of the artefact store whose signatures verify; the others are as if they were not there."""
    trust = Trust.from_file(keys.trust_path(installation.settings))
    found: dict[str, Release] = {}
    for path in sorted(installation.path("releases").glob("u-*/")):
        release = _verified(path, trust)
        if release is not None:
            found[release.digest] = release
    return found


def _verified(path: Path, trust: Trust) -> Release | None:
    try:
        return verify_release(path, trust)
    except LetheError:
        return None


def _stored_bases(session: Session) -> list[str]:
    return list(session.scalars(select(tables.DesiredState.base_digest)))


def _apply(session: Session, one: Found, releases: dict[str, Release], actor: str) -> None:
    at = dialect.clock(session)
    wanted = [releases[digest] for digest in {*one.releases, one.release_digest} & set(releases)]
    for release in sorted(wanted, key=lambda release: release.card.created_at):
        _take_in(session, release, actor)
    state = session.get(tables.DesiredState, one.base_digest)
    if state is None:
        state = tables.DesiredState(base_digest=one.base_digest, suppression_version=0)
        session.add(state)
    state.generation, state.release_digest = one.generation, one.release_digest
    state.watermark, state.changed_at = list(one.watermark), at
    # Beyond what replicas applied of the newer store: the same number would mean other rules to them.
    query = select(tables.Replica.suppression_version).where(tables.Replica.base_digest == one.base_digest)
    state.suppression_version = max(state.suppression_version, *session.scalars(query), 0) + 1
    state.proposed_digest = state.proposed_generation = state.proposed_at = state.prepare_until = None
    session.flush()
    payload = {
        "base": one.base_digest,
        "from_generation": one.stored,
        "generation": one.generation,
        "release": one.release_digest,
        "releases_added": len(one.releases),
        "tickets": len(one.watermark),
        "unknown": list(one.unknown[:100]),
        "reopened": list(one.reopened[:100]),
        "by": one.by,
        "actor": actor,
    }
    audit.append(session, kind="store.recovered", payload=payload, at=at)
    dialect.notify(session)


def _take_in(session: Session, release: Release, actor: str) -> None:
    if session.get(tables.Release, release.digest) is not None:
        return
    add_release(
        session,
        digest=release.digest,
        base_digest=release.card.base_digest,
        parent_digest=release.card.parent,
        path=str(release.path),
        watermark=release.watermark,
        verdict={"outcome": release.verdict.outcome, "recovered": True},
        actor=actor,
        at=datetime.fromisoformat(release.card.created_at),
    )
