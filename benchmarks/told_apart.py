"""Whether the questions of a benchmark's erased and kept rows can be told apart at all by what is trained on.

    python -m benchmarks.told_apart DIR [--base DIR] [--json]

KnowUnDo's validation questions are other facts about the same people, and no method is given them: to forget the one
half and keep the other, a model has to tell from the question alone which half it is of. This measures how well that
goes for somebody who does nothing else: a logistic regression learns from the questions of ``unlearn_train`` and
``retention_train``, names taken out, and sorts those of the two validation sets. It sees words and pairs of words;
with ``--base`` also a base model's hidden states of the question (the mean over its tokens, every layer by itself).
Last, the same words with those of the true answer, as a model might use that has learnt the answer by heart.
Its one setting, how much it is regularised, is chosen by cross-validation on the trained questions.

Printed for each: the area under the curve with one-sided 95 % bounds (clustered by person), and the share of
erased questions told where 0.90, 0.93 or 0.95 of the kept ones are, and where 0.95 of the erased are, of the kept.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegressionCV  # type: ignore[import-untyped]
from sklearn.metrics import roc_curve  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from pipelines.augment.questions import renamed
from pipelines.bench.people import People, find_people
from pipelines.bench.sources import load_knowundo
from pipelines.encode import encode_prompts
from pipelines.model import LoadedModel, load_model
from pipelines.verify.two_samples import Side, bounded_auc

NOBODY = "they"
KEPT = (0.90, 0.93, 0.95)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Two parts of the data set: questions and answers with their names taken out, 1 where erased, and whose."""

    questions: list[str]
    answers: list[str]
    erased: Scores
    whose: list[str]

    @classmethod
    def of(cls, people: People, erased: str, kept: str) -> "Rows":
        """Those of a part that is erased and of one that is kept."""
        records = [*people.records[erased], *people.records[kept]]
        return cls(
            [renamed(record.question or "", people.names, NOBODY) for record in records],
            [renamed(record.answer, people.names, NOBODY) for record in records],
            np.array([1.0] * len(people.records[erased]) + [0.0] * len(people.records[kept])),
            [people.about[record.record_id] for record in records],
        )

    @property
    def whole(self) -> list[str]:
        """Question and answer in one text."""
        return [f"{question} {answer}" for question, answer in zip(self.questions, self.answers, strict=True)]


def rates(scores: Scores, asked: Rows) -> dict[str, Any]:
    """Area under the curve with its bounds, and the shares told at fixed shares of the other side."""
    wrong, right, _ = roc_curve(asked.erased, scores, drop_intermediate=False)
    kept = 1 - wrong
    sides = (asked.erased == 1, asked.erased == 0)
    area, low, high = bounded_auc(*(Side(scores[side], tuple(compress(asked.whose, side)), 0) for side in sides))
    return {
        "auc": area,
        "auc_low": low,
        "auc_high": high,
        **{f"erased_at_kept_{share:.2f}": float(right[kept >= share].max()) for share in KEPT},
        "kept_at_erased_0.95": float(kept[right >= 0.95].max()),
    }


def hidden(loaded: LoadedModel, texts: Sequence[str]) -> list[Scores]:
    """The mean hidden state of each question, for every layer: (texts, width) each."""
    found: list[list[torch.Tensor]] = []
    with torch.inference_mode():
        for ids in encode_prompts(loaded.tokenizer, texts):
            states = loaded.model(torch.tensor([ids], device=loaded.device), output_hidden_states=True).hidden_states
            found.append([state[0].float().mean(0).cpu() for state in states])
    return [torch.stack(layer).double().numpy() for layer in zip(*found, strict=True)]


def told_apart(people: People, base: LoadedModel | None = None) -> dict[str, Any]:
    """How well each way of looking at a question sorts the validation questions."""
    learnt = Rows.of(people, "forget_train", "retain_train")
    asked = Rows.of(people, "forget_val", "retain_val")
    ways = {"words of the question": _words(learnt.questions, asked.questions)}
    if base is not None:
        layers = zip(hidden(base, learnt.questions), hidden(base, asked.questions), strict=True)
        ways |= {f"the base's states, layer {n}": both for n, both in enumerate(layers)}
    ways["words of question and answer"] = _words(learnt.whole, asked.whole)
    return {
        "learnt": len(learnt.erased),
        "erased": int(asked.erased.sum()),
        "kept": int((1 - asked.erased).sum()),
        "ways": {way: rates(_scores(*both, learnt.erased), asked) for way, both in ways.items()},
    }


def _words(learnt: Sequence[str], asked: Sequence[str]) -> tuple[Any, Any]:
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(learnt)
    return vectors.transform(learnt), vectors.transform(asked)


def _scores(learnt: Any, asked: Any, erased: Scores) -> Scores:
    regression = LogisticRegressionCV(
        Cs=12, cv=5, scoring="roc_auc", max_iter=5000, l1_ratios=(0,), use_legacy_attributes=False
    )
    sorter = make_pipeline(StandardScaler(with_mean=isinstance(learnt, np.ndarray)), regression)
    found: Scores = sorter.fit(learnt, erased).decision_function(asked)
    return found


def main() -> None:
    """Print how far the questions alone tell the erased from the kept."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.told_apart", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("data", type=Path, help="a directory of KnowUnDo's form")
    parser.add_argument("--base", type=Path, help="a model that has learnt the data set (bases/base-phrased-0)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    people = find_people(load_knowundo(given.data))
    found = told_apart(people, load_model(given.base) if given.base else None)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['learnt']} questions to learn from; {found['erased']} erased and {found['kept']} kept ones sorted")
    for way, row in found["ways"].items():
        told = ", ".join(f"{row[f'erased_at_kept_{share:.2f}']:.2f} at {share:.2f}" for share in KEPT)
        print(f"{way}: area {row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})")
        at = f"{row['kept_at_erased_0.95']:.2f}"
        print(f"  erased told where so many kept are: {told}; kept told where .95 of the erased are: {at}")


if __name__ == "__main__":
    main()
