"""One teacher-forced forward pass from which every likelihood metric is computed.

Rows are bucketed by length and padded on the right, where a causal model does not look, so that attention stays on its
fast path. The output layer runs at the answer positions only, and what a metric needs of a position (the gold token's
log-probability, whether it is the argmax, mean and deviation of the log-probabilities) is all that leaves the device.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from pipelines.encode import Encoded, batches, collate, encode_pairs
from pipelines.model import LoadedModel
from pipelines.shared import shared
from pipelines.verify.lens import read, split, telling, width
from pipelines.verify.token_scores import BoolArray, FloatArray, Lens, TokenScores
from policies.errors import LetheError

__all__ = ["Looked", "TokenScores", "answer_logits", "compressed", "encode_answers", "teacher_forced"]

Progress = Callable[[int, int], None]  # done, of how many

_Columns = tuple[FloatArray, BoolArray, FloatArray, FloatArray]  # log_probs, correct, mean, std

_ROOM = 1024  # tokens of question and answer, where a model does not say how many it can read
_CPU_TOKENS = 2048  # larger batches leave a processor's caches, and pad more
_PIECE_ELEMENTS = 2**23  # float32 copy of logits at a time: 32 MiB
_BATCH_ELEMENTS = 2**28  # logits of one forward pass, in the model's own type


class Looked(NamedTuple):
    """What the logit lens looks for in an answer: where it leaves its twins; without twins, where the value begins."""

    twins: tuple[str, ...] = ()
    value: str | None = None


@shared("progress")
def teacher_forced(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str, str]],
    *,
    max_batch_tokens: int = 16384,
    chunk: int | None = None,
    lens: Mapping[tuple[str, str], Looked] | None = None,
    progress: Progress | None = None,
) -> list[TokenScores]:
    """Score every answer after its question, in the order given.

    Args:
        loaded: The model, with or without an adapter.
        pairs: (question, answer). A pair that comes again is computed once.
        max_batch_tokens: Bound on the padded tokens of one batch; on a CPU it is 2048 at most.
        chunk: Answer positions whose logits are in float32 at a time; default: by the size of the vocabulary.
        lens: By pair, what its logit lens looks for; the layers inside the model are then read in the same pass. Only
            for models that ``lens.unfit`` does not refuse.
        progress: Called after each batch.

    Raises:
        LetheError: ``verify.bad_logits``: NaN, or a gold token of probability 0; a diverged model has no figures.
    """
    unique = list(dict.fromkeys(pairs))
    rows = encode_answers(loaded, unique)
    found = [TokenScores(text_bytes=compressed(answer)) for _, answer in unique]
    places = [_places(loaded, pair, row, (lens or {}).get(pair)) for pair, row in zip(unique, rows, strict=True)]
    scored = [i for i, row in enumerate(rows) if row.answer_tokens > 0]
    room = min(max_batch_tokens, _CPU_TOKENS) if loaded.device.type == "cpu" else max_batch_tokens
    groups = batches([len(rows[i]) for i in scored], room)

    def figures(group: list[int]) -> list[tuple[int, tuple[_Columns, Lens | None]]]:
        made: list[tuple[int, tuple[_Columns, Lens | None]]] = []
        for members in _bounded([scored[g] for g in group], rows, loaded, layers=lens is not None):
            told = _score(loaded, [rows[i] for i in members], [places[i] for i in members], chunk)
            made += zip(members, told, strict=True)
        return made

    def told(done: int) -> None:
        if progress:
            progress(sum(map(len, groups[:done])), len(scored))

    for part in loaded.ranks.deal(groups, figures, told):
        for index, (columns, inside) in part:
            found[index] = TokenScores(*columns, text_bytes=found[index].text_bytes, lens=inside)
    where = {pair: n for n, pair in enumerate(unique)}
    return [found[where[pair]] for pair in pairs]


def compressed(text: str) -> int:
    """Length in bytes of the zlib-compressed text."""
    return len(zlib.compress(text.encode()))


def encode_answers(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
    """Questions and answers without whatever ends the turn: special tokens are no part of what was said.

    An answer that the model has no room for is left out whole: figures of its beginning would be another answer's.
    """
    ends = loaded.stop_ids | set(loaded.tokenizer.all_special_ids)
    room = getattr(loaded.model.config, "max_position_embeddings", None) or _ROOM
    return [_without_end(row, ends) for row in encode_pairs(loaded.tokenizer, pairs, max_length=room)]


def _without_end(row: Encoded, ends: AbstractSet[int]) -> Encoded:
    if row.truncated:
        return Encoded(row.ids[: row.answer_start], row.answer_start, truncated=True)
    last = len(row.ids)
    while last > row.answer_start and row.ids[last - 1] in ends:
        last -= 1
    return Encoded(row.ids[:last], row.answer_start, row.truncated)


def _places(loaded: LoadedModel, pair: tuple[str, str], row: Encoded, looked: Looked | None) -> tuple[int, ...]:
    """The answer tokens that the lens looks at."""
    if looked is None:
        return ()
    question, answer = pair
    others = encode_answers(loaded, [(question, twin) for twin in looked.twins])
    start = answer.find(looked.value) if looked.value else -1
    before = encode_answers(loaded, [(question, answer[:start].rstrip())])[0] if start >= 0 else None
    return telling(row, others, before)


def _bounded(
    members: Sequence[int], rows: Sequence[Encoded], loaded: LoadedModel, *, layers: bool
) -> Iterator[list[int]]:
    """Split a batch so that the logits of its answers, and what its layers keep, stay small whatever the model."""
    room = max(1, _BATCH_ELEMENTS // _vocabulary(loaded))
    inside = max(1, _BATCH_ELEMENTS // width(loaded.model)) if layers else None
    longest = max(len(rows[i]) for i in members)
    group: list[int] = []
    used = 0
    for index in members:
        full = inside is not None and (len(group) + 1) * longest > inside
        if group and (full or used + rows[index].answer_tokens > room):
            yield group
            group, used = [], 0
        group.append(index)
        used += rows[index].answer_tokens
    yield group


def _vocabulary(loaded: LoadedModel) -> int:
    return int(getattr(loaded.model.config, "vocab_size", None) or len(loaded.tokenizer))


@torch.inference_mode()
def _score(
    loaded: LoadedModel, rows: Sequence[Encoded], looked: Sequence[tuple[int, ...]], chunk: int | None
) -> list[tuple[_Columns, Lens | None]]:
    # The last token predicts nothing that is asked for.
    batch = collate([Encoded(row.ids[:-1], row.answer_start) for row in rows], loaded.pad_id, loaded.device)
    gold = _tensor([token for row in rows for token in row.ids[row.answer_start :]], loaded)
    lines = _tensor([n for n, row in enumerate(rows) for _ in range(row.answer_tokens)], loaded)
    places = _tensor([place for row in rows for place in range(row.answer_start - 1, len(row) - 1)], loaded)
    inside = any(looked)
    out = _forward(loaded.model, batch.input_ids, lines, places, hidden=inside)
    logits = out.logits[0]
    size = chunk or max(1, _PIECE_ELEMENTS // logits.shape[-1])
    pieces = [_figures(logits[start : start + size], gold[start : start + size]) for start in range(0, len(gold), size)]
    figures = torch.cat(pieces, dim=1).cpu()
    if not bool(torch.isfinite(figures).all()):
        raise LetheError("verify.bad_logits", "The model's logits are not finite: no figure can be read from them.")
    log_probs, correct, mean, std = figures.numpy().astype(np.float32)
    ends = np.cumsum([row.answer_tokens for row in rows])
    starts = ends - [row.answer_tokens for row in rows]
    columns: list[_Columns] = [
        (log_probs[a:b].copy(), correct[a:b] > 0, mean[a:b].copy(), std[a:b].copy())
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    if not inside:
        return [(one, None) for one in columns]
    chosen = _tensor([int(a) + n for a, own in zip(starts, looked, strict=True) for n in own], loaded)
    ranks, told = read(loaded, out.hidden_states, lines[chosen], places[chosen], gold[chosen])
    return list(zip(columns, split(ranks, told, [len(own) for own in looked]), strict=True))


def _tensor(values: list[int], loaded: LoadedModel) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long, device=loaded.device)


def answer_logits(model: Any, input_ids: torch.Tensor, lines: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Logits at some positions of a right-padded batch, from one forward pass.

    Args:
        model: A causal LM.
        input_ids: (B, T).
        lines: (N,) row of each position.
        places: (N,) its place in the row.

    Returns:
        (N, V) logits, in the model's own type. The output layer sees these positions only; whatever the architecture
        does to its logits (scaling, capping) is done.
    """
    logits: torch.Tensor = _forward(model, input_ids, lines, places, hidden=False).logits
    return logits[0]


