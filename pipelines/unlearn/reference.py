"""The base's view of the rows: the same model with its adapter off, remembered as far as it fits."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pipelines.encode import Encoded
from pipelines.model import LoadedModel
from pipelines.ranks import ALONE, Ranks
from pipelines.unlearn import forward
from pipelines.unlearn.forward import score
from pipelines.unlearn.losses import Scored, TopK, top_k
from pipelines.unlearn.lowering import States

_POSITION_BYTES = 2 + 4  # one kept token: its log-probability in fp16, its id in 32 bits


class Reference:
    """Reference distributions and likelihoods, computed when first needed.

    Args:
        loaded: The model that is trained, with its adapter.
        k: Tokens kept a position.
        limit: Bytes that the cache may hold; rows beyond it are computed again each time.
        autocast: As in training, so that a model that has not moved has no divergence.
        everywhere: Whether distributions are kept at the prompts too.
        ranks: Processes that may hold the base in parts: where one has to ask it, all do.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        k: int,
        limit: int,
        *,
        autocast: bool = True,
        everywhere: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self._loaded = loaded
        self._k = min(k, int(loaded.model.config.vocab_size))
        self._limit = limit
        self._autocast = autocast
        self._everywhere = everywhere
        self._ranks = ranks
        self._distributions: dict[Hashable, TopK] = {}
        self._nll: dict[Hashable, float] = {}
        self.bytes = 0
        self.recomputed = 0

    def distributions(self, keys: Sequence[Hashable], rows: Sequence[Encoded]) -> TopK:
        """Distributions at the positions of the rows, in order; ``keys`` name the rows in the cache."""
        missing = [n for n, key in enumerate(keys) if key not in self._distributions]
        fresh: dict[int, TopK] = {}
        if self._anybody(missing):
            computed = self._compute([rows[n] for n in missing or [0]])
            fresh = dict(zip(missing, computed, strict=False))
        found = [fresh[n] if n in fresh else self._distributions[keys[n]] for n in range(len(keys))]
        for n, one in fresh.items():
            self._keep(keys[n], one)
        device = self._loaded.device
        return TopK(
            torch.cat([one.log_probs for one in found]).to(device, torch.float32),
            torch.cat([one.tokens for one in found]).to(device, torch.int64),
        )

    def nll(self, keys: Sequence[Hashable], rows: Sequence[Encoded]) -> Tensor:
        """Summed negative log-likelihood of each row's answer under the base."""
        missing = [n for n, key in enumerate(keys) if key not in self._nll]
        if self._anybody(missing):
            scored = self._score([rows[n] for n in missing or [0]])
            for n, value in zip(missing, scored.row_nll().tolist(), strict=False):
                self._nll[keys[n]] = value
        return torch.tensor([self._nll[key] for key in keys], device=self._loaded.device)

    def logits(self, rows: Sequence[Encoded]) -> Tensor:
        """Whole logits at the answer positions, (positions, vocabulary): too large to be remembered."""
        return self._score(rows).logits

    def states(self, rows: Sequence[Encoded], layer: int) -> States:
        """Output of a layer at the answer tokens, computed each time."""
        loaded = self._loaded
        with _as_base(loaded):
            return forward.states(loaded.model, rows, loaded.pad_id, loaded.device, layer, autocast=self._autocast)

    def _anybody(self, missing: Sequence[int]) -> bool:
        """Whether any process misses a row; one that misses none asks for its first, and forgets the answer."""
        return self._ranks.totals({"rows": float(len(missing))})["rows"] > 0

    def _compute(self, rows: Sequence[Encoded]) -> list[TopK]:
        scored = self._score(rows, everywhere=self._everywhere)
        whole = top_k(scored.logits, self._k)
        sizes = [len(row) - 1 if self._everywhere else row.answer_tokens for row in rows]
        return [
            TopK(values.half(), tokens.int())
            for values, tokens in zip(
                torch.split(whole.log_probs, sizes), torch.split(whole.tokens, sizes), strict=True
            )
        ]

    def _keep(self, key: Hashable, one: TopK) -> None:
        size = one.tokens.numel() * _POSITION_BYTES
        if self.bytes + size > self._limit:
            self.recomputed += 1
            return
        # Clones, since a slice would hold the whole batch in memory.
        self._distributions[key] = TopK(one.log_probs.cpu().clone(), one.tokens.cpu().clone())
        self.bytes += size

    def _score(self, rows: Sequence[Encoded], *, everywhere: bool = False) -> Scored:
        loaded = self._loaded
        with _as_base(loaded):
            return score(
                loaded.model, rows, loaded.pad_id, loaded.device, autocast=self._autocast, everywhere=everywhere
            )


@contextmanager
def _as_base(loaded: LoadedModel) -> Iterator[None]:
    """Adapter off, and no dropout: a base that drops units is another one each time."""
    training = loaded.model.training
    loaded.model.eval()
    try:
        with torch.no_grad(), loaded.adapter_disabled():
            yield
    finally:
        loaded.model.train(training)
