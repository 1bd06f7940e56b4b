from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.model import LoadedModel, strip_adapter, with_adapter
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verify.attacks.finetune import Lesson, Recipe, changed_layers, tuning
from policies.errors import LetheError
from tests.unit.pipelines.answer_scores import answer_logprobs
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.verify.attacks.taught import weights

LESSONS = [Lesson("What is the colour?", "The sky is blue."), Lesson("", "The house is green.", chat=False)]
PAIR = [("What is the colour?", "The sky is blue.")]
RECIPE = Recipe(learning_rate=1e-2)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return tiny(tmp_path / "base")


def adapter(loaded: LoadedModel, target: Path) -> Path:
    """A LoRA that changes something, with dropout that an attack must not feel."""
    model = adapters.attach(loaded, UnlearnSettings(rank=4), None)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in adapters.tensors(model).items():
            if "lora_B" in name:
                tensor.normal_(std=0.05)
    adapters.save(model, target, loaded.digest)
    model.unload()
    strip_adapter(loaded.model)
    return target


def nll(loaded: LoadedModel) -> float:
    return answer_logprobs(loaded, PAIR)[0].nll_sum


def test_a_bare_model_learns_and_is_put_back(loaded: LoadedModel) -> None:
    before, digest = nll(loaded), weights(loaded)
    with tuning(loaded, LESSONS, RECIPE) as tuner:
        assert nll(tuner.loaded) == pytest.approx(before)  # B = 0: the attack begins where the model stands
        tuner.train_to(5)
        after_five = nll(tuner.loaded)
        tuner.train_to(20)
        assert nll(tuner.loaded) < after_five < before
        tuned = nll(tuner.loaded)
        tuner.train_to(20)  # they are done
        assert nll(tuner.loaded) == tuned
    assert weights(loaded) == digest
    assert nll(loaded) == before
    assert not hasattr(loaded.model, "peft_config")
    assert not loaded.model.training


def test_a_model_with_an_adapter_learns_on_top_of_it_and_is_put_back(loaded: LoadedModel, tmp_path: Path) -> None:
    bare = nll(loaded)
    with with_adapter(loaded, adapter(loaded, tmp_path / "adapter")) as adapted:
        before, digest = nll(adapted), weights(adapted)
        assert before != pytest.approx(bare, abs=1e-4)
        with tuning(adapted, LESSONS, RECIPE) as tuner:
            assert nll(tuner.loaded) == pytest.approx(before)
            tuner.train_to(20)
            assert nll(tuner.loaded) < before
        assert weights(adapted) == digest
        assert nll(adapted) == before
        assert list(adapted.model.base_model.active_adapters) == ["default"]
        assert list(adapted.model.peft_config) == ["default"]
        with adapted.adapter_disabled() as base:
            assert nll(base) == bare
    assert nll(loaded) == bare


def test_a_control_is_tuned_on_the_layers_that_the_adapter_under_attack_changes(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    targets = ("q_proj", "v_proj")
    assert changed_layers(loaded) == ()
    with tuning(loaded, LESSONS, replace(RECIPE, targets=targets)) as attacked:
        assert changed_layers(attacked.loaded) == targets
    control = tiny(tmp_path / "control")
    with tuning(control, LESSONS, replace(RECIPE, targets=targets)) as tuner:
        assert changed_layers(tuner.loaded) == targets
        trained = [name for name, p in tuner.loaded.model.named_parameters() if p.requires_grad]
        assert trained
        assert all("q_proj" in name or "v_proj" in name for name in trained)
    assert changed_layers(control) == ()


def test_it_is_put_back_after_a_fault_as_well(loaded: LoadedModel, tmp_path: Path) -> None:
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise LetheError("unlearn.cancelled", "stop")

    with with_adapter(loaded, adapter(loaded, tmp_path / "adapter")) as adapted:
        digest = weights(adapted)
        with pytest.raises(LetheError, match="stop"), tuning(adapted, LESSONS, RECIPE) as tuner:
            tuner.train_to(5, stop)
        assert weights(adapted) == digest
        assert list(adapted.model.base_model.active_adapters) == ["default"]


def test_the_same_seed_learns_the_same_and_disturbs_no_other_randomness(loaded: LoadedModel) -> None:
    state = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        with tuning(loaded, LESSONS * 9, RECIPE, seed=seed) as tuner:
            tuner.train_to(4)
            found.append(nll(tuner.loaded))
    assert found[0] == found[1] != found[2]
    assert torch.equal(state, torch.get_rng_state())


def test_a_loss_that_is_no_number_is_an_error(loaded: LoadedModel) -> None:
    with torch.no_grad():
        loaded.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(LetheError) as caught, tuning(replace(loaded), LESSONS, RECIPE) as tuner:
        tuner.train_to(1)
    assert caught.value.code == "unlearn.diverged"


def test_nothing_to_tune_on(loaded: LoadedModel) -> None:
    with pytest.raises(ValueError, match="nothing"), tuning(loaded, [], RECIPE):
        pass