def _forward(model: Any, input_ids: torch.Tensor, lines: torch.Tensor, places: torch.Tensor, *, hidden: bool) -> Any:
    """The model's output with (1, N, V) logits."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    with _narrowed(inner.get_output_embeddings(), lines, places):
        return model(input_ids=input_ids, use_cache=False, output_hidden_states=hidden)


@contextmanager
def _narrowed(head: torch.nn.Module, lines: torch.Tensor, places: torch.Tensor) -> Iterator[None]:
    """Let the output layer see some positions only: as one row, (1, N, hidden)."""
    handle = head.register_forward_pre_hook(lambda _, args: (args[0][lines, places][None], *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def _figures(logits: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """(4, n): log-probability and hit of the gold tokens, mean and deviation of log-probabilities."""
    top, best = logits.max(dim=-1)
    # Shifted by the maximum nothing overflows; a masked token (-inf) weighs nothing, but 0 * inf would be NaN.
    shifted = (logits.float() - top.float()[:, None]).clamp_(min=-1e4)
    weights = shifted.exp()
    total = weights.sum(dim=-1)
    first = (weights * shifted).sum(dim=-1) / total
    second = (weights.mul_(shifted).mul_(shifted)).sum(dim=-1) / total
    log_total = total.log()
    told = logits.gather(1, gold[:, None])[:, 0].float() - top.float() - log_total
    deviation = (second - first * first).clamp(min=0).sqrt()
    return torch.stack([told, (best == gold).float(), first - log_total, deviation])
