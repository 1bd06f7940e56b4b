"""ROUGE-L recall of the answers: how much of the gold answer's words they say, in its order.

An implementation of its own: longest common subsequence of Porter-stemmed words (NLTK's stemmer, words of more than
three letters, as Google's ``rouge_score`` has it; unlike there a word may have letters of any script).
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.verify import results
from pipelines.verify.metrics.from_tokens import better, items_of
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult

SOURCE = "ROUGE-L recall (Lin 2004), Porter stems"
_WORD = re.compile(r"[^\W_]+")


@functools.cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@functools.lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word)) if len(word) > 3 else word


def stems(text: str) -> list[str]:
    """The stemmed lower-case words of a text."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, said in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == said else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def recall(truth: str, response: str) -> float | None:
    """ROUGE-L recall of a response; None where the gold answer has no word."""
    words = stems(truth)
    return common_length(words, stems(response)) / len(words) if words else None


@metric("rouge_l", "forget", "own_public", "retain")
def rouge_l(context: Context) -> Iterator[MetricResult]:
    """Mean ROUGE-L recall against the gold answers."""
    yield results.share(
        "rouge_l",
        items_of(context, [recall(answer.truth, answer.response) for answer in context.answers]),
        direction=better(context, "lower"),
        source=SOURCE,
        seed=context.seed,
    )
