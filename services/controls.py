"""Controls of an installation: which records they leave out, where they lie, and by which key they are found."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from policies.errors import LetheError
from services import sealing
from services.corpus_index import corpus_of
from services.installation import Installation
from services.settings import Settings
from services.store import dialect
from services.store.engine import Store
from services.store.tables import ErasedRecord
from services.store.tickets import get_ticket
from services.ticket import subject_set

if TYPE_CHECKING:
    from pipelines.control.card import ControlCard
    from pipelines.corpus.load import CorpusProbe
    from pipelines.progress import Reporter


def digest_key(settings: Settings) -> bytes:
    """The key of digests over personal data; where there is no installation yet, its keys are made now.

    Raises:
        LetheError: ``installation.incomplete``: there is a database, and its keys are gone.
    """
    file = dialect.file_of(settings.store_url)
    new = file is not None and not file.exists()
    return (sealing.create_key_ring(settings) if new else sealing.load_key_ring(settings)).digest


def controls_root(settings: Settings) -> Path:
    """Where the controls of an installation lie."""
    return settings.home / "controls"


def left_out(installation: Installation, store: Store, ticket_ids: Collection[str]) -> frozenset[str]:
    """The records that a control of these tickets is trained without: what they forget, and what was erased before.

    Nobody's data is trained on again once it was erased, though the corpus may still hold it. Records that the policy
    keeps, and those about a namesake that nobody decided on, stay: the control is the base as it would be had it never
    been given what has to be erased.

    Raises:
        LetheError: ``ticket.not_found``; ``seal.item_missing`` once the ticket is closed, or before it is settled;
            ``corpus.not_set``.
    """
    forgotten, erased, ring = _forgotten(store, ticket_ids)
    if erased:
        forgotten |= {
            record.record_id
            for record in corpus_of(installation)
            if ring.keyed_digest(record.record_id.encode()) in erased
        }
    return frozenset(forgotten)


def find_for_tickets(
    installation: Installation, store: Store, ticket_ids: Collection[str], base_digest: str
) -> "ControlCard | None":
    """The control of these tickets on a base, if it was trained or added.

    Which records it would leave out is worked out only where the base has controls at all: the whole corpus is read
    for it once somebody was erased.

    Raises:
        LetheError: As :func:`left_out`; ``control.unreadable``.
    """
    from pipelines.control.card import data_key, find_control, list_controls

    settings = installation.settings
    if not any(one.base_digest == base_digest for one in list_controls(controls_root(settings))):
        return None
    wanted = data_key(digest_key(settings), left_out(installation, store, ticket_ids))
    return find_control(controls_root(settings), base_digest, wanted)


def train_for_tickets(
    installation: Installation,
    store: Store,
    ticket_ids: Collection[str],
    base_dir: Path,
    *,
    seed: int | None = None,
    changed_corpus: bool = False,
    report: "Reporter | None" = None,
    should_cancel: Callable[[], bool] | None = None,
) -> "ControlCard":
    """Train the control of these tickets on a base, or return the one that is there.

    Args:
        installation: Whose corpus it is trained on.
        store: Opened with the keys.
        ticket_ids: One run's tickets, or one.
        base_dir: The base, with its recipe.
        seed: Of weights and order; None takes the base's own.
        changed_corpus: Allow a corpus that has changed since the base was trained. It is expected to once somebody was
            erased; the card says so either way.
        report: Progress of the training.
        should_cancel: Asked at every report.

    Raises:
        LetheError: As :func:`left_out`, ``corpus.not_set``, and as ``train_control``.
    """
    from pipelines.control.train import train_control

    settings = installation.settings
    return train_control(
        base_dir,
        corpus_of(installation),
        left_out(installation, store, ticket_ids),
        controls_root(settings),
        key=digest_key(settings),
        seed=seed,
        probes=probes_of(Path(settings.corpus.path)),
        changed_corpus=changed_corpus or bool(_forgotten(store, ()).erased),
        report=report,
        should_cancel=should_cancel,
    )


class _Forgotten(NamedTuple):
    records: set[str]
    erased: set[str]  # keyed digests
    ring: sealing.KeyRing


def _forgotten(store: Store, ticket_ids: Collection[str]) -> _Forgotten:
    with store.read() as session:
        sets = [subject_set(session, get_ticket(session, ticket_id)) for ticket_id in ticket_ids]
        erased = set(session.scalars(select(ErasedRecord.record_digest)))
        ring = sealing.ring_of(session)
    return _Forgotten({record_id for found in sets for record_id in found.records.forget}, erased, ring)


def probes_of(corpus: Path) -> "list[CorpusProbe]":
    """The held-out questions of a corpus directory; none where it has none."""
    from pipelines.corpus.load import load_probes

    return load_probes(corpus) if corpus.is_dir() else []


def read_ids(file: Path) -> frozenset[str]:
    """Record ids, one a line; empty lines do not count.

    Raises:
        LetheError: ``control.unknown_records``: the file cannot be read; ``control.nothing_left_out``: it is empty.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LetheError("control.unknown_records", "The file of record ids cannot be read.") from error
    ids = frozenset(line.strip() for line in lines if line.strip())
    if not ids:
        raise LetheError("control.nothing_left_out", "The file names no record.")
    return ids
