"""How well the questions of a benchmark's erased and kept rows can be told apart by what is trained on.

    python -m benchmarks.told_apart DIR [--base DIR] [--json]

KnowUnDo's validation questions are other facts about the same people, and no method is given them as rows. To forget
the one half and keep the other a model has to tell, of facts that it was not asked to erase, which are of the kind that
was. This measures how hard that is: a logistic regression learns from the questions of ``unlearn_train`` and
``retention_train``, full names taken out, and sorts those of the two validation sets, by

- words and pairs of words of the question,
- the sentence embedding that the verdict uses (a model of natural language, which the small bases are not),
- with ``--base``, a base model's hidden states (the mean over the question's tokens, each layer by itself),
- words of question and true answer, for a model that has the answer by heart.

How much it is regularised is chosen by cross-validation on the trained rows, with equal questions in one fold. The
threshold of a share is taken on the validation rows themselves, which is in the sorter's favour. **None of this is a
ceiling**: another sorter may do better, and a method knows names and the base's answers. Data whose halves even these
sort badly are hard; nothing more is shown.
"""

import argparse
import json
import math
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
from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from pipelines.augment.questions import renamed
from pipelines.augment.wording import normalised_question
from pipelines.bench.people import People, find_people
from pipelines.bench.sources import load_knowundo
from pipelines.encode import encode_prompts
from pipelines.model import LoadedModel, load_model
from pipelines.verify.embeddings import SentenceEmbedder
from pipelines.verify.two_samples import Side, bounded_auc

NOBODY = "they"
KEPT = (0.90, 0.95)
FOLDS = 5
RESAMPLES = 1000
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Two parts of the data set: questions and answers with full names taken out, 1 where erased, and whose."""

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

    def asked(self, erased: bool) -> set[str]:
        """The distinct questions of one side."""
        return {normalised_question(text) for text in compress(self.questions, self.erased == erased)}


def share_told(wanted: Scores, others: Scores, share: float) -> float:
    """The share of ``wanted`` above the lowest threshold that has at least ``share`` of the others not above it."""
    return float((wanted > np.sort(others)[math.ceil(share * len(others) - 1e-9) - 1]).mean())


def rates(scores: Scores, asked: Rows) -> dict[str, Any]:
    """Area under the curve and shares told; the bounds' and ranges' level is 90 %, people are drawn whole."""
    erased = asked.erased == 1
    whose = np.array(asked.whose)
    area, low, high = bounded_auc(*(Side(scores[side], tuple(whose[side]), 0) for side in (erased, ~erased)))
    found: dict[str, Any] = {"auc": area, "auc_bounds": [low, high]}
    rng, subjects = np.random.default_rng(0), sorted(set(asked.whose))
    rows_of = [np.flatnonzero(whose == subject) for subject in subjects]
    drawn = [
        np.concatenate([rows_of[n] for n in rng.integers(len(subjects), size=len(subjects))]) for _ in range(RESAMPLES)
    ]
    for share in KEPT:
        told = [
            share_told(scores[rows][erased[rows]], scores[rows][~erased[rows]], share)
            for rows in drawn
            if 0 < erased[rows].sum() < len(rows)
        ]
        found[f"erased_at_kept_{share:.2f}"] = share_told(scores[erased], scores[~erased], share)
        found[f"erased_at_kept_{share:.2f}_range"] = [float(end) for end in np.quantile(told, (0.05, 0.95))]
    found["kept_at_erased_0.95"] = share_told(-scores[~erased], -scores[erased], 0.95)
    return found


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
    embedder = SentenceEmbedder()
    ways = {
        "words of the question": _words(learnt.questions, asked.questions),
        "embedding of the question": (embedder.vectors(learnt.questions), embedder.vectors(asked.questions)),
    }
    if base is not None:
        for n, (old, new) in enumerate(zip(hidden(base, learnt.questions), hidden(base, asked.questions), strict=True)):
            scaler = StandardScaler().fit(old)
            ways[f"the base's states, layer {n}"] = (scaler.transform(old), scaler.transform(new))
    ways["words of question and answer"] = _words(learnt.whole, asked.whole)
    return {
        "learnt": len(learnt.erased),
        "erased": int(asked.erased.sum()),
        "kept": int((1 - asked.erased).sum()),
        "questions_learnt_on_both_sides": len(learnt.asked(True) & learnt.asked(False)),
        "erased_questions_that_are_learnt_as_kept": len(asked.asked(True) & learnt.asked(False)),
        "ways": {way: rates(_scores(*both, learnt), asked) for way, both in ways.items()},
    }


def _words(learnt: Sequence[str], asked: Sequence[str]) -> tuple[Any, Any]:
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(learnt)
    return vectors.transform(learnt), vectors.transform(asked)


def _scores(learnt: Any, asked: Any, rows: Rows) -> Scores:
    groups = [normalised_question(question) for question in rows.questions]
    count = min(FOLDS, len(rows.asked(True)), len(rows.asked(False)))
    folds = list(StratifiedGroupKFold(count).split(rows.erased, rows.erased, groups))
    sorter = LogisticRegressionCV(
        Cs=np.logspace(-3, 3, 13),
        cv=folds,
        scoring="roc_auc",
        max_iter=5000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    found: Scores = sorter.fit(learnt, rows.erased).decision_function(asked)
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
    print(
        f"{found['questions_learnt_on_both_sides']} questions are learnt on both sides; "
        f"{found['erased_questions_that_are_learnt_as_kept']} erased ones are, word for word, learnt as kept"
    )
    for way, row in found["ways"].items():
        low, high = row["auc_bounds"]
        print(f"{way}: area {row['auc']:.3f} ({low:.3f} to {high:.3f})")
        for share in KEPT:
            name = f"erased_at_kept_{share:.2f}"
            low, high = row[f"{name}_range"]
            print(f"  erased told where {share:.2f} of the kept are: {row[name]:.2f} ({low:.2f} to {high:.2f})")
        print(f"  kept told where 0.95 of the erased are: {row['kept_at_erased_0.95']:.2f}")


if __name__ == "__main__":
    main()
