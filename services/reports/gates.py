"""How each gate of a verdict is shown: its name in words, which way is better, and what it is compared with."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class GateView(NamedTuple):
    """The words and the scale of one gate.

    ``before`` says what the mark "before" means: the base's own value (``base``), 1 by definition because the value is
    a ratio (``one``), or nothing (``none``).
    """

    label: str
    better: Literal["higher", "lower"]
    before: Literal["base", "one", "none"]
    group: Literal["forgotten", "kept", "fluent", "other"]


VIEWS: dict[str, GateView] = {
    "base_knew": GateView("The base knew the subject (its own KFR)", "lower", "none", "other"),
    "kfr": GateView("Forgotten: KFR", "higher", "base", "forgotten"),
    "kfr_lower_bound": GateView("Forgotten: lower bound of KFR", "higher", "base", "forgotten"),
    "other_value": GateView("Answers with another person's private value", "lower", "none", "forgotten"),
    "krr_ratio": GateView("Others kept: KRR against the base", "higher", "one", "kept"),
    "own_public_ratio": GateView("Own public facts kept, against the base", "higher", "one", "kept"),
    "earlier_kfr": GateView("An earlier subject's KFR: drop since its release", "lower", "none", "kept"),
    "earlier_own_public": GateView("An earlier subject's public facts: drop", "lower", "none", "kept"),
    "earlier_named": GateView("An earlier subject still named: drop since its release", "lower", "none", "kept"),
    "earlier_fluent": GateView("An earlier subject's answers fluent: drop", "lower", "none", "kept"),
    "earlier_attack": GateView("An earlier subject's KFR under the worst attack", "higher", "none", "kept"),
    "ls_ratio": GateView("Fluency: LS against the reference", "higher", "one", "fluent"),
    "ppl_ratio": GateView("Fluency: perplexity against the reference", "lower", "one", "fluent"),
    "repeat_ratio": GateView("Fluency: repeated 4-grams against the reference", "lower", "one", "fluent"),
    "subject_named": GateView("Fluency: answers that name the subject", "higher", "none", "fluent"),
    "attack_tier": GateView("Attacks tried, as the policy demands", "higher", "none", "other"),
    "control": GateView("Control: KFR of a model that never saw the subject", "higher", "none", "other"),
}


def view_of(name: str) -> GateView:
    """The view of a gate; a gate that is new to this report keeps its own name."""
    return VIEWS.get(name, GateView(name.replace("_", " "), "higher", "none", "other"))


def before_of(gate: Mapping[str, Any]) -> float | None:
    """Where the gate stood before, on the scale of its value."""
    before = view_of(gate["name"]).before
    if before == "one":
        return 1.0
    value = gate.get("base") if before == "base" else None
    return None if value is None else float(value)
