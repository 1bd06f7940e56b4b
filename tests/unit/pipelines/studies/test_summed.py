"""Adapters added up are the sum of their changes, and the base is bare afterwards."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from pipelines.model import LoadedModel, strip_adapter
from pipelines.studies.summed import with_summed
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny


def save_adapter(loaded: LoadedModel, directory: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers for a property under its old name
        model = get_peft_model(loaded.model, config)
    model.save_pretrained(str(directory), save_embedding_layers=False)
    model.unload()
    strip_adapter(loaded.model)
    return directory


def change(adapter: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found = load_file(adapter / "adapter_model.safetensors")
    return {
        key.replace(".lora_A.weight", ""): 3.0 * found[key.replace("lora_A", "lora_B")] @ found[key]  # alpha / r
        for key in found
        if "lora_A" in key
    }


def test_cat_is_exactly_the_sum_of_the_changes(tmp_path: Path) -> None:
    loaded = tiny(tmp_path / "base")
    adapters = [save_adapter(loaded, tmp_path / f"a{seed}", seed) for seed in range(3)]
    ids = torch.tensor([[1, 5, 9, 12]])
    with torch.no_grad():
        bare = loaded.model(input_ids=ids).logits
        with with_summed(loaded, adapters, "cat") as added:
            summed = added.model(input_ids=ids).logits
        assert torch.equal(loaded.model(input_ids=ids).logits, bare)
        modules = dict(loaded.model.named_modules())
        for adapter in adapters:
            for key, delta in change(adapter).items():
                modules[key.removeprefix("base_model.model.")].weight += delta
        by_hand = loaded.model(input_ids=ids).logits
    assert not torch.allclose(summed, bare, atol=1e-3)
    torch.testing.assert_close(summed, by_hand, atol=1e-4, rtol=1e-4)


def test_linear_has_cross_terms(tmp_path: Path) -> None:
    loaded = tiny(tmp_path / "base")
    adapters = [save_adapter(loaded, tmp_path / f"a{seed}", seed) for seed in range(2)]
    ids = torch.tensor([[1, 5, 9, 12]])
    with torch.no_grad():
        with with_summed(loaded, adapters, "cat") as added:
            exact = added.model(input_ids=ids).logits
        with with_summed(loaded, adapters, "linear") as added:
            rough = added.model(input_ids=ids).logits
    assert not torch.allclose(exact, rough, atol=1e-3)


@pytest.mark.parametrize("adapters", [[], [Path("nowhere")]])
def test_a_missing_adapter_is_said(tmp_path: Path, adapters: list[Path]) -> None:
    loaded = tiny(tmp_path / "base")
    with pytest.raises(LetheError) as refused, with_summed(loaded, adapters, "cat"):
        pass
    assert refused.value.code == "adapter.not_loadable"
    assert not hasattr(loaded.model, "peft_config")
