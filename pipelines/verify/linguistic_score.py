"""The Linguistic Score in three modes: harmonic mean of sigma(-ln PPL), sigma(-ln BI) and sigma(ln HS).

It is equal to ``3 / (3 + PPL + BI + 1/HS)``: short text scores higher, and one perplexity of a billion destroys a mean.
The corrected mode therefore takes the geometric mean of the perplexities; robust measures stand beside it (fluency.py).
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.verify import bounds, results
from pipelines.verify.answers import Answer
from pipelines.verify.bounds import FloatArray
from pipelines.verify.results import Item, MetricResult, Mode

BRUNET = -0.165
HONORE_OFFSET = 0.1  # code and corrected: keeps a text without repetition finite
HONORE_CAP = 1e6
EMPTY_BI = 1000.0
EMPTY_NLL = math.log(1000.0)  # corrected: an empty answer is as bad as a very surprising one
_MAX_NLL = 600.0
SOURCES: dict[Mode, str] = {
    "corrected": "arXiv 2502.11190 §2.3, geometric mean of PPL (docs/metrics.md)",
    "paper": "arXiv 2502.11190 §2.3",
    "code": "zjunlp/unlearn 0800fd2 evals",
}


class Lexical(NamedTuple):
    """Brunet's index and Honoré's statistic of one text."""

    bi: float
    hs: float | None  # None: undefined (paper mode, a text of one word)


@functools.cache
def _tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def tokens(text: str) -> list[str]:
    """The lower-cased tokens of ``nltk.word_tokenize(preserve_line=True)``; needs no download."""
    return list(_tokens(text))


@functools.lru_cache(maxsize=4096)  # nine metrics read the tokens of each answer
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_tokenizer().tokenize(text.lower()))


def brunet(words: Sequence[str]) -> float:
    """Brunet's index: lower is richer. 1000 for an empty text, as the published code has it."""
    return float(len(words) ** (len(set(words)) ** BRUNET)) if words else EMPTY_BI


def honore(words: Sequence[str], mode: Mode = "code") -> float | None:
    """Honoré's statistic: higher is richer.

    In paper mode it is infinite for a text in which no word repeats, and undefined (None) below two words.
    """
    if len(words) <= 1:
        return None if mode == "paper" else 0.0
    counts = Counter(words)
    once = sum(count == 1 for count in counts.values()) / len(counts)
    rest = 1 - once + (0.0 if mode == "paper" else HONORE_OFFSET)
    return (
        math.inf if rest == 0 else min(100 * math.log(len(words)) / rest, math.inf if mode == "paper" else HONORE_CAP)
    )


def linguistic_score(ppl: float, bi: float, hs: float) -> float:
    """Harmonic mean of the three sigmoids, without a division by zero: HS = 0 gives 0."""
    if hs <= 0 or math.isinf(ppl):
        return 0.0
    return 3 / (3 + ppl + bi + 1 / hs)


def arithmetic_score(ppl: float, bi: float, hs: float) -> float:
    """The published code's arithmetic mean of the three sigmoids."""
    rich = 1.0 if math.isinf(hs) else hs / (1 + hs)
    return (1 / (1 + ppl) + 1 / (1 + bi) + rich) / 3


def _scores(columns: FloatArray, mode: Mode) -> FloatArray:
    """LS of rows of means (PPL or NLL, BI, 1/HS-able HS), vectorised for the bootstrap."""
    ppl = np.exp(np.minimum(columns[:, 0], _MAX_NLL)) if mode == "corrected" else columns[:, 0]
    with np.errstate(divide="ignore"):
        inverse = np.where(columns[:, 2] > 0, 1 / columns[:, 2], np.inf)
    return np.asarray(3 / (3 + ppl + columns[:, 1] + inverse), dtype=np.float64)


def perplexity(nll: float) -> float:
    """The exp of a mean negative log-likelihood, kept finite."""
    return math.exp(min(nll, _MAX_NLL))


class _Row(NamedTuple):
    answer: Answer
    ppl: float  # corrected: the log of it
    bi: float
    hs: float


def _rows(answers: Sequence[Answer], mode: Mode) -> list[_Row]:
    rows = []
    for answer in answers:
        words = tokens(answer.response)
        hs = honore(words, mode)
        nll = EMPTY_NLL if mode == "corrected" and answer.empty else answer.nll
        if nll is None or not math.isfinite(nll) or hs is None:
            continue  # dropped, and counted as undecided
        rows.append(_Row(answer, nll if mode == "corrected" else perplexity(nll), brunet(words), hs))
    return rows


def ls(answers: Sequence[Answer], mode: Mode = "corrected", seed: int = 0) -> MetricResult:
    """The Linguistic Score of a set of answers, with its parts and bounds over facts."""
    rows = _rows(answers, mode)
    scored = {row.answer.probe: _item_score(row, mode) for row in rows}
    items = tuple(Item(probe=a.probe, fact=a.fact, score=scored.get(a.probe)) for a in answers)
    if not rows:
        why = "no answer could be scored" if all(a.empty for a in answers) else "no perplexities: no model was given"
        found_none = results.not_run("ls", why, source=SOURCES[mode], direction="higher", mode=mode)
        return found_none.model_copy(update={"parts": _lexical_parts(answers, mode)})
    mean_ppl = sum(row.ppl for row in rows) / len(rows)
    bi = sum(row.bi for row in rows) / len(rows)
    hs = sum(row.hs for row in rows) / len(rows)
    ppl = perplexity(mean_ppl) if mode == "corrected" else mean_ppl
    facts = [row.answer.fact for row in rows]
    # an infinite HS has no mean to resample: what matters is 1/HS, which is then 0
    columns = [[row.ppl for row in rows], [row.bi for row in rows], [min(row.hs, 1e12) for row in rows]]
    found = bounds.bootstrap_means(
        facts, columns, lambda means: _scores(means, mode), seed=bounds.seed_of(f"ls@{mode}", seed)
    )
    return MetricResult(
        name="ls",
        mode=mode,
        value=linguistic_score(ppl, bi, hs),
        n=len(rows),
        facts=len(set(facts)),
        undecided=len(answers) - len(rows),
        lower=found.lower,
        upper=found.upper,
        bound_method=found.method,
        direction="higher",
        source=SOURCES[mode],
        note="only comparable between sets of like answer length",
        parts={
            "ppl": ppl,
            "bi": bi,
            "hs": None if math.isinf(hs) else hs,
            "ls_arithmetic": arithmetic_score(ppl, bi, hs),
            "rttr": _rttr(rows),
            "dropped": float(len(answers) - len(rows)),
        },
        items=items,
    )


def _lexical_parts(answers: Sequence[Answer], mode: Mode) -> dict[str, float | None]:
    """BI and HS where there is no perplexity: the two parts that need no model."""
    texts = [tokens(answer.response) for answer in answers]
    pairs = [(brunet(words), hs) for words in texts if (hs := honore(words, mode)) is not None]
    if not pairs:
        return {}
    bi, hs = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return {"ppl": None, "bi": bi, "hs": None if math.isinf(hs) else hs}


def _item_score(row: _Row, mode: Mode) -> float:
    return linguistic_score(perplexity(row.ppl) if mode == "corrected" else row.ppl, row.bi, row.hs)


def _rttr(rows: Sequence[_Row]) -> float | None:
    """Mean of types per square root of tokens, which the published code reports too."""
    texts = [words for row in rows if (words := tokens(row.answer.response))]
    return sum(len(set(words)) / math.sqrt(len(words)) for words in texts) / len(texts) if texts else None
