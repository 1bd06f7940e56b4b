from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from pipelines.encode import Encoded, encode_pair
from pipelines.model import LoadedModel
from pipelines.unlearn import adapters
from pipelines.unlearn.forward import score
from pipelines.unlearn.losses import divergences
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.settings import KlDirection, UnlearnSettings
from tests.unit.pipelines.tiny import TEXTS, tiny

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model whose adapter has moved it away from its base."""
    loaded = tiny(tmp_path_factory.mktemp("tiny"), spread=1.0)  # peaked, as a trained model is
    model = adapters.attach(loaded, UnlearnSettings(rank=4), None)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapters.tensors(model).items():
            if "lora_B" in name:
                tensor.normal_(std=0.05)
    return replace(loaded, model=model)


@pytest.fixture(scope="module")
def rows(adapted: LoadedModel) -> list[Encoded]:
    return [encode_pair(adapted.tokenizer, "What is it?", text) for text in TEXTS]


def full(adapted: LoadedModel, rows: list[Encoded], direction: KlDirection) -> float:
    with torch.no_grad():
        ours = score(adapted.model, rows, 0, adapted.device, autocast=False).logits.log_softmax(-1)
        with adapted.adapter_disabled():
            base = score(adapted.model, rows, 0, adapted.device, autocast=False).logits.log_softmax(-1)
    first, second = (ours, base) if direction == "model_reference" else (base, ours)
    return float(functional.kl_div(second, first, log_target=True, reduction="none").sum(-1).mean())


def cached(adapted: LoadedModel, rows: list[Encoded], direction: KlDirection, k: int, limit: int = LIMIT) -> float:
    reference = Reference(adapted, k, limit, autocast=False)
    found = reference.distributions(range(len(rows)), rows)
    with torch.no_grad():
        scored = score(adapted.model, rows, 0, adapted.device, autocast=False)
        return float(divergences(scored.logits, found, direction).mean())


@pytest.mark.parametrize("direction", ["model_reference", "reference_model"])
def test_error_against_the_full_kl(adapted: LoadedModel, rows: list[Encoded], direction: KlDirection) -> None:
    whole = full(adapted, rows, direction)
    assert whole > 0.05
    found = [cached(adapted, rows, direction, k) for k in (4, 64, 320)]
    assert found[0] <= found[1] + 1e-3 <= found[2] + 2e-3  # a lower bound that grows with k
    assert found[1] > 0.6 * whole  # 64 of 320 tokens
    assert found[2] == pytest.approx(whole, rel=0.01)  # what half precision costs


def test_no_divergence_before_the_first_step(adapted: LoadedModel, rows: list[Encoded]) -> None:
    with adapted.adapter_disabled():
        assert cached(adapted, rows, "model_reference", 64) == pytest.approx(0, abs=1e-3)


def test_what_does_not_fit_is_computed_again(adapted: LoadedModel, rows: list[Encoded]) -> None:
    small = Reference(adapted, 8, 8 * 6 * (rows[0].answer_tokens + 1), autocast=False)
    unbounded = Reference(adapted, 8, LIMIT, autocast=False)
    keys = list(range(len(rows)))
    for _ in range(2):
        one, other = small.distributions(keys, rows), unbounded.distributions(keys, rows)
        assert torch.equal(one.tokens, other.tokens)
        assert torch.allclose(one.log_probs, other.log_probs, atol=1e-2)
    assert small.bytes <= 8 * 6 * (rows[0].answer_tokens + 1)
    assert small.recomputed > 0
    assert unbounded.recomputed == 0


def test_rows_are_found_by_key_in_any_order(adapted: LoadedModel, rows: list[Encoded]) -> None:
    reference = Reference(adapted, 8, LIMIT, autocast=False)
    reference.distributions([0, 1, 2], rows[:3])
    again = reference.distributions([2, 0], [rows[2], rows[0]])
    fresh = Reference(adapted, 8, LIMIT, autocast=False).distributions([2, 0], [rows[2], rows[0]])
    assert torch.equal(again.tokens, fresh.tokens)


def test_likelihoods_are_the_bases(adapted: LoadedModel, rows: list[Encoded]) -> None:
    reference = Reference(adapted, 8, LIMIT, autocast=False)
    with torch.no_grad(), adapted.adapter_disabled():
        expected = score(adapted.model, rows, 0, adapted.device, autocast=False).row_nll()
    assert torch.allclose(reference.nll([3, 1], [rows[3], rows[1]]), expected[[3, 1]], atol=1e-3)


def test_the_reference_drops_no_units_while_the_model_trains(adapted: LoadedModel, rows: list[Encoded]) -> None:
    """GPT-2 and others come with dropout: a reference that has it is another one at every step."""
    still = Reference(adapted, 320, LIMIT, autocast=False)
    expected, states = still.nll(range(5), rows), still.states(rows, 0).vectors
    layers = adapted.model.get_base_model().model.layers
    for layer in layers:
        layer.self_attn.attention_dropout = 0.5
    adapted.model.train()
    try:
        reference = Reference(adapted, 320, LIMIT, autocast=False)
        assert torch.equal(reference.nll(range(5), rows), expected)
        assert torch.equal(reference.states(rows, 0).vectors, states)
        assert adapted.model.training
        with torch.no_grad():
            trained = score(adapted.model, rows, 0, adapted.device, autocast=False).logits
        adapted.model.eval()
        with torch.no_grad():
            assert not torch.equal(trained, score(adapted.model, rows, 0, adapted.device, autocast=False).logits)
    finally:
        adapted.model.eval()
        for layer in layers:
            layer.self_attn.attention_dropout = 0.0
