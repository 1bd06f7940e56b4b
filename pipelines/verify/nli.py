"""Does one text contradict another? A port: a model by configuration, else rules that never excuse a leak."""

from collections.abc import Sequence
from typing import Any, Protocol

from pipelines.verify import entities
from policies.errors import LetheError

ABSENT_NOTE = "no NLI model: KFR is a lower bound, KRR an upper one"


class Nli(Protocol):
    """Judges pairs in one batch."""

    name: str
    is_model: bool

    def contradicts(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """For each (premise, hypothesis) whether it is a contradiction; None where the judge failed."""


class RuleNli:
    """A differing number, date, e-mail or address contradicts.

    KFR does not use it: a wrong number beside the right name must not count as forgotten. KRR does: there it can only
    lower the score.
    """

    name = "rules"
    is_model = False

    def __init__(self) -> None:
        self._extractor = entities.RuleExtractor()

    def contradicts(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        return [self._one(premise, hypothesis) for premise, hypothesis in pairs]

    def _one(self, premise: str, hypothesis: str) -> bool:
        said, claimed = ([e for e in self._extractor.extract(text, "") if e.hard] for text in (premise, hypothesis))
        if not said or not claimed:
            return False
        return not any(entities.same_hard(one, other) for one in said for other in claimed)


class TransformersNli:
    """A text-classification model with a contradiction label, for example deberta-v3-base-tasksource-nli.

    Args:
        model: A local directory or a hub name.
        batch_size: Pairs of one forward pass.
    """

    is_model = True

    def __init__(self, model: str, batch_size: int = 32) -> None:
        self.name = model
        self._batch_size = batch_size
        self._pipeline: Any = None

    def _load(self) -> Any:
        if self._pipeline is None:
            from transformers import pipeline

            try:
                self._pipeline = pipeline("text-classification", model=self.name, device="cpu")
            except Exception as error:
                raise LetheError("verify.model_unavailable", "The NLI model could not be loaded.") from error
            labels = {str(label).casefold() for label in self._pipeline.model.config.id2label.values()}
            if not any("contradiction" in label for label in labels):
                raise LetheError("verify.model_unavailable", "The NLI model has no contradiction label.")
        return self._pipeline

    def contradicts(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        if not pairs:
            return []
        inputs = [{"text": premise, "text_pair": hypothesis} for premise, hypothesis in pairs]
        results = self._load()(inputs, batch_size=self._batch_size, truncation=True)
        return ["contradiction" in str(result["label"]).casefold() for result in results]
