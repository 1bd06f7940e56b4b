"""The LoRA that is trained: fresh on the base, or the last release's taken further."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from pipelines.model import LoadedModel, quiet_peft
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError

_WEIGHTS = "adapter_model.safetensors"


def is_trained(adapter: Path | None) -> bool:
    """Whether an adapter changes anything: release 0 has B = 0, and training on from it is a cold start."""
    if adapter is None:
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(adapter / _WEIGHTS), framework="pt") as tensors:
            return any(bool(tensors.get_tensor(key).any()) for key in tensors.keys() if "lora_B" in key)  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise LetheError("adapter.not_loadable", "The adapter to start from cannot be read.") from error


def attach(loaded: LoadedModel, settings: UnlearnSettings, start_from: Path | None) -> Any:
    """Put a trainable LoRA on every linear layer but the output layer.

    Raises:
        LetheError: ``adapter.not_loadable``: the adapter to start from belongs to another architecture.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(settings.seed)
    quiet_peft()
    if start_from is not None:
        try:
            return PeftModel.from_pretrained(loaded.model, str(start_from), is_trainable=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise LetheError("adapter.not_loadable", "The adapter to start from does not fit this base.") from error
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(loaded.model, config)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """The trained tensors by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def restore(model: Any, saved: dict[str, torch.Tensor]) -> None:
    """Write saved tensors back."""
    current = tensors(model)
    with torch.no_grad():
        for name, tensor in saved.items():
            current[name].copy_(tensor)


def save(model: Any, target: Path, base_digest: str) -> None:
    """Write the adapter as PEFT does, byte for byte the same for the same weights, in one rename."""
    work = target.with_name(f".{target.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    model.save_pretrained(str(work), save_embedding_layers=False)
    file = work / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_digest  # a path would name this machine
    config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in any order
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (work / "README.md").unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(work, target)
