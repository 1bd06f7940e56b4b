"""Whether training once more could close what a verdict left open: hours are spent only where it could."""

from collections.abc import Iterable

from pipelines.gates.gate import Gate

# Open for want of something that no training gives: a control, a tier of attacks, people whom the base knew, probes or
# judges enough. Missed with a figure (``fail``) they are the adapter's own.
_GIVEN = frozenset(
    {
        "attack_tier",
        "base_knew",
        "control",
        "kfr",
        "kfr_lower_bound",
        "krr_ratio",
        "own_public_ratio",
        "subjects",
    }
)


def could_help(gates: Iterable[Gate]) -> bool:
    """Whether another adapter could be accepted where this one was not.

    It could not where any required gate is open for a reason that lies outside the adapter: that gate stays open
    whatever is trained, and every required one has to pass.

    Args:
        gates: Of the verdict.
    """
    missed = [gate for gate in gates if gate.required and gate.state != "pass"]
    return bool(missed) and not any(_outside(gate) for gate in missed)


def _outside(gate: Gate) -> bool:
    if gate.state == "fail":
        return False
    if not gate.within_reach:
        return True
    # An attack without its material (no rows, too few facts) has none the next time either.
    return gate.name in _GIVEN or (gate.name.startswith("attack:") and gate.state == "not_run")
