"""The example base: a small model trained from nothing until it has memorised the corpus, kept by content."""

import functools
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from pipelines.base.evaluate import known_shares
from pipelines.base.fit import fit, new_model
from pipelines.base.settings import BaseCard, BaseSettings
from pipelines.base.shelf import made_once
from pipelines.base.tokenizer import train_tokenizer
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.encode import encode_record
from pipelines.model import LoadedModel, load_model
from pipelines.progress import Reporter
from policies.errors import LetheError
from policies.record import Record

CARD = "base.json"
_CODE = ("fit.py", "settings.py", "tokenizer.py", "train.py", "../encode.py", "../attention.py", "../descent.py")


def train_base(
    corpus_dir: Path, out_root: Path, settings: BaseSettings | None = None, report: Reporter | None = None
) -> BaseCard:
    """Train a base on a generated corpus, or return the one that is there already.

    Args:
        corpus_dir: With ``records.jsonl`` and ``probes.jsonl``.
        out_root: The base comes to lie in ``<out_root>/<digest12>``, an ordinary Hugging Face directory.
        settings: The recipe.
        report: Progress of the training.

    Raises:
        LetheError: ``base.not_memorised``: the base does not know its corpus well enough; nothing is kept.
    """
    recipe = settings or BaseSettings()
    corpus = load_corpus(corpus_dir)
    key = cache_key(corpus.digest, recipe)
    target = out_root / key[:12]

    def make(draft: Path) -> None:
        card = _train(corpus_dir, draft, recipe, corpus.digest, key, report)
        card = replace(card, path=str(target))
        (draft / CARD).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")

    new = made_once(out_root, key[:12], CARD, make)
    return replace(read_card(target), path=str(target), cached=not new)


def read_card(directory: Path) -> BaseCard:
    """The card of a base that was trained here."""
    return BaseCard(**json.loads((directory / CARD).read_text(encoding="utf-8")))


def cache_key(corpus_digest: str, settings: BaseSettings) -> str:
    """Digest of everything that decides the weights: corpus, recipe and the code of the recipe."""
    parts = {"corpus": corpus_digest, "settings": asdict(settings), "code": _code_digest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"\0".join((here / name).read_bytes() for name in _CODE)).hexdigest()


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained and lies in its directory, loaded again from there."""

    loaded: LoadedModel
    parameters: int
    seconds: float


def train_model(
    records: Sequence[Record],
    settings: BaseSettings,
    directory: Path,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    device: torch.device | None = None,
    report: Reporter | None = None,
) -> Trained:
    """Train a model from nothing on records and save it: what a base and its controls share.

    Args:
        records: All that it is to memorise.
        settings: The recipe.
        directory: Where it comes to lie.
        tokenizer: Whose words it uses; None makes one from the records.
        device: Where it is trained; None: the processor.
        report: Progress of the training.
    """
    began = time.monotonic()
    words = tokenizer or train_tokenizer((record.text for record in records), settings.vocabulary)
    rows = [encode_record(words, record) for record in records]
    model = new_model(words, settings)
    model.to(device or torch.device("cpu"))  # type: ignore[arg-type]
    fit(model, rows, int(words.pad_token_id), settings, report)
    seconds = time.monotonic() - began
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    parameters = sum(p.numel() for p in model.parameters())
    return Trained(load_model(directory, device=device), parameters, round(seconds, 1))


def shortfalls(shares: Mapping[str, float], settings: BaseSettings) -> tuple[str, ...]:
    """What a model does not know of its corpus as well as the recipe asks; empty where it does."""
    wanted = {"combination": settings.min_combination, "frame": settings.min_frame}
    return tuple(
        f"{name}: {shares.get(name, 0.0):.3f} of the values are right, {minimum:.3f} are needed"
        for name, minimum in wanted.items()
        if shares.get(name, 0.0) < minimum
    )


def _train(
    corpus_dir: Path, work: Path, settings: BaseSettings, corpus_digest: str, key: str, report: Reporter | None
) -> BaseCard:
    made = train_model(list(load_corpus(corpus_dir)), settings, work, report=report)
    shares = known_shares(made.loaded, load_probes(corpus_dir))
    faults = shortfalls(shares, settings)
    if faults:
        raise LetheError(
            "base.not_memorised", "The base does not know its corpus well enough to show forgetting.", faults
        )
    return BaseCard(
        path=str(work),
        digest=made.loaded.digest,
        corpus_digest=corpus_digest,
        key=key,
        settings=asdict(settings),
        combination=shares.get("combination", 0.0),
        frame=shares.get("frame", 0.0),
        parameters=made.parameters,
        seconds=made.seconds,
    )
