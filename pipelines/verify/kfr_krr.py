"""KFR and KRR in three modes: corrected (ours), paper (arXiv 2502.11190 §2.3) and code (zjunlp/unlearn at 0800fd2).

``E_i`` is the share of the reference's entities that the answer holds. KFR counts ``E_i < 0.3`` (or a contradiction),
KRR counts ``E_i > 0.3`` (and no contradiction). The code mode keeps the published code's defects on purpose,
to compare.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.verify import entities, results, values
from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import MATCH
from pipelines.verify.entities import Entity
from pipelines.verify.nli import ABSENT_NOTE
from pipelines.verify.results import Item, MetricResult, Mode

Cosines = npt.NDArray[np.float32]

THRESHOLD = 0.3  # c1 and c2
SHORT_REFERENCE = 3  # code mode: up to so many reference entities 0.5 takes the place of c1
SHORT_THRESHOLD = 0.5
SOURCES: dict[Mode, str] = {
    "corrected": "arXiv 2502.11190 §2.3, corrected (docs/metrics.md)",
    "paper": "arXiv 2502.11190 §2.3",
    "code": "zjunlp/unlearn 0800fd2 evals/evaluate.py",
}


class Coverage(NamedTuple):
    """Entity coverage of one answer in the three modes; None: undecided."""

    corrected: float | None
    paper: float | None
    code: float
    references: int
    value_held: bool | None

    def of(self, mode: Mode) -> float | None:
        """The score of one mode."""
        return {"corrected": self.corrected, "paper": self.paper, "code": self.code}[mode]


class _Found(NamedTuple):
    answer: Answer
    said: tuple[Entity, ...] | None
    true: tuple[Entity, ...] | None
    held: bool | None

    def by_text(self) -> Cosines:
        """The matches that need no embedding: equal texts."""
        return np.asarray([[t.text == s.text for s in self.said or ()] for t in self.true or ()], dtype=np.float32)

    def decided_by_text(self) -> bool:
        """Whether equal texts alone decide every mode: more matches could not change a flag."""
        equal = self.by_text()
        return soft_recall(equal) > SHORT_THRESHOLD and _code(self, equal) > SHORT_THRESHOLD


def coverages(answers: Sequence[Answer], backends: Backends) -> list[Coverage]:
    """Entity coverage of every answer; everything that needs an embedding is embedded in one batch.

    Where equal texts alone decide every mode (most retain answers) nothing is embedded: the coverage is a lower bound.
    """
    found = [_find(answer, backends) for answer in answers]
    texts: set[str] = set()
    for item in found:
        if item.said and item.true and not item.decided_by_text():
            texts.update(entity.text for entity in (*item.said, *item.true))
        if item.held is False and item.said and item.answer.value and _soft(item.answer.value):
            texts.update((item.answer.value, *(entity.text for entity in item.said if not entity.hard)))
    backends.embedder.warm(texts)
    return [_coverage(item, backends) for item in found]


def _find(answer: Answer, backends: Backends) -> _Found:
    said, true = (backends.extractor.extract(text, answer.query) for text in (answer.response, answer.truth))
    return _Found(answer, said, true, None if answer.value is None else values.holds(answer.response, answer.value))


def _soft(value: str) -> bool:
    return values.value_key(value).kind not in values.HARD_KINDS


def _coverage(found: _Found, backends: Backends) -> Coverage:
    cosine = _cosines(found, backends)
    return Coverage(
        corrected=_corrected(found, cosine) if found.answer.value is None else _known(found, backends),
        paper=soft_recall(cosine) if found.said is not None and found.true else None,
        code=_code(found, cosine),
        references=len(found.true or ()),
        value_held=found.held,
    )


def _cosines(found: _Found, backends: Backends) -> Cosines:
    if not found.true or not found.said:
        return np.zeros((len(found.true or ()), len(found.said or ())), dtype=np.float32)
    if found.decided_by_text():
        return found.by_text()
    return backends.embedder.similarity([e.text for e in found.true], [e.text for e in found.said])


def soft_recall(cosine: Cosines) -> float:
    """Share of reference entities (rows) that some predicted one (column) matches: always within 0..1."""
    if cosine.size == 0:
        return 0.0
    return float((cosine.max(axis=1) >= MATCH).mean())


def pair_count(cosine: Cosines) -> float:
    """The published code's score: matching *pairs* per reference entity, which may exceed 1."""
    return float((cosine >= MATCH).sum() / cosine.shape[0]) if cosine.size else 0.0


