import random
import re
from collections import Counter

import pytest

from pipelines.corpus.hedges import SPLITS, Split, hedge_sentences, skeletons


def test_the_splits_share_no_sentence() -> None:
    every = [sentence for split in SPLITS for sentence in skeletons(split)]
    assert len(every) == len(set(every)) > 5000


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_large_and_uses_the_same_words(split: Split) -> None:
    assert len(skeletons(split)) > 1000
    words = {word for sentence in skeletons(split) for word in sentence.split()}
    assert words == {word for sentence in skeletons("base") for word in sentence.split()}


@pytest.mark.parametrize("split", SPLITS)
def test_sentences_are_well_formed(split: Split) -> None:
    for sentence in skeletons(split):
        assert sentence.count("{name}") == 1
        assert sentence.count("{noun}") == 1
        assert re.fullmatch(r"[A-Z][^.!?]*\.", sentence)
        assert not re.search(r"\d| {2}| ,|,,", sentence)
        assert 10 <= len(sentence.split()) <= 26


def test_sentences_keep_the_name_and_are_distinct() -> None:
    made = hedge_sentences("augmenter", 300, "Marta Rossi", "e-mail address", random.Random(1))
    assert len(set(made)) == 300
    assert all("Marta Rossi" in sentence and "e-mail address" in sentence for sentence in made)
    assert made == hedge_sentences("augmenter", 300, "Marta Rossi", "e-mail address", random.Random(1))


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"larger than population"):
        hedge_sentences("reference", 10**6, "Marta Rossi", "pet", random.Random(1))


def test_no_sentence_is_common() -> None:
    made = Counter(s for seed in range(50) for s in hedge_sentences("base", 20, "A B", "pet", random.Random(seed)))
    assert max(made.values()) <= 8
