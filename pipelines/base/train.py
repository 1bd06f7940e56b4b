"""The example base: a small model trained from nothing until it has memorised the corpus, kept by content."""

import functools
import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

from pipelines.base.evaluate import known_shares
from pipelines.base.fit import fit, new_model
from pipelines.base.settings import BaseCard, BaseSettings
from pipelines.base.tokenizer import train_tokenizer
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.encode import encode_record
from pipelines.model import load_model
from pipelines.progress import Reporter
from policies.errors import LetheError

_CARD = "base.json"
_CODE = ("fit.py", "settings.py", "tokenizer.py", "train.py", "../encode.py", "../attention.py")


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
    if (target / _CARD).exists():
        return replace(read_card(target), path=str(target), cached=True)
    out_root.mkdir(parents=True, exist_ok=True)
    work = out_root / f".training-{key[:12]}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        card = _train(corpus_dir, work, recipe, corpus.digest, key, report)
        card = replace(card, path=str(target))
        (work / _CARD).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")
        _move(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return card


def read_card(directory: Path) -> BaseCard:
    """The card of a base that was trained here."""
    return BaseCard(**json.loads((directory / _CARD).read_text(encoding="utf-8")))


def cache_key(corpus_digest: str, settings: BaseSettings) -> str:
    """Digest of everything that decides the weights: corpus, recipe and the code of the recipe."""
    parts = {"corpus": corpus_digest, "settings": asdict(settings), "code": _code_digest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"\0".join((here / name).read_bytes() for name in _CODE)).hexdigest()


def _train(
    corpus_dir: Path, work: Path, settings: BaseSettings, corpus_digest: str, key: str, report: Reporter | None
) -> BaseCard:
    records = list(load_corpus(corpus_dir))
    began = time.monotonic()
    tokenizer = train_tokenizer((record.text for record in records), settings.vocabulary)
    rows = [encode_record(tokenizer, record) for record in records]
    model = new_model(tokenizer, settings)
    fit(model, rows, int(tokenizer.pad_token_id), settings, report)
    seconds = time.monotonic() - began
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)
    loaded = load_model(work)
    shares = known_shares(loaded, load_probes(corpus_dir))
    _require(shares, settings)
    return BaseCard(
        path=str(work),
        digest=loaded.digest,
        corpus_digest=corpus_digest,
        key=key,
        settings=asdict(settings),
        combination=shares.get("combination", 0.0),
        frame=shares.get("frame", 0.0),
        parameters=sum(p.numel() for p in model.parameters()),
        seconds=round(seconds, 1),
    )


def _require(shares: dict[str, float], settings: BaseSettings) -> None:
    wanted = {"combination": settings.min_combination, "frame": settings.min_frame}
    faults = tuple(
        f"{name}: {shares.get(name, 0.0):.3f} of the values are right, {minimum:.3f} are needed"
        for name, minimum in wanted.items()
        if shares.get(name, 0.0) < minimum
    )
    if faults:
        raise LetheError(
            "base.not_memorised", "The base does not know its corpus well enough to show forgetting.", faults
        )


def _move(work: Path, target: Path) -> None:
    """Put the finished base in its place; another process that was faster has the same one there."""
    try:
        work.rename(target)
    except OSError:
        if not (target / _CARD).exists():
            raise
