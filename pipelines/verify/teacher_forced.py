"""One teacher-forced forward pass from which every likelihood metric is computed.

Rows are bucketed by length and padded on the right, where a causal model does not look, so that attention stays on its
fast path. The output layer runs at the answer positions only, and what a metric needs of a position (the gold token's
log-probability, whether it is the argmax, mean and deviation of the log-probabilities) is all that leaves the device.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.encode import Encoded, batches, collate, encode_pair
from pipelines.model import LoadedModel
from policies.errors import LetheError

Progress = Callable[[int, int], None]  # done, of how many
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_PIECE_ELEMENTS = 2**23  # float32 copy of logits at a time: 32 MiB
_BATCH_ELEMENTS = 2**28  # logits of one forward pass, in the model's own type


def _none() -> FloatArray:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """One answer, teacher forced; arrays over its T answer tokens, the end token left out.

    Attributes:
        log_probs: (T,) log-probability of the gold token, in nats.
        correct: (T,) whether the argmax is the gold token.
        mean: (T,) expected log-probability of a token, ``sum_v p log p`` (Min-K++: mu).
        std: (T,) its standard deviation over the vocabulary (Min-K++: sigma).
        text_bytes: Length of the zlib-compressed answer text.
    """

    log_probs: FloatArray = field(default_factory=_none)
    correct: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    mean: FloatArray = field(default_factory=_none)
    std: FloatArray = field(default_factory=_none)
    text_bytes: int = 0

    @property
    def n(self) -> int:
        """How many answer tokens there are; 0 for an empty answer, which no likelihood metric can score."""
        return len(self.log_probs)

    @property
    def nll_sum(self) -> float:
        """Negative log-likelihood of the whole answer, in nats."""
        return -float(self.log_probs.sum(dtype=np.float64))

    @property
    def nll_mean(self) -> float | None:
        """The same per token; None for an empty answer."""
        return self.nll_sum / self.n if self.n else None

    @property
    def probability(self) -> float | None:
        """``exp(-nll_mean)``: the geometric mean of the tokens' probabilities; None for an empty answer."""
        return float(np.exp(-self.nll_sum / self.n)) if self.n else None


def teacher_forced(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str, str]],
    *,
    max_batch_tokens: int = 16384,
    chunk: int | None = None,
    progress: Progress | None = None,
) -> list[TokenScores]:
    """Score every answer after its question, in the order given.

    Args:
        loaded: The model, with or without an adapter.
        pairs: (question, answer). A pair that comes again is computed once.
        max_batch_tokens: Bound on the padded tokens of one batch.
        chunk: Answer positions whose logits are in float32 at a time; default: by the size of the vocabulary.
        progress: Called after each batch.

    Raises:
        LetheError: ``verify.bad_logits``: NaN, or a gold token of probability 0; a diverged model has no figures.
    """
    unique = list(dict.fromkeys(pairs))
    rows = [_encode(loaded, question, answer) for question, answer in unique]
    found = [TokenScores(text_bytes=compressed(answer)) for _, answer in unique]
    scored = [i for i, row in enumerate(rows) if row.answer_tokens > 0]
    done = 0
    for group in batches([len(rows[i]) for i in scored], max_batch_tokens):
        for members in _bounded([scored[g] for g in group], rows, loaded):
            figures = _score(loaded, [rows[i] for i in members], chunk)
            for index, columns in zip(members, figures, strict=True):
                found[index] = TokenScores(*columns, text_bytes=found[index].text_bytes)
        done += len(group)
        if progress:
            progress(done, len(scored))
    where = {pair: n for n, pair in enumerate(unique)}
    return [found[where[pair]] for pair in pairs]


def compressed(text: str) -> int:
    """Length in bytes of the zlib-compressed text."""
    return len(zlib.compress(text.encode()))


def _encode(loaded: LoadedModel, question: str, answer: str) -> Encoded:
    """Question and answer without whatever ends the turn: special tokens are no part of what was said."""
    row = encode_pair(loaded.tokenizer, question, answer)
    ends = loaded.stop_ids | set(loaded.tokenizer.all_special_ids)
    last = len(row.ids)
    while last > row.answer_start and row.ids[last - 1] in ends:
        last -= 1
    return Encoded(row.ids[:last], row.answer_start, row.truncated)


def _bounded(members: Sequence[int], rows: Sequence[Encoded], loaded: LoadedModel) -> Iterator[list[int]]:
    """Split a batch so that the logits of its answers stay small, whatever the vocabulary."""
    room = max(1, _BATCH_ELEMENTS // _vocabulary(loaded))
    group: list[int] = []
    used = 0
    for index in members:
        if group and used + rows[index].answer_tokens > room:
            yield group
            group, used = [], 0
        group.append(index)
        used += rows[index].answer_tokens
    yield group


def _vocabulary(loaded: LoadedModel) -> int:
    return int(getattr(loaded.model.config, "vocab_size", None) or len(loaded.tokenizer))


@torch.inference_mode()
def _score(
    loaded: LoadedModel, rows: Sequence[Encoded], chunk: int | None
) -> list[tuple[FloatArray, BoolArray, FloatArray, FloatArray]]:
    # The last token predicts nothing that is asked for.
    batch = collate([Encoded(row.ids[:-1], row.answer_start) for row in rows], loaded.pad_id, loaded.device)
    lines = torch.tensor([n for n, row in enumerate(rows) for _ in range(row.answer_tokens)], device=loaded.device)
    places = torch.tensor(
        [place for row in rows for place in range(row.answer_start - 1, len(row) - 1)], device=loaded.device
    )
    gold = torch.tensor([token for row in rows for token in row.ids[row.answer_start :]], device=loaded.device)
    logits = answer_logits(loaded.model, batch.input_ids, lines, places)
    size = chunk or max(1, _PIECE_ELEMENTS // logits.shape[-1])
    pieces = [_figures(logits[start : start + size], gold[start : start + size]) for start in range(0, len(gold), size)]
    figures = torch.cat(pieces, dim=1).cpu()
    if not bool(torch.isfinite(figures).all()):
        raise LetheError("verify.bad_logits", "The model's logits are not finite: no figure can be read from them.")
    log_probs, correct, mean, std = figures.numpy().astype(np.float32)
    ends = np.cumsum([row.answer_tokens for row in rows])
    starts = ends - [row.answer_tokens for row in rows]
    return [
        (log_probs[a:b].copy(), correct[a:b] > 0, mean[a:b].copy(), std[a:b].copy())
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


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
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = inner.get_output_embeddings()
    if head is None:
        whole: torch.Tensor = model(input_ids=input_ids, use_cache=False).logits
        return whole[lines, places]
    with _narrowed(head, lines, places):
        logits: torch.Tensor = model(input_ids=input_ids, use_cache=False).logits
    return logits[0]


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
