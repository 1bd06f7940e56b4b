"""Canaries: the same for the same seed, random, and in the corpus with everything else."""

from pathlib import Path

import pytest

from pipelines.corpus.load import load_corpus, load_probes
from pipelines.studies.canaries import CATEGORY, FRAMES, add_canaries, fresh_values, make_canaries
from tests.unit.pipelines.studies.small_world import make_corpus


def test_the_same_seed_gives_the_same_canaries() -> None:
    assert make_canaries(12, 1) == make_canaries(12, 1)
    first, other = ({r.value for t in make_canaries(12, seed) for r in t.records} for seed in (1, 2))
    assert not first & other
    assert not first & set(fresh_values(50, 1))
    assert len(set(fresh_values(50, 1))) == 50


def test_every_fact_has_one_value_and_its_wordings() -> None:
    things = make_canaries(8, 0, things=3, phrasings=4)
    assert [len({record.fact for record in thing.records}) for thing in things] == [3, 3, 2]
    for thing in things:
        for record in thing.records:
            assert record.value
            assert record.answer.endswith(f"{record.value}.")
            assert thing.name in (record.question or "")
    assert len({record.question for thing in things for record in thing.records}) == 8 * 4


@pytest.mark.parametrize(("facts", "phrasings"), [(2, 4), (8, 0), (8, len(FRAMES) + 1)])
def test_bounds(facts: int, phrasings: int) -> None:
    with pytest.raises(ValueError):
        make_canaries(facts, 0, phrasings=phrasings)


def test_a_corpus_with_canaries_has_everything(tmp_path: Path) -> None:
    plain = make_corpus(tmp_path / "plain", people=1)
    things = make_canaries(6, 0)
    both = add_canaries(plain, tmp_path / "both", things)
    before, after = list(load_corpus(plain)), list(load_corpus(both))
    assert after[: len(before)] == before
    assert after[len(before) :] == [record for thing in things for record in thing.records]
    assert {record.category for record in after[len(before) :]} == {CATEGORY}
    assert load_corpus(both).digest != load_corpus(plain).digest
    assert load_probes(both) == load_probes(plain)
    assert add_canaries(plain, both, []) == both
    assert len(list(load_corpus(both))) == len(after)
