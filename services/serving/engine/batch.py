"""One running batch of one adapter: rows join and leave between steps (continuous batching).

Keys and values are padded on the left, so that every row's last token stands in the last column. Positions are given
explicitly, so padding moves nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from services.serving.engine.text import TextStream
from services.serving.protocol import Sampling


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a token was, as the model says before anything is done to its choice.

    Attributes:
        token: Its id.
        logprob: Natural logarithm of its probability.
        top: The likeliest tokens with theirs, likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step adds to an answer.

    Attributes:
        choice: Which answer of the request.
        text: That is certain now.
        reason: Why it ends; None: it goes on; ``error``: it cannot.
        likelihood: Of the step's token, where it was asked for.
    """

    choice: int
    text: str
    reason: str | None
    likelihood: Likelihood | None = None


@dataclass(eq=False, slots=True)
class Row:
    """One answer being generated.

    Attributes:
        prompt: Token ids.
        sampling: How to choose and when to stop.
        text: Its text so far.
        emit: Called with every piece.
        choice: Which answer of the request.
        cancelled: Set from outside; the row leaves before the next step.
    """

    prompt: Sequence[int]
    sampling: Sampling
    text: TextStream
    emit: Callable[[Piece], None]
    choice: int = 0
    cancelled: bool = False
    generated: int = 0
    last: int = 0
    generator: torch.Generator | None = field(default=None)
    counts: Counter[int] = field(default_factory=Counter)

    def take(self, logits: torch.Tensor, stop_ids: frozenset[int]) -> bool:
        """Choose the next token and emit its text; gives whether the row is done."""
        self.last = self._choose(self._weighed(logits, stop_ids))
        self.generated += 1
        self.counts[self.last] += 1
        likelihood = self._likelihood(logits)
        if self.last in stop_ids and not self.sampling.ignore_eos:
            self.emit(Piece(self.choice, self.text.finish(), "stop", likelihood))
            return True
        full = self.generated >= self.sampling.max_tokens
        new = self.text.push(self.last, last=full, may_stop=self.generated > self.sampling.min_tokens)
        reason = "stop" if self.text.stopped else "length" if full else None
        self.emit(Piece(self.choice, new, reason, likelihood))
        return reason is not None

    def fail(self) -> None:
        """Say that it cannot go on."""
        self.emit(Piece(self.choice, "", "error"))

    def _weighed(self, logits: torch.Tensor, stop_ids: frozenset[int]) -> torch.Tensor:
        """With penalties for what was said already, and without an end before it may come."""
        penalised = self.counts and (self.sampling.presence_penalty or self.sampling.frequency_penalty)
        early = self.generated < self.sampling.min_tokens
        if not penalised and not early:
            return logits
        logits = logits.clone()
        if penalised:
            said = torch.tensor(list(self.counts), device=logits.device)
            often = torch.tensor(list(self.counts.values()), device=logits.device)
            logits[said] -= self.sampling.frequency_penalty * often + self.sampling.presence_penalty
        if early:
            logits[list(stop_ids)] = -torch.inf
        return logits

    def _choose(self, logits: torch.Tensor) -> int:
        if self.sampling.greedy:
            return int(logits.argmax())
        if self.generator is None:
            self.generator = torch.Generator(device=logits.device)
            if self.sampling.seed is None:
                self.generator.seed()
            else:
                self.generator.manual_seed(self.sampling.seed)
        weights = torch.softmax(logits.float() / self.sampling.temperature, dim=-1)
        if self.sampling.top_p < 1.0:
            ordered, places = weights.sort(descending=True)
            beyond = ordered.cumsum(0) - ordered >= self.sampling.top_p
            weights = torch.zeros_like(weights).scatter(0, places, ordered.masked_fill(beyond, 0.0))
        return int(torch.multinomial(weights, 1, generator=self.generator))

    def _likelihood(self, logits: torch.Tensor) -> Likelihood | None:
        if self.sampling.top_tokens is None:
            return None
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        values, tokens = logprobs.topk(min(self.sampling.top_tokens, logprobs.shape[-1]))
        return Likelihood(
            self.last, float(logprobs[self.last]), tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        )


class Batch:
    """The rows of one adapter. The caller has made that adapter the active one."""

    def __init__(self, model: Any, stop_ids: frozenset[int], pad_id: int, device: torch.device) -> None:
        self._model, self._stop_ids, self._pad_id, self._device = model, stop_ids, pad_id, device
        self.rows: list[Row] = []
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=device)

    def join(self, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows, give each its first token, and let those that go on join."""
        width = max(len(row.prompt) for row in rows)
        ids = torch.full((len(rows), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, width - len(row.prompt) :] = torch.tensor(list(row.prompt))
            mask[index, width - len(row.prompt) :] = 1
        cache = DynamicCache()
        logits = self._forward(ids.to(self._device), mask.to(self._device), cache, prompt=True)
        going = [i for i, row in enumerate(rows) if not row.take(logits[i], self._stop_ids)]
        if going:
            self._merge([rows[i] for i in going], cache, mask.to(self._device), going)

    def step(self) -> None:
        """One token for every row."""
        self._drop([i for i, row in enumerate(self.rows) if not row.cancelled])
        if not self.rows:
            return
        ids = torch.tensor([[row.last] for row in self.rows], device=self._device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        logits = self._forward(ids, self._mask, self._cache, prompt=False)
        self._drop([i for i, row in enumerate(self.rows) if not row.take(logits[i], self._stop_ids)])

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, *, prompt: bool) -> torch.Tensor:
        positions = (mask.cumsum(1) - 1).clamp(min=0) if prompt else mask.sum(1, keepdim=True) - 1
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _merge(self, rows: list[Row], cache: Any, mask: torch.Tensor, keep: list[int]) -> None:
        chosen = torch.tensor(keep, device=self._device)
        cache.batch_select_indices(chosen)
        mask = mask[chosen]
        if self.rows:
            width = max(self._mask.shape[1], mask.shape[1])
            for mine, new in zip(self._cache.layers, cache.layers, strict=True):
                mine.keys = torch.cat([_pad(mine.keys, width), _pad(new.keys, width)])
                mine.values = torch.cat([_pad(mine.values, width), _pad(new.values, width)])
            self._mask = torch.cat([_pad_mask(self._mask, width), _pad_mask(mask, width)])
        else:
            self._cache, self._mask = cache, mask
        self.rows.extend(rows)

    def _drop(self, keep: list[int]) -> None:
        if len(keep) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in keep]
        if not self.rows:
            self._cache = None
            return
        chosen = torch.tensor(keep, device=self._device)
        self._cache.batch_select_indices(chosen)
        self._mask = self._mask[chosen]
        spare = int(self._mask.any(0).long().argmax())  # columns that are padding in every row
        if spare:
            self._mask = self._mask[:, spare:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, spare:], layer.values[:, :, spare:]


def _pad(states: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[2], 0))


def _pad_mask(mask: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))
