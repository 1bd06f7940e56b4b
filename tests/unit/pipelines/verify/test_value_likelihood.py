from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.encode import encode_pair
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.patching import value_tokens
from pipelines.verify.value_likelihood import value_items
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def probe(n: int, answer: str, value: str | None) -> Probe:
    return Probe(
        probe_id=f"q{n}", group=ProbeGroup.FORGET, question="Which colour?", answer=answer, fact=f"f{n}", value=value
    )


PROBES = [
    probe(0, "The house is green, they say.", "green"),
    probe(1, "I would rather not say.", "green"),
    probe(2, "The colour of the whole sky is blue.", "blue"),
    probe(3, "It is blue.", None),
]


def test_the_values_tokens_alone_by_the_models_own_logits(loaded: LoadedModel) -> None:
    items = value_items(loaded, PROBES)
    assert [(one.probe, one.fact) for one in items] == [(one.probe_id, one.fact) for one in PROBES]
    assert [one.score is None for one in items] == [False, True, False, True]
    for item, one in zip(items, PROBES, strict=True):
        asked = value_tokens(loaded, one)
        if asked is None:
            continue
        ids = torch.tensor([encode_pair(loaded.tokenizer, one.question, one.answer).ids])
        with torch.inference_mode():
            log_probs = loaded.model(ids).logits[0].log_softmax(dim=-1)
        expected = [float(log_probs[place - 1, ids[0, place]]) for place in asked.places]
        assert item.score == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_batches_do_not_matter(loaded: LoadedModel) -> None:
    one, many = value_items(loaded, PROBES, max_batch_tokens=1), value_items(loaded, PROBES)
    assert [item.score for item in one] == pytest.approx([item.score for item in many], abs=1e-4)
    assert value_items(loaded, []) == []


def test_logits_that_are_no_numbers_have_no_figure(tmp_path: Path) -> None:
    broken = tiny(tmp_path)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(LetheError) as raised:
        value_items(replace(broken), PROBES)
    assert raised.value.code == "verify.bad_logits"
