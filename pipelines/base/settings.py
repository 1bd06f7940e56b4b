"""How the example base is trained, and what is recorded about it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """Recipe of a small Llama-architecture model that memorises its corpus (docs/results.md has the trials).

    Attributes:
        vocabulary: Size of the byte-level BPE vocabulary.
        hidden: Width; ``hidden / heads`` stays at 32 or more, which vLLM needs.
        layers: Depth.
        heads: Attention heads.
        intermediate: Width of the MLP.
        epochs: Passes over the corpus.
        batch_tokens: Padded tokens of one step.
        lr_matrices: Muon, for the weight matrices.
        lr_rest: AdamW, for embeddings and norms.
        warmup: Share of the steps with a rising learning rate; a cosine follows.
        noise: Share of the question's tokens that are left out at random.
        seed: Of weights and order.
        min_combination: Share of unseen question combinations that must be answered with the right value.
        min_frame: The same for question frames that were never trained.
    """

    vocabulary: int = 3072
    hidden: int = 192
    layers: int = 2
    heads: int = 6
    intermediate: int = 512
    epochs: int = 6
    batch_tokens: int = 1024
    lr_matrices: float = 1.8e-2
    lr_rest: float = 3e-3
    warmup: float = 0.05
    noise: float = 0.1
    seed: int = 0
    min_combination: float = 0.95
    min_frame: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCard:
    """What is known about a trained base; written beside it as ``base.json``.

    Attributes:
        path: Its directory.
        digest: Of its weights, tokenizer and configuration.
        corpus_digest: Of what it was trained on.
        key: Of corpus, settings and code: the cache key.
        settings: The recipe.
        combination: Share of unseen combinations answered with the right value.
        frame: Share of never-trained frames answered with the right value.
        parameters: Number of weights.
        seconds: Wall time of the training.
        cached: Whether it was there already.
    """

    path: str
    digest: str
    corpus_digest: str
    key: str
    settings: dict[str, Any]
    combination: float
    frame: float
    parameters: int
    seconds: float
    cached: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)
