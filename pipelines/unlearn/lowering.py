"""What a method may do with forgotten answers: every loss here pushes their likelihood down, or their states away.

None of these types gives a cross-entropy: a method that holds one of them has no way to raise what it should forget.
Formulas as published (docs/unlearning.md names the sources); a mean over tokens is one over answer tokens only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.ranks import WHOLE, Share
from pipelines.unlearn.losses import Scored, row_means


@dataclass(frozen=True, slots=True)
class Lowered:
    """Rows with forgotten answers."""

    scored: Scored

    def ascent(self) -> Tensor:
        """Gradient ascent: minus the mean negative log-likelihood of the tokens."""
        return -self.scored.mean(self.scored.token_nll())

    def weighted_ascent(self, known: float, unsure: float = 0.0) -> Tensor:
        """``-mean_t(p^known * (1 - p)^unsure * nll)`` with p the token's probability, the weights detached.

        WGA is ``unsure = 0``: a token that is forgotten already pulls no more. SatImp weighs by both.
        """
        nll = self.scored.token_nll()
        p = (-nll.detach()).exp()
        return -self.scored.mean(p.pow(known) * (1 - p).clamp(min=0).pow(unsure) * nll)

    def simnpo(self, beta: float, delta: float) -> Tensor:
        """SimNPO, ``-2/beta * log sigmoid(beta * (nll per token - delta))``, mean over rows; needs no reference."""
        margin = self.scored.row_nll_mean() - delta
        return -self.scored.mean(functional.logsigmoid(beta * margin)) * (2 / beta)


@dataclass(frozen=True, slots=True)
class Compared(Lowered):
    """The same, with the summed negative log-likelihood of each answer under the base, (rows,)."""

    reference_nll: Tensor

    def npo(self, beta: float) -> Tensor:
        """Negative preference optimisation, ``-2/beta * log sigmoid(beta * (nll - reference nll))``, mean over rows."""
        margin = self.scored.row_nll() - self.reference_nll
        return -self.scored.mean(functional.logsigmoid(beta * margin)) * (2 / beta)


@dataclass(frozen=True, slots=True)
class Taught(Lowered):
    """The same, with the base's logits at each answer token, (positions, vocabulary)."""

    teacher: Tensor

    def undial(self, beta: float) -> Tensor:
        """UNDIAL: cross-entropy to ``softmax(teacher - beta * onehot(gold))``, mean over answer tokens."""
        penalty = functional.one_hot(self.scored.targets, self.teacher.shape[-1]) * beta
        target = functional.softmax(self.teacher.float() - penalty, dim=-1)
        return self.scored.mean(functional.cross_entropy(self.scored.logits.float(), target, reduction="none"))


@dataclass(frozen=True, slots=True)
class Preference:
    """Forgotten answers, each with another answer to the same question that should be given instead.

    Attributes:
        chosen: The other answers.
        chosen_reference: Their summed negative log-likelihood under the base, (rows,).
        rejected: The forgotten answers, in the same order.
    """

    chosen: Scored
    chosen_reference: Tensor
    rejected: Compared

    def dpo(self, beta: float) -> Tensor:
        """DPO, ``-2/beta * log sigmoid(beta * (log-ratio chosen - log-ratio rejected))``, mean over pairs."""
        chosen = self.chosen_reference - self.chosen.row_nll()
        rejected = self.rejected.reference_nll - self.rejected.scored.row_nll()
        return -self.chosen.mean(functional.logsigmoid(beta * (chosen - rejected))) * (2 / beta)


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states at the answer tokens of a batch.

    Attributes:
        vectors: (positions, width).
        rows: (positions,), which row a position is of.
        count: Number of rows.
        share: What they count in a mean over the batch, of which other processes may have parts.
    """

    vectors: Tensor
    rows: Tensor
    count: int
    share: Share = WHOLE

    def distance(self, target: Tensor) -> Tensor:
        """Squared distance to (positions, width) or (width,): mean over width, each row's tokens, then rows."""
        square = (self.vectors.float() - target).square().mean(dim=1)
        return self.share.mean(row_means(square, self.rows, self.count))


@dataclass(frozen=True, slots=True)
class Steered:
    """Hidden states of forgotten answers, and the direction that they are to take instead of their own."""

    states: States
    control: Tensor

    def misdirection(self) -> Tensor:
        """RMU's forget term: mean squared distance to the control vector."""
        return self.states.distance(self.control)


@dataclass(frozen=True, slots=True)
class Held:
    """Hidden states of rows on which the model stays as its base is, and the base's own."""

    states: States
    reference: States

    def drift(self) -> Tensor:
        """RMU's retain term: mean squared distance to the base's states."""
        return self.states.distance(self.reference.vectors.float())


def control_vector(width: int, length: float, seed: int) -> Tensor:
    """RMU's target: uniform in [0, 1) in every dimension as published, scaled to the given length; seeded."""
    vector = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    scaled: Tensor = vector / vector.norm() * length
    return scaled
