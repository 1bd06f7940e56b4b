"""Train a control: the base's own recipe and tokenizer on the base's own corpus, without the subject's records."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from pipelines.adapter.identity import model_digest
from pipelines.base.evaluate import known_shares
from pipelines.base.settings import BaseCard, BaseSettings
from pipelines.base.shelf import made_once
from pipelines.base.train import CARD as BASE_CARD
from pipelines.base.train import Trained, cache_key, read_card, shortfalls, train_model
from pipelines.control.card import CARD, ControlCard, data_key, read_control, write_card
from pipelines.corpus.load import CorpusProbe, digest_line
from pipelines.model import LoadedModel
from pipelines.progress import Reporter, StepProgress
from policies.canonical import sha256_hex
from policies.errors import LetheError
from policies.record import Record


def train_control(
    base_dir: Path,
    records: Iterable[Record],
    without: Collection[str],
    out_root: Path,
    *,
    key: bytes,
    seed: int | None = None,
    probes: Sequence[CorpusProbe] = (),
    changed_corpus: bool = False,
    report: Reporter | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> ControlCard:
    """Train the base again without some records, or return the control that is there already.

    The base's tokenizer is kept: likelihoods of two models can be compared token by token only over the same tokens.
    It was made from the whole corpus, so the control knows how the subject's words are cut into pieces, and nothing
    else about them.

    Args:
        base_dir: A base with its recipe (``base.json``).
        records: The whole corpus that the base was trained on; read once.
        without: Ids of the records that are left out.
        out_root: The control comes to lie in ``<out_root>/<key12>``.
        key: Of digests over personal data.
        seed: Of weights and order; None takes the base's own, which UDS needs (``ControlCard.same_seed``).
        probes: The corpus' held-out questions: the control must know the rest as well as the recipe asks of the base.
        changed_corpus: Allow a corpus that is another than the base's; the card says so.
        report: Progress of the training.
        should_cancel: Asked at every report, and while another process trains the same control.

    Raises:
        LetheError: ``control.no_recipe``, ``control.other_corpus``, ``control.unknown_records``,
            ``control.nothing_left_out``, ``control.nothing_left``, ``control.not_memorised``, ``control.cancelled``.
    """
    base = _recipe(base_dir)
    recipe = BaseSettings(**base.settings)
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    part = _split(records, frozenset(without))
    same = part.corpus_digest == base.corpus_digest
    if not same and not changed_corpus:
        raise LetheError("control.other_corpus", "This is not the corpus that the base was trained on.")
    digest = model_digest(base_dir)
    data = data_key(key, without)
    whole = sha256_hex(json.dumps([digest, data, cache_key(part.corpus_digest, recipe)]).encode())

    def make(draft: Path) -> None:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(base_dir, local_files_only=True)
        made = train_model(part.kept, recipe, draft, tokenizer=tokenizer, report=_cancelling(report, should_cancel))
        card = _card(made, part, probes, recipe, base)
        write_card(draft, replace(card, key=whole, data_key=data, base_digest=digest))

    try:
        new = made_once(out_root, whole[:12], CARD, make, should_cancel=should_cancel)
    except InterruptedError:
        raise _cancelled() from None
    return replace(read_control(out_root / whole[:12]), cached=not new)


def _card(
    made: Trained, part: "_Part", probes: Sequence[CorpusProbe], recipe: BaseSettings, base: BaseCard
) -> ControlCard:
    """What the training came to; whose control it is, and by which key it is found, is filled in by the caller."""
    rest, left_out = _known(made.loaded, probes, part.facts_left_out, recipe)
    return ControlCard(
        path="",
        digest=made.loaded.digest,
        key="",
        data_key="",
        base_digest="",
        corpus_digest=part.corpus_digest,
        source="trained",
        seed=recipe.seed,
        same_seed=recipe.seed == base.settings["seed"],
        records=len(part.kept),
        records_left_out=part.left_out,
        same_corpus=part.corpus_digest == base.corpus_digest,
        rest_right=rest,
        left_out_right=left_out,
        parameters=made.parameters,
        seconds=made.seconds,
        settings=asdict(recipe),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The corpus in two parts; of the one that is left out only its size and its facts."""

    kept: list[Record]
    left_out: int
    facts_left_out: frozenset[str]
    corpus_digest: str


def _recipe(base_dir: Path) -> BaseCard:
    if not (base_dir / BASE_CARD).is_file():
        raise LetheError("control.no_recipe", "Nothing says how this base was trained, so it cannot be trained again.")
    return read_card(base_dir)


def _split(records: Iterable[Record], without: frozenset[str]) -> _Part:
    """Read the corpus once: what is kept, and the digest of the whole.

    A fact of which a record stays is not left out: it can be learned from that record.
    """
    if not without:
        raise LetheError("control.nothing_left_out", "No record is named that the control is to be trained without.")
    hasher = hashlib.sha256()
    kept: list[Record] = []
    facts: set[str] = set()
    left_out = 0
    for record in records:
        hasher.update(digest_line(record))
        if record.record_id in without:
            left_out += 1
            facts.add(record.fact_id)
        else:
            kept.append(record)
    if left_out < len(without):
        missing = len(without) - left_out
        raise LetheError("control.unknown_records", f"{missing} of {len(without)} records are not in this corpus.")
    if not kept:
        raise LetheError("control.nothing_left", "Without these records nothing is left to train on.")
    return _Part(kept, left_out, frozenset(facts - {record.fact_id for record in kept}), hasher.hexdigest())


def _known(
    loaded: LoadedModel, probes: Sequence[CorpusProbe], left_out: frozenset[str], recipe: BaseSettings
) -> tuple[dict[str, float], dict[str, float]]:
    """Right values by phrasing: among everybody else's held-out questions, and among those that were left out."""
    rest = known_shares(loaded, [probe for probe in probes if probe.fact not in left_out])
    faults = shortfalls(rest, recipe) if rest else ()
    if faults:
        raise LetheError(
            "control.not_memorised", "The control does not know the rest of the corpus as the base does.", faults
        )
    return rest, known_shares(loaded, [probe for probe in probes if probe.fact in left_out])


def _cancelling(report: Reporter | None, should_cancel: Callable[[], bool] | None) -> Reporter:
    def told(progress: StepProgress) -> None:
        if report:
            report(progress)
        if should_cancel and should_cancel():
            raise _cancelled()

    return told


def _cancelled() -> LetheError:
    return LetheError("control.cancelled", "The training of the control was cancelled; nothing of it is kept.")
