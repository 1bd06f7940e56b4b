"""The installation's corpus and its subject index, without the records that were forgotten."""

import fcntl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.corpus.columns import Columns
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import build_index, purge, remove_records
from pipelines.corpus.load import Corpus, load_corpus
from pipelines.spread.choose import spread_over
from policies.errors import LetheError
from services import sealing
from services.installation import Installation
from services.store.engine import Store
from services.store.tables import ErasedRecord
from services.store.types import utc_now


def corpus_of(installation: Installation) -> Corpus:
    """The corpus that the settings name.

    Raises:
        LetheError: ``corpus.not_set``, or what reading the corpus raises.
    """
    settings = installation.settings.corpus
    if not settings.path:
        raise LetheError("corpus.not_set", "The settings name no corpus.")
    return load_corpus(settings.path, Columns.named(settings.columns) if settings.columns else None)


def index_path(installation: Installation) -> Path:
    """Where the index lies."""
    return installation.path("index", "subjects.sqlite")


def open_index(installation: Installation, store: Store) -> SubjectIndex:
    """The index of the corpus as it is now, built if there is none, or the corpus or its region has changed.

    A new index leaves out what was erased before, although the corpus may still hold it.
    """
    corpus = corpus_of(installation)
    path = index_path(installation)
    with _alone(path):
        region = installation.settings.corpus.region
        found = _current(corpus, path, region)
        return found or _build(corpus, path, store, region, installation.settings.ray.address)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One thread of one process changes the index; the others wait, also those of other pods on the same disk.

    Two that built at once would write to one draft, and a draft that was begun before somebody was erased would come
    after the erasure. The lock ends with its process. SQLite asks the same of the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _current(corpus: Corpus, path: Path, region: str) -> SubjectIndex | None:
    """The index that is there, if it can be read and is of this state of the corpus and this region."""
    try:
        index = SubjectIndex(path)
    except LetheError:  # there is none, or it is cut or of another version: it can be built anew at any time
        return None
    unchanged = corpus.stamp is not None and corpus.stamp == index.meta["stamp"]
    if index.region == region and (unchanged or index.corpus_digest == corpus.digest):
        return index
    index.close()
    return None


def _build(corpus: Corpus, path: Path, store: Store, region: str, address: str) -> SubjectIndex:
    """A new index, under another name until nothing that was forgotten is in it: a crash must not bring it back."""
    with store.read() as session:
        erased = set(session.scalars(select(ErasedRecord.record_digest)))
        ring = sealing.ring_of(session)
    draft = path.with_name(f"{path.name}.draft")
    with spread_over(address) as spread, build_index(corpus, draft, region=region, spread=spread) as index:
        if erased:
            gone = [r.record_id for r in corpus if ring.keyed_digest(r.record_id.encode()) in erased]
            remove_records(index, gone, index.corpus_digest)
            purge(index)
    draft.replace(path)
    return SubjectIndex(path)


def note_erased(session: Session, ticket_id: str, record_ids: Collection[str]) -> None:
    """Remember, by keyed digest, which records are forgotten; noting it twice is the same as once."""
    ring = sealing.ring_of(session)
    now = utc_now()
    for record_id in record_ids:
        digest = ring.keyed_digest(record_id.encode())
        session.merge(ErasedRecord(record_digest=digest, ticket_id=ticket_id, erased_at=now))


def erase_from_index(installation: Installation, record_ids: Collection[str]) -> None:
    """Take forgotten records out of the index, with every trace of their names and identifiers."""
    path = index_path(installation)
    with _alone(path), SubjectIndex(path) as index:
        remove_records(index, record_ids, index.corpus_digest)
        purge(index)
