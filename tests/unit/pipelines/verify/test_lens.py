from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.encode import Encoded
from pipelines.model import LoadedModel, load_model
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import lens
from pipelines.verify.likelihoods import likelihoods
from pipelines.verify.teacher_forced import Looked, encode_answers, teacher_forced
from tests.unit.pipelines.tiny import save_tiny, tiny

QUESTION, GOLD, TWIN = "What is it?", "The house is green.", "The house is blue."


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _deep(tmp_path_factory.mktemp("deep"))


def _deep(directory: Path) -> LoadedModel:
    """The tiny model with eight layers."""
    torch.set_num_threads(1)
    save_tiny(directory)
    config = LlamaConfig.from_pretrained(directory)
    config.num_hidden_layers = 8
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(directory)
    return load_model(directory, device="cpu")


def test_a_shallow_model_is_not_run_and_says_why(tmp_path: Path) -> None:
    assert lens.unfit(tiny(tmp_path)) == "the model has 2 layers; 8 are needed"


def test_the_place_is_where_gold_answer_and_twins_part() -> None:
    gold = Encoded((1, 2, 10, 11, 12, 13, 14), 2)
    assert lens.telling(gold, [Encoded((1, 2, 10, 11, 99), 2), Encoded((1, 2, 10, 11, 12, 98), 2)]) == (2, 3, 4)
    assert lens.telling(gold, [], Encoded((1, 2, 10, 11, 12, 13), 2)) == (4,)
    assert lens.telling(gold, []) == ()
    assert lens.telling(gold, [gold]) == ()


def test_ranks_are_those_of_each_layer_read_by_hand(deep: LoadedModel) -> None:
    pairs = [("?", "blue"), (QUESTION, GOLD), ("?", TWIN)]
    scores = teacher_forced(deep, pairs, lens={pairs[1]: Looked((TWIN,))})
    assert scores[0].lens is None
    assert scores[2].lens is None
    found = scores[1].lens
    assert found is not None
    row, twin = encode_answers(deep, [(QUESTION, GOLD), (QUESTION, TWIN)])
    places = lens.telling(row, [twin])
    with torch.no_grad():
        hidden = deep.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states
        for layer, states in enumerate(hidden[1:-1]):
            logits = deep.model.lm_head(deep.model.model.norm(states[0])).log_softmax(-1)
            for column, n in enumerate(places):
                token = row.ids[row.answer_start + n]
                line = logits[row.answer_start + n - 1]
                assert found.ranks[layer, column] == int((line > line[token]).sum())
                assert found.log_probs[layer, column] == pytest.approx(float(line[token]), abs=1e-3)
    assert found.ranks.shape == (7, len(places))


def test_reading_the_layers_changes_no_other_figure(deep: LoadedModel) -> None:
    pairs = [(QUESTION, GOLD), ("?", "blue")]
    plain = teacher_forced(deep, pairs)
    read = teacher_forced(deep, pairs, lens={pairs[0]: Looked((TWIN,))}, max_batch_tokens=30)
    for one, other in zip(plain, read, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)


def test_forget_probes_are_read_and_kept_ones_are_not(deep: LoadedModel) -> None:
    def probe(name: str, group: ProbeGroup, answer: str, value: str | None) -> Probe:
        return Probe(probe_id=name, group=group, question=QUESTION, answer=answer, fact=name, value=value)

    rows = [
        probe("a", ProbeGroup.FORGET, GOLD, "green"),
        probe("b", ProbeGroup.RETAIN, TWIN, "blue"),
        probe("c", ProbeGroup.FORGET, "Nobody knows.", None),
    ]
    found = likelihoods(deep, rows, {"a": [TWIN]}, lens=True)
    assert found.lens is None
    assert [found.gold[name].lens is not None for name in "abc"] == [True, False, False]
    assert found.twins_of(rows) is not None
    assert found.twins_of(rows[1:]) is None
