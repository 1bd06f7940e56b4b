"""Activation patching: put one model's residual state into another at some positions, and see what it still says."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from pipelines.encode import Encoded, batches, collate, encode_pair
from pipelines.model import LoadedModel
from pipelines.rows import Probe
from pipelines.verify.teacher_forced import answer_logits


class Asked(NamedTuple):
    """A gold answer as tokens, and which of them say the value."""

    row: Encoded
    places: tuple[int, ...]  # of the value's tokens in ``row.ids``; each is predicted one place earlier


class Positions(NamedTuple):
    """A batch, and the positions in it that predict the values' tokens."""

    input_ids: torch.Tensor  # (B, T)
    lines: torch.Tensor  # (N,)
    places: torch.Tensor  # (N,)
    gold: torch.Tensor  # (N,)
    counts: tuple[int, ...]  # N by row


def decoder_layers(model: Any) -> torch.nn.ModuleList | None:
    """The decoder's layers where they lie at ``model.model.layers`` (Llama and its likes), else None."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = getattr(getattr(inner, "model", None), "layers", None)
    return layers if isinstance(layers, torch.nn.ModuleList) and len(layers) > 0 else None


def value_tokens(loaded: LoadedModel, probe: Probe) -> Asked | None:
    """Where the gold answer says the value; None where it does not, or where no value is known.

    Tokens are found by decoding longer and longer beginnings: it needs nothing of the tokenizer. Where the value stands
    twice, the last time counts: answers begin with the person's name.
    """
    if not probe.value:
        return None
    row = encode_pair(loaded.tokenizer, probe.question, probe.answer)
    ids = row.ids[row.answer_start :]
    # A token may end within a character, which is then not there yet.
    ends = [len(_text(loaded, ids[:n]).rstrip("\ufffd")) for n in range(1, len(ids) + 1)]
    text = _text(loaded, ids)
    whole = list(re.finditer(rf"(?<!\w){re.escape(probe.value)}(?!\w)", text, re.IGNORECASE))
    found = whole or list(re.finditer(re.escape(probe.value), text, re.IGNORECASE))
    if not found:
        return None
    start, stop = found[-1].span()
    places = []
    for n, first in enumerate([0, *ends[:-1]]):
        last = next((end for end in ends[n:] if end > first), first)
        if first < stop and last > start:
            places.append(row.answer_start + n)
    return Asked(row, tuple(places))


def positions(loaded: LoadedModel, asked: Sequence[Asked]) -> Positions:
    """Right-padded tensors of some answers, with the positions that predict their values."""
    batch = collate([one.row for one in asked], loaded.pad_id, loaded.device)
    return Positions(
        batch.input_ids,
        _tensor([n for n, one in enumerate(asked) for _ in one.places], loaded),
        _tensor([place - 1 for one in asked for place in one.places], loaded),
        _tensor([one.row.ids[place] for one in asked for place in one.places], loaded),
        tuple(len(one.places) for one in asked),
    )


def grouped(asked: Sequence[Asked], max_batch_tokens: int) -> list[list[int]]:
    """Indices of answers of like length."""
    return batches([len(one.row) for one in asked], max_batch_tokens)


@torch.inference_mode()
def told(loaded: LoadedModel, at: Positions) -> torch.Tensor:
    """(N,) log-probability of the values' tokens."""
    logits = answer_logits(loaded.model, at.input_ids, at.lines, at.places)
    return logits.float().log_softmax(dim=-1).gather(1, at.gold[:, None])[:, 0]


@torch.inference_mode()
def residual_states(loaded: LoadedModel, at: Positions) -> list[torch.Tensor]:
    """The residual state (N, width) after each layer, at the positions."""
    kept: list[torch.Tensor] = []
    at = _on(at, loaded.device)

    def keep(_module: torch.nn.Module, _args: Any, output: Any) -> None:
        kept.append(_state(output)[at.lines, at.places])

    handles = [layer.register_forward_hook(keep) for layer in decoder_layers(loaded.model) or ()]
    try:
        told(loaded, at)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def told_with(loaded: LoadedModel, at: Positions, layer: int, state: torch.Tensor) -> torch.Tensor:
    """(N,) log-probability of the values' tokens with another model's state after one layer."""
    with patched(loaded, at, layer, state):
        return told(loaded, at)


@contextmanager
def patched(loaded: LoadedModel, at: Positions, layer: int, state: torch.Tensor) -> Iterator[None]:
    """While it is open, ``state`` (N, width) stands after a layer at the positions.

    Raises:
        ValueError: The model has no such layers.
    """
    layers = decoder_layers(loaded.model)
    if layers is None:
        raise ValueError("the model has no decoder layers to patch")

    def patch(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        hidden = _state(output).clone()
        hidden[at.lines, at.places] = state.to(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = layers[layer].register_forward_hook(patch)
    try:
        yield
    finally:
        handle.remove()


def _state(output: Any) -> torch.Tensor:
    """What a layer hands on: some releases and architectures wrap it into a tuple."""
    state: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return state


def _on(at: Positions, device: torch.device) -> Positions:
    ids, lines, places, gold = (part.to(device) for part in (at.input_ids, at.lines, at.places, at.gold))
    return Positions(ids, lines, places, gold, at.counts)


def _tensor(values: list[int], loaded: LoadedModel) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long, device=loaded.device)


def _text(loaded: LoadedModel, ids: Sequence[int]) -> str:
    # The end token is no part of what was said.
    return str(loaded.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
