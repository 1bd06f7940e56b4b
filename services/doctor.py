"""What is wrong with an installation, and how to mend it: settings, keys, stores, clocks, disk, workers, dates.

Every check looks at the thing itself: it opens the store, reads the keys, counts the leases. A check that cannot be
made because another one failed is not made up: it is left out.
"""

import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select

from policies.errors import LetheError
from services import keys, sealing
from services.due import open_by_date
from services.installation import DIRECTORIES, Installation
from services.resume import STANDS
from services.settings import Settings
from services.store import dialect, leases
from services.store.engine import Store
from services.store.releases import list_desired, live_replicas
from services.store.tables import Ticket

State = Literal["ok", "warn", "fail"]
_LEAST_FREE = 2 * 2**30
_SKEW_S = 2.0
_ROLES = {"intake": "lethe up, or the intake's deployment", "unlearning": "lethe up, or the unlearning deployment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Which.
        state: ``fail``: something does not work; ``warn``: it works and somebody should look.
        found: What was seen; no personal data.
        remedy: What to do; empty where nothing.
    """

    check: str
    state: State
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in the order in which they are best mended."""
    installation = Installation(settings)
    if not settings.home.is_dir():
        return [Finding(check="home", state="fail", found="there is no installation here", remedy="Run lethe init.")]
    found = [*_disks(installation), *_keys(settings)]
    try:
        store = installation.open_store(with_keys=False)
    except LetheError as error:
        return [*found, _failed("store", error)]
    try:
        found.append(Finding(check="store", state="ok", found=store.engine.dialect.name))
        for check in (_clocks, _workers, _tickets, _serving):
            found += _guarded(check, settings, store)
    finally:
        store.close()
    return [*found, *_jobs(settings), *_corpus(installation)]


def _failed(check: str, error: LetheError) -> Finding:
    return Finding(check=check, state="fail", found=f"{error.message} [{error.code}]", remedy=error.kind.remedy)


def _guarded(
    check: Callable[[Settings, Store], Iterator[Finding]], settings: Settings, store: Store
) -> Iterator[Finding]:
    try:
        yield from check(settings, store)
    except LetheError as error:
        yield _failed(check.__name__.strip("_"), error)


def _disks(installation: Installation) -> Iterator[Finding]:
    """One finding a device: in a pod the directories lie on several disks, and links lead there."""
    on: dict[int, list[str]] = {_device(installation.home): []}
    for name in DIRECTORIES:
        if (path := installation.path(name)).exists():
            on.setdefault(_device(path), []).append(name)
    for number, names in enumerate(on.values()):
        free = shutil.disk_usage(installation.path(names[0]) if number else installation.home).free
        state: State = "ok" if free >= _LEAST_FREE else "warn"
        remedy = "" if state == "ok" else "Free disk space: a full disk stops intake and runs."
        check = f"disk of {', '.join(names)}" if number else "disk"
        yield Finding(check=check, state=state, found=f"{free / 2**30:.1f} GiB free", remedy=remedy)


def _device(path: Path) -> int:
    return path.stat().st_dev


def _keys(settings: Settings) -> Iterator[Finding]:
    for path in [settings.kek_path, *sorted(settings.key_directory.glob("*.pem"))]:
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(
                check="key files", state="fail", found=f"{path.name} can be read by others", remedy=f"chmod 600 {path}"
            )
    try:
        sealing.load_key_ring(settings)
        yield Finding(check="sealing keys", state="ok", found="all there, and they belong together")
    except LetheError as error:
        yield _failed("sealing keys", error)
    for purpose in ("audit", "adapter", "verdict"):
        try:
            keys.load_private(settings, purpose)
        except LetheError as error:
            yield _failed(f"{purpose} key", error)
    if _below(settings.kek_path, settings.home):
        yield Finding(
            check="wrapping key",
            state="warn",
            found="it lies in the installation: a backup of the whole holds lock and key together",
            remedy="Set keys.kek_path to a place that no backup of the store takes in.",
        )


def _below(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())


def _clocks(_: Settings, store: Store) -> Iterator[Finding]:
    """Leases are judged by the store's clock; suppression, tokens and deadlines by each host's."""
    before = datetime.now(UTC)
    theirs = store.now()
    after = datetime.now(UTC)
    middle = before + (after - before) / 2
    skew = abs((theirs - middle).total_seconds())
    sure = (after - before).total_seconds() / 2
    fine = skew <= _SKEW_S + sure
    yield Finding(
        check="clocks",
        state="ok" if fine else "fail",
        found=f"this host and the store differ by {skew:.1f} s",
        remedy="" if fine else "Let both hosts keep time by NTP: tokens and deadlines go by it.",
    )


def _workers(_: Settings, store: Store) -> Iterator[Finding]:
    with store.read() as session:
        at = dialect.clock(session)
        for role, start in _ROLES.items():
            alive = len(leases.live_leases(session, role=role, at=at))
            yield Finding(
                check=f"{role} workers",
                state="ok" if alive else "warn",
                found=f"{alive} alive",
                remedy="" if alive else f"Start one: {start}.",
            )


def _tickets(settings: Settings, store: Store) -> Iterator[Finding]:
    with store.read() as session:
        now = dialect.clock(session)
        dates = open_by_date(session, now=now, soon_days=settings.planning.soon_days)
        late, soon = dates["overdue"], dates["soon"]
        standing = session.scalar(select(func.count()).select_from(Ticket).where(Ticket.status.in_(STANDS))) or 0
    if late:
        yield Finding(
            check="dates",
            state="fail",
            found=f"{late} overdue",
            remedy="See lethe ticket list --due 0; extend or finish.",
        )
    elif soon:
        yield Finding(
            check="dates",
            state="warn",
            found=f"{soon} due soon",
            remedy=f"See lethe ticket list --due {settings.planning.soon_days}.",
        )
    else:
        yield Finding(check="dates", state="ok", found="none overdue, none due soon")
    if standing:
        yield Finding(
            check="standing tickets",
            state="warn",
            found=f"{standing} failed, rejected or quarantined",
            remedy="Look at their reasons, mend the cause, then lethe run resume.",
        )


def _serving(_: Settings, store: Store) -> Iterator[Finding]:
    with store.read() as session:
        states = list_desired(session)
        if not states:
            yield Finding(check="base", state="fail", found="no base has a release", remedy="Run lethe up once.")
        for state in states:
            rows = live_replicas(session, state.base_digest)
            behind = [row.replica_id for row in rows if row.generation != state.generation]
            name = f"replicas of {state.base_digest[:12]}"
            if not rows:
                yield Finding(check=name, state="warn", found="none alive", remedy="Start serving: lethe up.")
            elif behind:
                remedy = "See the log of the replicas; lethe release list tells what each serves."
                yield Finding(check=name, state="fail", found=f"{len(behind)} of {len(rows)} behind", remedy=remedy)
            else:
                engines = sorted({str((row.about or {}).get("engine")) for row in rows})
                found = f"{len(rows)} at generation {state.generation}, engine {', '.join(engines)}"
                yield Finding(check=name, state="ok", found=found)


def _jobs(settings: Settings) -> Iterator[Finding]:
    """The jobs' database is there and has tables; DBOS itself looks at its version when a worker starts."""
    from sqlalchemy import inspect

    file = dialect.file_of(settings.jobs_url)
    if file is not None and not file.is_file():
        missing = LetheError("jobs.migration_needed", "The database of the jobs is missing.")
        yield _failed("jobs", missing)
        return
    engine = dialect.make_engine(settings.jobs_url)
    try:
        with dialect.translated(), engine.connect().execution_options(**{dialect.READ_ONLY: True}) as connection:
            schema = None if file is not None else "dbos"
            there = inspect(connection).has_table("workflow_status", schema=schema)
        if there:
            yield Finding(check="jobs", state="ok", found=engine.dialect.name)
        else:
            yield _failed("jobs", LetheError("jobs.migration_needed", "The database of the jobs has no tables."))
    except LetheError as error:
        yield _failed("jobs", error)
    finally:
        engine.dispose()


def _corpus(installation: Installation) -> Iterator[Finding]:
    from services.corpus_index import corpus_of, index_path

    try:
        corpus_of(installation)
    except LetheError as error:
        yield _failed("corpus", error)
        return
    made = index_path(installation).is_file()
    remedy = "" if made else "It is built by lethe up, or with the next ticket."
    found = "index is there" if made else "no index yet"
    yield Finding(check="corpus", state="ok" if made else "warn", found=found, remedy=remedy)
