"""The same model at 8 or 4 bits: what an adapter's update is worth once the weights are rounded.

Where bitsandbytes is installed and the model is on a GPU, its kernels take the place of the linear layers. Elsewhere
the weights are rounded to their codes and back (``Rounded``), which gives the same 4-bit weights on any machine. The
output layer and the embeddings stay as they are, as bitsandbytes leaves them.

- 8 bits: absmax, 127 steps each way (LLM.int8(), arXiv 2208.07339), one scale for each output row by default. The
  rounded weights leave the activations as they are; the kernels round those too, but for outliers.
- 4 bits: NF4 (QLoRA, arXiv 2305.14314), one scale for each ``block`` consecutive weights, no second quantisation of
  the scales.
"""

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from scipy.stats import norm
from transformers.pytorch_utils import Conv1D

from pipelines.model import LoadedModel
from pipelines.ranks import ALONE

Bits = Literal[4, 8]
BLOCK = 64  # QLoRA's
ROW = 0  # one scale for each output row
DEFAULT_BLOCK: dict[Bits, int] = {4: BLOCK, 8: ROW}
_STEPS = 127


@functools.cache
def nf4_levels() -> tuple[float, ...]:
    """The 16 levels of NormalFloat (arXiv 2305.14314 §3), ascending from -1 to 1.

    Quantiles of the normal distribution, evenly spaced in probability: 8 above zero, 7 below, and zero itself, scaled
    to 1. The outermost probability lies half a step of each side within 0..1: (1 - 1/32 + 1 - 1/30) / 2.
    """
    outermost = (1 - 1 / 32 + 1 - 1 / 30) / 2
    above = norm.ppf(torch.linspace(outermost, 0.5, 9, dtype=torch.float64)[:-1].numpy())
    below = -norm.ppf(torch.linspace(outermost, 0.5, 8, dtype=torch.float64)[:-1].numpy())
    levels = sorted([*below.tolist(), 0.0, *above.tolist()])
    return tuple(level / levels[-1] for level in levels)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight matrix as codes.

    Attributes:
        codes: uint8 (NF4: index of the level) or int8, of the weight's shape (out, in).
        values: What the codes stand for, of the same shape, in float32.
    """

    codes: torch.Tensor
    values: torch.Tensor


def rounded(weight: torch.Tensor, bits: Bits, block: int) -> Rounded:
    """Round a weight matrix.

    Args:
        weight: (out, in). Its values are read row by row, as bitsandbytes does: a block may reach into the next row.
        bits: 8 (absmax) or 4 (NF4).
        block: Weights that share a scale; 0 for one scale a row. A last block may be shorter.

    Raises:
        ValueError: Another number of bits, or a negative block.
    """
    if bits not in (4, 8) or block < 0:
        raise ValueError("8 or 4 bits, and blocks of one weight or more")
    flat = weight.detach().float().reshape(-1)
    size = block or weight.shape[-1]
    short = -len(flat) % size
    blocks = torch.nn.functional.pad(flat, (0, short)).view(-1, size)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    unit = blocks / torch.where(scale > 0, scale, 1.0)
    if bits == 8:
        codes = (unit * _STEPS).round().to(torch.int8)
        values = codes.float() * (scale / _STEPS)
    else:
        levels = torch.tensor(nf4_levels(), dtype=torch.float32, device=flat.device)
        middles = (levels[1:] + levels[:-1]) / 2
        index = torch.bucketize(unit, middles)  # a tie goes to the lower level, as in bitsandbytes
        codes = index.to(torch.uint8)
        values = levels[index] * scale
    return Rounded(
        codes.view(-1)[: len(flat)].view(weight.shape),
        values.view(-1)[: len(flat)].view(weight.shape),
    )


def kernels_available(loaded: LoadedModel) -> bool:
    """Whether bitsandbytes runs this model: it is installed and the model is on a GPU."""
    return loaded.device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


@contextmanager
def quantised(
    loaded: LoadedModel, bits: Bits, *, block: int = BLOCK, merged: bool = False, kernels: bool | None = None
) -> Iterator[LoadedModel]:
    """The model at so many bits; on leaving, the weights are the very tensors that they were.

    Args:
        loaded: With or without an adapter (LoRA on linear layers).
        bits: 8 or 4.
        block: Weights that share a scale; 0 for one scale a row. The kernels' 8 bits always take one a row.
        merged: The adapter is added to the weights before they are rounded, and is off; else the base alone is rounded
            and the adapter stays beside it in full precision (``adapter_disabled()`` is then the rounded base).
        kernels: Whether bitsandbytes does it; by default where it can.

    Raises:
        ValueError: Another number of bits, or a negative block.
    """
    use_kernels = kernels_available(loaded) if kernels is None else kernels
    with ExitStack() as undo:
        for layer in _layers(loaded.model):
            weight = _plain(layer.linear)
            summed = weight + _plain_delta(layer) if merged and layer.lora is not None else weight
            if not layer.quantise:
                undo.enter_context(_weight_of(layer.linear, summed))
            elif use_kernels and _kernel_takes(summed, bits, block):
                undo.enter_context(_in_place_of(layer, _kernel(layer.linear, summed, bits, block)))
            else:
                undo.enter_context(_weight_of(layer.linear, rounded(summed, bits, block).values))
        if merged and hasattr(loaded.model, "disable_adapter"):
            undo.enter_context(loaded.model.disable_adapter())
            # The bare model: switching the adapter off once more, and on again, would add it to the merged weights.
            yield replace(loaded, model=loaded.model.get_base_model(), ranks=ALONE)
        else:
            yield replace(loaded, ranks=ALONE)


def codes_changed(loaded: LoadedModel, bits: Bits = 4, block: int = BLOCK) -> float:
    """The share of the quantised weights' codes that the adapter changes once it is merged.

    An update smaller than the steps between the codes changes few, and vanishes when the merged weights are rounded.

    Args:
        loaded: With an adapter on.
        bits: 8 or 4.
        block: Weights that share a scale; 0 for one scale a row.

    Returns:
        0..1 over all weights that are quantised, those without an adapter included; 0.0 without any such weight.
    """
    changed = total = 0
    for layer in _layers(loaded.model):
        if not layer.quantise:
            continue
        total += layer.linear.weight.numel()
        if layer.lora is not None:
            weight = _plain(layer.linear)
            before = rounded(weight, bits, block).codes
            after = rounded(weight + _plain_delta(layer), bits, block).codes
            changed += int((before != after).sum())
    return changed / total if total else 0.0


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer, where it hangs, its LoRA if it has one, and whether it is quantised at all."""

    parent: Any
    attribute: str
    linear: Any
    lora: Any
    quantise: bool


