"""Take in a control that the organisation trained itself: where a base has no recipe, or the corpus is not here."""

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipelines.base.shelf import made_once
from pipelines.control.card import CARD, ControlCard, data_key, read_control, write_card
from pipelines.model import LoadedModel, load_model
from policies.canonical import sha256_hex
from policies.errors import LetheError


def add_control(
    model_dir: Path, base_dir: Path, without: Collection[str], out_root: Path, *, key: bytes
) -> ControlCard:
    """Register a model as a control of a base; hard links where the disk allows them.

    What can be checked is checked: it loads, it is another model than the base, and it has the base's tokens and chat
    template. That it never saw the records is the word of whoever trained it, and reports say ``added``.

    Args:
        model_dir: An ordinary Hugging Face directory.
        base_dir: The base that it is a control of.
        without: Ids of the records that it was trained without.
        out_root: Where controls lie.
        key: Of digests over personal data.

    Raises:
        LetheError: ``control.nothing_left_out``, ``control.not_a_control``, ``control.other_tokenizer``, and what
            loading raises (``base.not_found``, ``base.no_chat_template``).
    """
    if not without:
        raise LetheError("control.nothing_left_out", "No record is named that the control was trained without.")
    control, base = load_model(model_dir, device="cpu"), load_model(base_dir, device="cpu")
    if control.digest == base.digest:
        raise LetheError("control.not_a_control", "This model is the base itself.")
    faults = token_differences(control, base)
    if faults:
        raise LetheError("control.other_tokenizer", "The control and the base have different tokens.", faults)
    data = data_key(key, without)
    whole = sha256_hex(json.dumps([base.digest, data, "added", control.digest]).encode())

    def make(draft: Path) -> None:
        shutil.copytree(model_dir, draft, dirs_exist_ok=True, copy_function=_link, ignore=_cards)
        card = ControlCard(
            path="",
            digest=control.digest,
            key=whole,
            data_key=data,
            base_digest=base.digest,
            corpus_digest=None,
            source="added",
            seed=None,
            same_seed=None,
            records=None,
            records_left_out=len(set(without)),
            same_corpus=None,
            parameters=sum(p.numel() for p in control.model.parameters()),
        )
        write_card(draft, card)

    new = made_once(out_root, whole[:12], CARD, make)
    return replace(read_control(out_root / whole[:12]), cached=not new)


def token_differences(control: LoadedModel, base: LoadedModel) -> tuple[str, ...]:
    """Why two models' likelihoods cannot be compared token by token; empty where they can.

    The files may differ (another release of the library writes another tokenizer_config.json): what counts is that
    every text becomes the same tokens.
    """
    ours, theirs = control.tokenizer, base.tokenizer
    checks = {
        "vocabulary": ours.get_vocab() == theirs.get_vocab(),
        "rule of cutting words": _rules(ours) == _rules(theirs),
        "end token": ours.eos_token_id == theirs.eos_token_id,
        "chat template": control.chat_template_digest == base.chat_template_digest,
    }
    return tuple(f"the {name} is another" for name, equal in checks.items() if not equal)


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    """How text becomes tokens; of a slow tokenizer only its class is known."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer).__name__
    parts = json.loads(backend.to_str())
    return {name: parts.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor", "model")}


def _cards(_directory: str, names: list[str]) -> set[str]:
    """A control that comes from another installation brings a card that is not ours."""
    return {CARD} & set(names)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copy2(source, target)
    return target
