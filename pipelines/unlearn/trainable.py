"""The base with a LoRA to train on it: whole in every process, or split among them (FSDP) where one GPU is too small.

Only the frozen base is split: each process holds a part of every weight and gets the others for the moment in which a
layer needs them. The LoRA is small, whole and the same everywhere, so that training, checkpoints and what is saved
know nothing of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.model import LoadedModel, load_model, strip_adapter
from pipelines.ranks import ALONE
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings


@contextmanager
def trainable(loaded: LoadedModel, settings: UnlearnSettings, start_from: Path | None) -> Iterator[LoadedModel]:
    """The base with a trainable adapter; it is bare again, and whole, afterwards.

    Raises:
        LetheError: ``adapter.not_loadable``.
    """
    if settings.shard_base and loaded.ranks.count > 1:
        with _moved_aside(loaded):
            # What FSDP has split stays so: a copy is split. It is read on the CPU; no GPU ever holds all of it.
            copy = load_model(loaded.path, device="cpu", dtype=loaded.dtype)
            model = adapters.attach(copy, settings, start_from)
            _split(model, loaded.device, loaded.ranks.count)
            yield replace(loaded, model=model, ranks=ALONE)
        return
    model = adapters.attach(loaded, settings, start_from)
    try:
        yield replace(loaded, model=model, ranks=ALONE)
    finally:
        model.unload()
        strip_adapter(loaded.model)
        loaded.model.eval()


def _split(model: Any, device: torch.device, count: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    adapter = {parameter for parameter in model.parameters() if parameter.requires_grad}
    for parameter in adapter:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (count,))
    base = model.get_base_model()
    blocks = set(getattr(base, "_no_split_modules", None) or ())
    for module in list(base.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh, ignored_params=adapter)
    fully_shard(base, mesh=mesh, ignored_params=adapter)


@contextmanager
def _moved_aside(loaded: LoadedModel) -> Iterator[None]:
    """The whole base off the GPU."""
    loaded.model.to("cpu")
    try:
        yield
    finally:
        loaded.model.to(loaded.device)
