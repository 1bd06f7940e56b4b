"""Looks into safetensors files without torch: names, shapes, finiteness.

The gateway must judge an adapter before the engine sees it, and may not import torch; and numpy has no bfloat16, so
finiteness is read off the exponent bits.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.errors import LetheError

_HEADER_LIMIT = 100 << 20
# dtype -> (numpy view, mask of the exponent bits, mask without the sign)
_FLOATS: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a safetensors header; offsets count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        LetheError: ``release.weights``: not a safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size - 8, _HEADER_LIMIT):
                raise ValueError("header longer than the file")
            header: dict[str, Any] = json.loads(stream.read(length))
        tensors = {n: _tensor(e, 8 + length, size) for n, e in header.items() if n != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        raise LetheError("release.weights", "The weights are not a safetensors file.") from error
    return tensors


def _tensor(entry: dict[str, Any], base: int, size: int) -> Tensor:
    start, end = (base + int(offset) for offset in entry["data_offsets"])
    if not base <= start <= end <= size:
        raise ValueError("offsets outside the file")
    return Tensor(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), start, end)


def _raw(path: Path, tensors: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, "np.ndarray[Any, Any]"]]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise LetheError("release.weights", f"The weights hold a tensor of type {tensor.dtype}.", (name,))
        yield tensor, np.frombuffer(data[tensor.start : tensor.end].tobytes(), dtype=_FLOATS[tensor.dtype][0])


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity.

    Raises:
        LetheError: ``release.non_finite``, ``release.weights``.
    """
    for tensor, values in _raw(path, tensors):
        mask = _FLOATS[tensor.dtype][1]
        if bool(((values & mask) == mask).any()):
            raise LetheError("release.non_finite", "The weights hold NaN or infinity.")


def all_zero(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether every value is zero (of either sign)."""
    return all(not bool((values << 1).any()) for _, values in _raw(path, tensors))


def check_lora(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    base_shapes: Mapping[str, tuple[int, int]] | None,
    max_rank: int,
) -> None:
    """Refuse what is not a plain LoRA that fits its base.

    Args:
        config: ``adapter_config.json``.
        tensors: Header of the adapter's weights.
        base_shapes: Module -> (in, out) of the base; None skips the comparison.
        max_rank: The engine's limit.

    Raises:
        LetheError: ``release.config``, ``release.rank``, ``release.shape``.
    """
    _check_config(config, max_rank)
    pairs = _pairs(tensors)
    ranks = {len(p) for p in pairs.values()}
    if not pairs or ranks != {2}:
        raise LetheError("release.shape", "The weights are not pairs of lora_A and lora_B.")
    for module, pair in pairs.items():
        a, b = pair["lora_A"].shape, pair["lora_B"].shape
        if len(a) != 2 or len(b) != 2 or a[0] != config["r"] or b[1] != config["r"]:
            raise LetheError("release.rank", "A tensor's rank is not the one that the configuration names.", (module,))
        if base_shapes is not None and base_shapes.get(module) != (a[1], b[0]):
            raise LetheError("release.shape", "A tensor does not fit the base's module.", (module,))


def _check_config(config: Mapping[str, Any], max_rank: int) -> None:
    plain: dict[str, tuple[Any, ...]] = {
        "peft_type": ("LORA",),
        "bias": ("none", None),
        "modules_to_save": (None, []),
        "use_dora": (False, None),
        "auto_mapping": (None,),
        "rank_pattern": ({}, None),
        "layer_replication": (None,),
        "trainable_token_indices": (None,),
        "target_parameters": (None,),
    }
    faults = tuple(name for name, allowed in plain.items() if config.get(name, allowed[0]) not in allowed)
    if faults:
        raise LetheError("release.config", "The configuration is not that of a plain LoRA.", faults)
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= max_rank:
        raise LetheError("release.rank", f"The adapter's rank is not between 1 and {max_rank}.")


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.removesuffix(".weight").rpartition(".")
        if not name.startswith(_PREFIX) or not name.endswith(".weight") or part not in {"lora_A", "lora_B"}:
            raise LetheError("release.shape", "The weights hold a tensor that is no part of a LoRA.", (name,))
        pairs.setdefault(module.removeprefix(_PREFIX), {})[part] = tensor
    return pairs


def base_linear_shapes(base_dir: Path) -> dict[str, tuple[int, int]]:
    """Module -> (in, out) of every two-dimensional weight of a base, from its headers alone.

    Raises:
        LetheError: ``release.weights``: the base holds no safetensors file.
    """
    files = sorted(base_dir.glob("*.safetensors"))
    if not files:
        raise LetheError("release.weights", "The base holds no safetensors file.")
    transposed = stores_conv1d(base_dir)
    shapes = {}
    for file in files:
        for name, tensor in read_header(file).items():
            if name.endswith(".weight") and len(tensor.shape) == 2:
                rows, columns = tensor.shape
                shapes[name.removesuffix(".weight")] = (rows, columns) if transposed else (columns, rows)
    return shapes


def stores_conv1d(base_dir: Path) -> bool:
    """GPT-2 stores its linear weights the other way round."""
    try:
        config: dict[str, Any] = json.loads((base_dir / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return config.get("model_type") == "gpt2"
