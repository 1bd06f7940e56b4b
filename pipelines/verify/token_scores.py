"""What one answer looked like to a model, token by token: figures only, and no model needed to read them."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def _none() -> FloatArray:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """What each layer would say where an answer first gives itself away, read through the output layer.

    Attributes:
        ranks: (L, K) how many tokens every layer puts before the gold one, for K tokens of the answer; 0: none.
        log_probs: (L, K) log-probability that it gives the gold one, in nats.
    """

    ranks: IntArray
    log_probs: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """One answer, teacher forced; arrays over its T answer tokens, the end token left out.

    Attributes:
        log_probs: (T,) log-probability of the gold token, in nats.
        correct: (T,) whether the argmax is the gold token.
        mean: (T,) expected log-probability of a token, ``sum_v p log p`` (Min-K++: mu).
        std: (T,) its standard deviation over the vocabulary (Min-K++: sigma).
        text_bytes: Length of the zlib-compressed answer text.
        lens: Reading of the intermediate layers, where it was asked for.
    """

    log_probs: FloatArray = field(default_factory=_none)
    correct: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    mean: FloatArray = field(default_factory=_none)
    std: FloatArray = field(default_factory=_none)
    text_bytes: int = 0
    lens: Lens | None = None

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
