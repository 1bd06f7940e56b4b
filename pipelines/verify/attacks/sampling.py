"""Many sampled answers to each prompt, each different beginning computed once.

Drawing n answers one by one and drawing, at every step, how many of the n go on with which token are the same thing in
distribution. The second way needs a row of the batch for each different beginning only: one at the start, and few
where the model is sure of itself. The prompt is read once, whatever n is.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.encode import encode_prompt
from pipelines.model import LoadedModel, keeps_last_logits
from policies.errors import LetheError

Progress = Callable[[int, int], None]  # samples done, of how many


@torch.inference_mode()
def sample(
    loaded: LoadedModel,
    prompts: Sequence[str],
    samples: int,
    *,
    max_new_tokens: int,
    max_batch_tokens: int = 16384,
    temperature: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> list[Counter[str]]:
    """Draw ``samples`` answers to every prompt, from the whole distribution (top-p 1).

    Args:
        loaded: The model, with or without an adapter.
        prompts: The users' turns.
        samples: How many answers each.
        max_new_tokens: Where an answer is cut.
        max_batch_tokens: Bound on the tokens of one batch, prompts and answers.
        temperature: 0 is greedy: one answer, counted ``samples`` times.
        seed: Of the draws.
        progress: Called when answers are finished.
        check: Called at each step; raises to stop.

    Returns:
        For every prompt its different answers, stripped and without special tokens, with how often each was drawn.

    Raises:
        LetheError: ``verify.bad_logits``: the logits are not finite.
    """
    run = _Run(loaded, max_new_tokens, max_batch_tokens, temperature, torch.Generator(device=loaded.device))
    run.generator.manual_seed(seed)
    run.drawn = [Counter() for _ in prompts]
    starts = [encode_prompt(loaded.tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(starts)), key=lambda i: -len(starts[i]))
    done = 0
    while order:
        longest = len(starts[order[0]]) + max_new_tokens
        # Branches multiply from here, and a batch that outgrows the bound is split: begin well below it.
        group = order[: max(1, max_batch_tokens // (longest * min(samples, 8)))]
        order = order[len(group) :]
        pending = [run.begin(starts, group, samples)]
        while pending:
            if check:
                check()
            pending.extend(run.step(pending.pop()))
        done += len(group) * samples
        if progress:
            progress(done, len(starts) * samples)
    return run.drawn


@dataclass(slots=True)
class _Branches:
    """Different beginnings of answers, R of them.

    Attributes:
        ids: (R, width of what was not read yet).
        mask: (R, L) over everything read so far and ``ids``.
        counts: (R,) how many samples share the beginning.
        owners: (R,) prompt of each.
        said: (R, t) the beginnings.
        past: Keys and values of what was read.
    """

    ids: Tensor
    mask: Tensor
    counts: Tensor
    owners: Tensor
    said: Tensor
    past: Any


class _Run:
    def __init__(
        self,
        loaded: LoadedModel,
        max_new_tokens: int,
        max_batch_tokens: int,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        self.loaded = loaded
        self.max_new_tokens = max_new_tokens
        self.max_batch_tokens = max_batch_tokens
        self.temperature = temperature
        self.generator = generator
        self.drawn: list[Counter[str]] = []
        self._last_only = {"logits_to_keep": 1} if keeps_last_logits(loaded.model) else {}
        self._stops = torch.tensor(sorted(loaded.stop_ids), device=loaded.device, dtype=torch.long)

    def begin(self, starts: Sequence[Sequence[int]], group: Sequence[int], samples: int) -> _Branches:
        """Left-padded prompts, one branch each."""
        device = self.loaded.device
        width = max(len(starts[i]) for i in group)
        pads = [width - len(starts[i]) for i in group]
        ids = [[self.loaded.pad_id] * pad + list(starts[i]) for i, pad in zip(group, pads, strict=True)]
        return _Branches(
            ids=torch.tensor(ids, device=device),
            mask=torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device),
            counts=torch.full((len(group),), samples, device=device),
            owners=torch.tensor(list(group), device=device),
            said=torch.empty(len(group), 0, dtype=torch.long, device=device),
            past=None,
        )

    def step(self, branches: _Branches) -> list[_Branches]:
        """One token further; what has ended is noted, what goes on comes back, split where it has grown too large."""
        positions = (branches.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -branches.ids.shape[1] :]
        out = self.loaded.model(
            input_ids=branches.ids,
            attention_mask=branches.mask,
            position_ids=positions,
            past_key_values=branches.past,
            use_cache=True,
            **self._last_only,
        )
        parents, tokens, counts = self._draw(out.logits[:, -1].float(), branches.counts)
        ended = torch.isin(tokens, self._stops)
        self._note(branches.owners[parents[ended]], branches.said[parents[ended]], counts[ended])
        parents, tokens, counts = parents[~ended], tokens[~ended], counts[~ended]
        said = torch.cat([branches.said[parents], tokens[:, None]], dim=1)
        if said.shape[1] >= self.max_new_tokens or not len(parents):
            self._note(branches.owners[parents], said, counts)
            return []
        mask = torch.cat([branches.mask[parents], branches.mask.new_ones(len(parents), 1)], dim=1)
        room = max(1, self.max_batch_tokens // (mask.shape[1] + self.max_new_tokens - said.shape[1]))
        pieces = torch.arange(len(parents), device=parents.device).tensor_split(-(-len(parents) // room))
        return [
            _Branches(
                ids=tokens[piece][:, None],
                mask=mask[piece],
                counts=counts[piece],
                owners=branches.owners[parents[piece]],
                said=said[piece],
                past=_select(out.past_key_values, parents[piece]),
            )
            for piece in pieces
        ]

    def _draw(self, logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which branch goes on with which token, and how many samples take that way."""
        if not bool(logits.amax(dim=-1).isfinite().all()):  # a masked token (-inf) may stand beside numbers
            raise LetheError("verify.bad_logits", "The model's logits are not finite: nothing can be sampled from it.")
        if self.temperature <= 0:
            return torch.arange(len(counts), device=counts.device), logits.argmax(dim=-1), counts
        most = int(counts.max())
        chances = (logits / self.temperature).softmax(dim=-1)
        draws = torch.multinomial(chances, most, replacement=True, generator=self.generator)
        wanted = torch.arange(most, device=counts.device)[None, :] < counts[:, None]
        vocabulary = logits.shape[-1]
        rows = torch.arange(len(counts), device=counts.device)[:, None]
        pairs, times = torch.unique((rows * vocabulary + draws)[wanted], return_counts=True)
        return pairs // vocabulary, pairs % vocabulary, times

    def _note(self, owners: Tensor, said: Tensor, counts: Tensor) -> None:
        # A batch of nothing, or of empty rows, is one text to a tokenizer.
        texts = self.loaded.tokenizer.batch_decode(said.tolist(), skip_special_tokens=True) if said.numel() else None
        texts = texts or [""] * len(owners)
        for owner, text, count in zip(owners.tolist(), texts, counts.tolist(), strict=True):
            self.drawn[owner][text.strip()] += count


def _select(past: Any, rows: Tensor) -> Any:
    """Some rows of a cache, repeated where asked; the cache itself stays as it is."""
    chosen = copy.copy(past)
    chosen.layers = [copy.copy(layer) for layer in past.layers]
    chosen.batch_select_indices(rows)
    return chosen
