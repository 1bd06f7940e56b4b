"""Which models judge: chosen by settings, named in every report, since scores of different ones cannot be compared."""

from dataclasses import dataclass, field

from pipelines.verify.embeddings import Embedder, SentenceEmbedder
from pipelines.verify.entities import Extractor, RuleExtractor
from pipelines.verify.nli import Nli, RuleNli, TransformersNli


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The judges of one measurement. Keep one for the base's and the adapter's row: embeddings are cached in it."""

    embedder: Embedder = field(default_factory=SentenceEmbedder)
    nli: Nli = field(default_factory=RuleNli)
    extractor: Extractor = field(default_factory=RuleExtractor)

    def names(self) -> dict[str, str]:
        """What a report says about them."""
        return {"embeddings": self.embedder.name, "nli": self.nli.name, "entities": self.extractor.name}


def make_backends(*, embedding_model: str | None = None, nli_model: str | None = None) -> Backends:
    """Judges by settings; without any, the offline ones.

    Args:
        embedding_model: Local directory or hub name of a sentence-transformers model.
        nli_model: Local directory or hub name of an NLI classifier.
    """
    nli: Nli = TransformersNli(nli_model) if nli_model else RuleNli()
    return Backends(embedder=SentenceEmbedder(embedding_model), nli=nli)
