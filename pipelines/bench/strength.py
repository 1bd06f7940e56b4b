"""How strongly an adapter may change its base: weakened until what stays is kept, so that utility is equal.

Model mixing of Wang et al. (arXiv 2406.09179, "Unlearning with Control"): ``(1 - s) base + s unlearnt``. A LoRA adapter
adds ``B A`` to a weight, so that the mixture is the adapter with ``s B``. Methods that gave up different amounts of
what stays cannot be compared; at the same utility they can.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipelines.bench import figure
from pipelines.bench.judging import Judged

STEPS = tuple(n / 20 for n in range(1, 20))  # 1 itself is the adapter as it was trained
BEFORE = ("utility", "p_kfr_fluent", "v_kfr")  # told of the adapter as it was trained
_WEIGHTS = "adapter_model.safetensors"


def at_equal_utility(adapter: Path, judged: Callable[[Path], Judged], keeps: Callable[[Path], bool]) -> Judged:
    """Judge an adapter; one that costs too much of what stays is weakened in its place until it no longer does.

    Args:
        adapter: Its directory. What lies there afterwards is what the figures are of.
        judged: Judges the adapter in a directory on all probes.
        keeps: Whether the one in a directory keeps the utility, by the retain probes alone.

    Returns:
        Its figures, and beside them the ``strength``, and ``trained_...`` for those of the adapter as it was trained.
        Where no strength keeps enough, it is left as it was.
    """
    trained = found = judged(adapter)
    other, strength = adapter.with_name("weakened"), 1.0
    if not figure.eligible(trained.figures):
        best = greatest(lambda one: keeps(weakened(adapter, one, other))) or 0.0
        # Answers hang a little on what is answered in the same batch: the retain probes alone may say one more.
        for one in [step for step in reversed(STEPS) if step <= best]:
            weaker = judged(weakened(adapter, one, other))
            if figure.eligible(weaker.figures):
                found, strength = weaker, one
                shutil.rmtree(adapter)
                other.rename(adapter)
                break
        shutil.rmtree(other, ignore_errors=True)
    before = {f"trained_{name}": trained.figures[name] for name in BEFORE}
    return replace(found, figures={**found.figures, **before, "strength": strength})


def weakened(adapter: Path, strength: float, out: Path) -> Path:
    """A copy of a LoRA adapter that changes its base by ``strength`` times as much.

    Args:
        adapter: A directory as PEFT saves it.
        strength: 0 to 1.
        out: Where the copy goes; what is there is replaced.

    Returns:
        ``out``.

    Raises:
        ValueError: The adapter holds more than the two factors of LoRA, which times ``strength`` is no mixture.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / _WEIGHTS)
    if strange := sorted(name for name in weights if ".lora_A." not in name and ".lora_B." not in name):
        raise ValueError(f"an adapter with {strange[0]} cannot be mixed with its base")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(adapter, out)
    mixed = {name: one * strength if ".lora_B." in name else one for name, one in weights.items()}
    save_file(mixed, out / _WEIGHTS, metadata={"format": "pt"})
    return out


def greatest(keeps: Callable[[float], bool]) -> float | None:
    """The greatest strength below 1 that keeps enough, found by halving in five looks at most.

    Args:
        keeps: Whether a strength does; taken to be so below one that does.

    Returns:
        None where not even the least does.
    """
    low, high = -1, len(STEPS)  # low keeps, high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(STEPS[middle]) else (low, middle)
    return STEPS[low] if low >= 0 else None