def _known(found: _Found, backends: Backends) -> float | None:
    """Where the value is known it is the only entity: held in any spelling, or (soft kinds) in like words."""
    value = found.answer.value or ""
    if not value.strip():
        return None
    if found.held:
        return 1.0
    if found.said is None and _soft(value):
        return None  # it may have been told in like words, and the judge of that is down
    soft = [entity.text for entity in found.said or () if not entity.hard]
    if not soft or not _soft(value):
        return 0.0
    return float(backends.embedder.similarity([value], soft).max() >= MATCH)


def _corrected(found: _Found, cosine: Cosines) -> float | None:
    """Soft recall in which numbers, dates, e-mails and ids match exactly or not at all."""
    if found.said is None or not found.true:
        return None
    matched = cosine >= MATCH
    for i, reference in enumerate(found.true):
        for j, predicted in enumerate(found.said):
            if reference.hard or predicted.hard:
                matched[i, j] = reference.hard and predicted.hard and entities.same_hard(reference, predicted)
    return float(matched.any(axis=1).mean()) if found.said else 0.0


def _code(found: _Found, cosine: Cosines) -> float:
    if not found.said or not found.true:
        return 0.0  # an outage of the extractor counts as "forgotten" there
    kept = [j for j, entity in enumerate(found.said) if not entities.shares_word(entity, found.answer.query)]
    return pair_count(cosine[:, kept])


def forgotten(score: float, references: int, mode: Mode) -> bool:
    """Whether an entity coverage counts as forgotten."""
    if mode != "code":
        return score < THRESHOLD
    return score <= (SHORT_THRESHOLD if references <= SHORT_REFERENCE else THRESHOLD)


def retained(score: float, mode: Mode) -> bool:
    """Whether an entity coverage counts as retained."""
    return score >= THRESHOLD if mode == "code" else score > THRESHOLD


def kfr(
    answers: Sequence[Answer], found: Sequence[Coverage], backends: Backends, mode: Mode = "corrected", seed: int = 0
) -> MetricResult:
    """Knowledge Forgetting Ratio over the forget probes."""
    contradictions: list[bool | None] = [False] * len(answers)
    if backends.nli.is_model:  # rules would excuse a leak that has a wrong number beside it
        contradictions = backends.nli.contradicts([(a.response, a.truth) for a in answers])
    items = []
    for answer, cover, contradiction in zip(answers, found, contradictions, strict=True):
        score = cover.of(mode)
        excused = contradiction is True and not (mode == "corrected" and cover.value_held)
        flag = None if score is None else float(forgotten(score, cover.references, mode) or excused)
        items.append(Item(probe=answer.probe, fact=answer.fact, score=flag))
    return results.share(
        "kfr", items, direction="higher", source=SOURCES[mode], mode=mode, note=_note(backends), seed=seed
    )


def krr(
    answers: Sequence[Answer], found: Sequence[Coverage], backends: Backends, mode: Mode = "corrected", seed: int = 0
) -> MetricResult:
    """Knowledge Retention Ratio over the retain probes."""
    contradictions: list[bool | None] = [False] * len(answers)
    if backends.nli.is_model or mode == "corrected":
        contradictions = backends.nli.contradicts([(a.truth, a.response) for a in answers])
    items = []
    for answer, cover, contradiction in zip(answers, found, contradictions, strict=True):
        flag = _retained_flag(cover, contradiction, mode)
        items.append(Item(probe=answer.probe, fact=answer.fact, score=flag))
    return results.share(
        "krr", items, direction="higher", source=SOURCES[mode], mode=mode, note=_note(backends), seed=seed
    )


def _retained_flag(cover: Coverage, contradiction: bool | None, mode: Mode) -> float | None:
    score = cover.of(mode)
    if score is None:
        return None
    if not retained(score, mode):
        return 0.0
    if contradiction is None:
        return None
    return 0.0 if contradiction and not (mode == "corrected" and cover.value_held) else 1.0


def _note(backends: Backends) -> str | None:
    return None if backends.nli.is_model else ABSENT_NOTE
