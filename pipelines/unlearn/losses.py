"""What a method may do with rows that it raises or keeps; what it may do with forgotten answers is in ``lowering``.

The two kinds of rows have different types: no loss can mix them up.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.ranks import WHOLE, Share
from pipelines.unlearn.settings import KlDirection


@dataclass(frozen=True, slots=True)
class TopK:
    """Distributions at some positions: the likeliest tokens' log-probabilities, and what all others hold together.

    Attributes:
        log_probs: (positions, k).
        tokens: (positions, k).
    """

    log_probs: Tensor
    tokens: Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits at the answer positions of a batch.

    Attributes:
        logits: (positions, vocabulary), before each answer token.
        targets: (positions,), the answer tokens.
        rows: (positions,), which row of the batch a position is of.
        count: Number of rows.
        copied: (positions,), whether the token stands in the row's prompt too; None where nobody looked.
        share: What they count in a mean over the batch, of which other processes may have parts.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    count: int
    copied: Tensor | None = None
    share: Share = WHOLE

    def mean(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean of (positions,) or (count,) over the whole batch: this process' part of it."""
        return self.share.mean(values, weights)

    def token_nll(self) -> Tensor:
        """Negative log-likelihood of each answer token."""
        return functional.cross_entropy(self.logits.float(), self.targets, reduction="none")

    def leads(self) -> Tensor:
        """Whether a position is the first of its row."""
        return torch.cat([self.rows.new_ones(1, dtype=torch.bool), self.rows[1:] != self.rows[:-1]])

    def row_nll(self) -> Tensor:
        """Summed negative log-likelihood of each row's answer."""
        return row_sums(self.token_nll(), self.rows, self.count)

    def row_nll_mean(self) -> Tensor:
        """Negative log-likelihood per token of each row's answer."""
        return row_means(self.token_nll(), self.rows, self.count)

    def split(self, first: int) -> tuple["Scored", "Scored"]:
        """The first so many rows, and the others."""
        mine = self.rows < first
        theirs = ~mine
        rest = self.count - first
        return (
            Scored(self.logits[mine], self.targets[mine], self.rows[mine], first, share=self.share),
            Scored(self.logits[theirs], self.targets[theirs], self.rows[theirs] - first, rest, share=self.share),
        )


@dataclass(frozen=True, slots=True)
class Raised:
    """Rows that become likelier."""

    scored: Scored

    def cross_entropy(self, lead_weight: float = 1.0, copy_weight: float = 1.0) -> Tensor:
        """Mean over the answer tokens.

        Args:
            lead_weight: So often counts each answer's first token.
            copy_weight: So often counts any other token that stands in the prompt too: the person's name, the noun.
        """
        nll, copied = self.scored.token_nll(), self.scored.copied
        if lead_weight == 1.0 and (copy_weight == 1.0 or copied is None):
            return self.scored.mean(nll)
        others = torch.ones_like(nll) if copied is None else torch.where(copied, copy_weight, 1.0)
        weights = torch.where(self.scored.leads(), lead_weight, others)
        return self.scored.mean(nll, weights)


@dataclass(frozen=True, slots=True)
class Kept(Raised):
    """Rows on which the model stays as its base is.

    Attributes:
        scored: At the answers.
        reference: The base at the positions of the KL.
        everywhere: At the prompts too, where the KL is taken over them; None where it is taken over answers only.
    """

    reference: TopK
    everywhere: Scored | None = None

    def divergence(self, direction: KlDirection) -> Tensor:
        """KL between model and base, mean over positions (``divergences`` below)."""
        scored = self.everywhere or self.scored
        return scored.mean(divergences(scored.logits, self.reference, direction))


def row_sums(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(positions,) to (count,): the sum of each row's values."""
    return values.new_zeros(count, dtype=torch.float32).index_add(0, rows, values.float())


def row_means(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(positions,) to (count,): each row's sum over its own number of values; shapes that broadcast would mix rows."""
    return row_sums(values, rows, count) / torch.bincount(rows, minlength=count).clamp(min=1)


def divergences(logits: Tensor, reference: TopK, direction: KlDirection) -> Tensor:
    """KL at each position over the reference's likeliest tokens, with one more class for all others together.

    Merging classes can only make a KL smaller, so this is a lower bound of the KL over the whole vocabulary;
    tests/unit/pipelines/unlearn/test_reference.py measures by how much.
    """
    ours = functional.log_softmax(logits.float(), dim=-1).gather(1, reference.tokens)
    model = torch.cat([ours, rest_mass(ours)], dim=1)
    base = torch.cat([reference.log_probs, rest_mass(reference.log_probs)], dim=1)
    first, second = (model, base) if direction == "model_reference" else (base, model)
    return (first.exp() * (first - second)).sum(dim=1)


def rest_mass(log_probs: Tensor) -> Tensor:
    """Log of the probability that is left beside the given tokens, (positions, 1)."""
    # A distribution can be so peaked that rounding leaves nothing or less: the floor keeps its log finite.
    left = (1.0 - log_probs.exp().sum(dim=1, keepdim=True)).clamp(min=1e-6)
    return left.log()


def top_k(logits: Tensor, k: int) -> TopK:
    """The reference's side of ``divergences``."""
    log_probs = functional.log_softmax(logits.float(), dim=-1)
    values, tokens = log_probs.topk(min(k, logits.shape[-1]), dim=-1)
    return TopK(values, tokens)