def _layers(model: Any) -> list[_Layer]:
    """The layers that are quantised, and those that only carry a LoRA (it must be merged with the others)."""
    named = dict(model.named_modules())
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    head = getattr(output, "base_layer", output)
    found: list[_Layer] = []
    for name, module in named.items():
        parent = named[name.rpartition(".")[0]] if name else None
        lora = parent if hasattr(parent, "get_delta_weight") and name.endswith(".base_layer") else None
        if isinstance(module, torch.nn.Linear | Conv1D) and not _inside_lora(name):
            quantise = module is not head and not name.endswith(("lm_head", "lm_head.base_layer"))
            if quantise or lora is not None:
                found.append(_Layer(parent, name.rpartition(".")[2], module, lora, quantise))
        elif lora is not None:
            found.append(_Layer(parent, name.rpartition(".")[2], module, lora, quantise=False))
    return found


def _inside_lora(name: str) -> bool:
    return any(part.startswith("lora_") for part in name.split("."))


def _plain(linear: Any) -> torch.Tensor:
    """The weight as (out, in); Conv1D keeps it the other way round."""
    weight: torch.Tensor = linear.weight.detach()
    return weight.t().contiguous() if isinstance(linear, Conv1D) else weight


def _plain_delta(layer: _Layer) -> torch.Tensor:
    """What the active adapters add to the weight, as (out, in)."""
    weight = layer.linear.weight
    added = torch.zeros_like(weight)
    lora = layer.lora
    for name in lora.active_adapters if lora is not None else ():
        if name in lora.scaling:
            added += lora.get_delta_weight(name).detach().to(weight.dtype)
    return added.t().contiguous() if isinstance(layer.linear, Conv1D) else added


@contextmanager
def _weight_of(linear: Any, weight: torch.Tensor) -> Iterator[None]:
    """Another weight for a while; the old tensor itself comes back."""
    kept = linear.weight.data
    new = weight.t().contiguous() if isinstance(linear, Conv1D) else weight
    linear.weight.data = new.to(kept.dtype)
    try:
        yield
    finally:
        linear.weight.data = kept


@contextmanager
def _in_place_of(layer: _Layer, kernel: Any) -> Iterator[None]:
    """Another layer for a while."""
    setattr(layer.parent, layer.attribute, kernel)
    try:
        yield
    finally:
        setattr(layer.parent, layer.attribute, layer.linear)


def _kernel_takes(weight: torch.Tensor, bits: Bits, block: int) -> bool:
    """Whether bitsandbytes computes this right: its 4-bit products go wrong where a block reaches into the next row."""
    return bits == 8 or block == ROW or weight.shape[-1] % block == 0


def _kernel(linear: Any, weight: torch.Tensor, bits: Bits, block: int) -> Any:
    """The layer as bitsandbytes runs it."""
    bnb: Any = importlib.import_module("bitsandbytes")
    out, into = weight.shape
    has_bias = linear.bias is not None
    if bits == 8:
        made = bnb.nn.Linear8bitLt(into, out, bias=has_bias, has_fp16_weights=False, threshold=6.0)
        made.weight = bnb.nn.Int8Params(weight.detach().cpu().clone(), requires_grad=False, has_fp16_weights=False)
    else:
        made = bnb.nn.Linear4bit(into, out, bias=has_bias, compute_dtype=weight.dtype, quant_type="nf4")
        made.weight = bnb.nn.Params4bit(
            weight.detach().cpu().clone(),
            requires_grad=False,
            quant_type="nf4",
            blocksize=block or into,
            compress_statistics=False,
        )
    if has_bias:
        made.bias = torch.nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
    return made.to(weight.device)
