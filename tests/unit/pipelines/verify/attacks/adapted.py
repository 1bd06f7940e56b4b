"""The taught model under a LoRA that spoils what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from pipelines.model import LoadedModel, strip_adapter, with_adapter


def save_lora(loaded: LoadedModel, directory: Path, *, spread: float, seed: int = 0) -> Path:
    """A LoRA on every linear layer but the last one; ``spread`` 0 changes nothing."""
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(loaded.model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=spread) if spread else torch.nn.init.zeros_(parameter)
    model.save_pretrained(str(directory))
    model.unload()
    strip_adapter(loaded.model)
    return directory


@contextmanager
def under_lora(loaded: LoadedModel, directory: Path, *, spread: float = 0.5) -> Iterator[LoadedModel]:
    """The model with such a LoRA on."""
    with with_adapter(loaded, save_lora(loaded, directory, spread=spread)) as adapted:
        yield adapted
