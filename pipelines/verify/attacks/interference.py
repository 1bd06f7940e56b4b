"""How far this adapter works in the same directions as earlier ones: weights only, nothing is generated."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pipelines.verify.attacks.asking import stop_if_cancelled
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.scoring import not_run
from policies.errors import LetheError

if TYPE_CHECKING:
    from torch import Tensor

NOTE = "an adapter that was trained on from an earlier one overlaps with it by design: read it beside the earlier KFR"


class Overlap(NamedTuple):
    """Two adapters, over the modules that both change.

    ``a``: the largest ``‖A_i A_jᵀ‖ / (‖A_i‖ ‖A_j‖)``, within 0..1. ``b``: the same of ``B``. ``cosine``: of the two
    changes of the weights, all modules together, within -1..1.
    """

    a: float
    b: float
    cosine: float
    modules: int


class Factors(NamedTuple):
    """One module's LoRA: ``a`` (rank, inputs), ``b`` (outputs, rank)."""

    a: "Tensor"
    b: "Tensor"


def overlap(one: Mapping[str, Factors], other: Mapping[str, Factors]) -> Overlap | None:
    """Compare two adapters; None where they change no module in common, or one changes nothing."""
    shared = [
        (one[name], other[name])
        for name in sorted(one.keys() & other.keys())
        if one[name].a.shape[1] == other[name].a.shape[1] and one[name].b.shape[0] == other[name].b.shape[0]
    ]
    ours = math.sqrt(sum(_inner(f, f) for f in one.values()))
    theirs = math.sqrt(sum(_inner(f, f) for f in other.values()))
    if not shared or not ours or not theirs:
        return None
    return Overlap(
        a=max(_share(mine.a, their.a) for mine, their in shared),
        b=max(_share(mine.b.T, their.b.T) for mine, their in shared),
        cosine=max(-1.0, min(1.0, sum(_inner(mine, their) for mine, their in shared) / (ours * theirs))),
        modules=len(shared),
    )


def _inner(one: Factors, other: Factors) -> float:
    """``<B_i A_i, B_j A_j>`` without either product: the sum of ``(B_iᵀ B_j) * (A_i A_jᵀ)``."""
    return float(((one.b.T @ other.b) * (one.a @ other.a.T)).sum())


def _share(one: "Tensor", other: "Tensor") -> float:
    norms = float(one.norm() * other.norm())
    return float((one @ other.T).norm()) / norms if norms else 0.0


def factors(adapter: Path) -> dict[str, Factors]:
    """The LoRA of every module, in double precision.

    Raises:
        LetheError: ``adapter.not_loadable``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {name: tensor.double() for name, tensor in load_file(adapter / "adapter_model.safetensors").items()}
        names = {name.partition(".lora_A")[0] for name in tensors if ".lora_A" in name}
        return {
            name: Factors(tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]) for name in sorted(names)
        }
    except (OSError, KeyError, SafetensorError) as error:
        raise LetheError("adapter.not_loadable", "An adapter to compare with cannot be read.") from error


@attack
class Interference:
    """Overlap with each earlier adapter. Whether anybody earlier comes back is measured by their own KFR."""

    name: ClassVar[str] = "interference"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2407.10223"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result: the largest overlap of A over earlier adapters; B and the cosine are its parts."""
        found: list[Overlap] = []
        own = factors(context.adapter) if context.earlier else {}
        for earlier in context.earlier:
            stop_if_cancelled(context)
            if (one := overlap(own, factors(earlier))) is not None:
                found.append(one)
        if not found:
            why = (
                "no earlier adapter changes what this one changes" if context.earlier else "there is no earlier adapter"
            )
            nothing = not_run(self.name, self.tier, "interference", why, source=self.source, direction="lower")
            yield nothing.model_copy(update={"inapplicable": True})
            return
        yield AttackResult(
            name=self.name,
            tier=self.tier,
            measure="interference",
            value=max(one.a for one in found),
            n=len(found),
            direction="lower",
            source=self.source,
            budget={"adapters": float(len(found))},
            parts={
                "a": max(one.a for one in found),
                "b": max(one.b for one in found),
                "cosine": max((one.cosine for one in found), key=abs),
                "modules": float(max(one.modules for one in found)),
            },
            note=NOTE,
        )
