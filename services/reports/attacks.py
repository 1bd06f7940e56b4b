"""Point 8's attacks and control: what a verification kept of them, as one ticket's report shows it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from pipelines.gates.attacks import QUANTISED, RELEARNING
from services.reports.part import Part, Token, Words

Results = Mapping[str, Any]


class AttackPart(Part):
    """One attack, in one variant, on the subject of the report."""

    name: Token
    tier: int = Field(ge=0, le=2)
    measure: Token | None = Field(default=None, description="What value is: kfr, leak_at_k, hits, any_of_k, auc …")
    better: Literal["higher", "lower", "none"]
    state: Literal["measured", "undecided", "not_run"]
    value: float | None = None
    bound: float | None = Field(default=None, description="One-sided 95 % bound on the side that matters.")
    before: float | None = Field(default=None, description="The same figure without the attack.")
    control: float | None = Field(default=None, description="The same attack on a model that never saw the subject.")
    n: int = Field(default=0, ge=0)
    facts: int = Field(default=0, ge=0)
    undecided: int = Field(default=0, ge=0)
    worst: float | None = Field(default=None, description="The same figure of the worst subject of the run.")
    limit: Words | None = Field(default=None, description="What the policy allows; None: it decides nothing.")
    result: Literal["pass", "fail", "undecided", "not_run"] | None = Field(default=None, description="Of its gate.")
    decides: bool = False
    reason: Words | None = None
    seconds: float = Field(default=0.0, ge=0)
    parts: dict[Token, float | None] = Field(default_factory=dict)
    source: str = Field(default="", max_length=300)
    note: Words | None = None


class AttacksPart(Part):
    """Everything that was tried, and what was not."""

    tiers: tuple[int, ...]
    seconds: float = Field(ge=0)
    summary: Words
    worst: Words | None = None
    tried: tuple[AttackPart, ...]
    not_run: tuple[Words, ...] = ()


class ControlPart(Part):
    """The control that was compared with."""

    name: Token
    digest: Token
    source: Token = Field(description="trained here, or added.")
    seed: int | None = None
    records_left_out: int = Field(ge=0)
    same_corpus: bool | None = None


class FigurePart(Part):
    """One figure beside the control: how far the released model is from one that never saw the subject."""

    figure: Words
    state: Literal["measured", "undecided", "not_run"]
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    items: int = Field(ge=0)
    facts: int = Field(ge=0)
    undecided: int = Field(ge=0)
    note: Words | None = None


_BESIDE = {
    "forget_quality": "forget quality: p of the KS test of truth ratios",
    "privleak": "privleak, per cent",
    "uds": "UDS: erased inside, of what the control lacks",
}


def attacks_of(found: Results, subject: str) -> AttacksPart | None:
    """The attacks of a verification, with the figures of one subject; None where none were tried."""
    suite = found.get("attacks")
    if not suite or not suite["results"]:
        return None
    verdict = found.get("verdict", {})
    gates, limits = _gates(verdict.get("gates", ()), subject), verdict.get("thresholds", {})
    tried = tuple(_attack(result, subject, gates, limits) for result in suite["results"])
    carried_out = [one for one in tried if one.state == "measured"]
    tiers = tuple(suite["tiers"])
    return AttacksPart(
        tiers=tiers,
        seconds=float(suite["seconds"]),
        summary=f"{len(carried_out)} of tier {', '.join(map(str, tiers))}, in {suite['seconds']:.1f} s of wall time",
        worst=_worst(carried_out),
        tried=tried,
        not_run=tuple(f"{shown(name)}: {why or 'no reason given'}" for name, why in suite["not_run"].items()),
    )


def control_of(found: Results) -> tuple[ControlPart | None, tuple[str, ...] | None, str | None]:
    """The control, else the figures that are missing without one, and why there is none where somebody wanted one."""
    told = found.get("control")
    if not told:
        return None, None, None
    if told["state"] == "measured":
        return ControlPart(**{name: told[name] for name in ControlPart.model_fields}), None, None
    why = f"No control could be had: {told['why']}." if told["why"] else None
    return None, tuple(told["missing"]), why


def beside_of(found: Results, subject: str) -> tuple[FigurePart, ...] | None:
    """The figures of one subject beside the control; None where there was none, or the verdict is from before them."""
    measured = found.get("verdict", {}).get("metrics", {}).get("subjects", {}).get(subject, {})
    if "beside_control" not in measured:
        return None
    return tuple(
        FigurePart(
            figure=_BESIDE.get(name, name),
            items=one["n"],
            **{field: one[field] for field in ("state", "value", "lower", "upper", "facts", "undecided", "note")},
        )
        for name, one in measured["beside_control"].items()
    )


def shown(name: str) -> str:
    """An attack's name in words."""
    return name.replace("_", " ").replace(":", ": ")


def _gates(gates: Sequence[Mapping[str, Any]], subject: str) -> dict[str, Mapping[str, Any]]:
    mine = [gate for gate in gates if gate["name"].startswith("attack:") and gate["subject"] in (subject, None)]
    return {gate["name"].removeprefix("attack:"): gate for gate in mine}


def _attack(
    result: Mapping[str, Any], subject: str, gates: Mapping[str, Mapping[str, Any]], limits: Mapping[str, Any]
) -> AttackPart:
    by_subject = result["subjects"]
    mine = by_subject.get(subject, result)
    better = result["direction"]
    gate = gates.get(result["name"])
    return AttackPart(
        name=result["name"],
        tier=result["tier"],
        measure=result["measure"],
        better=better,
        state=result["state"],
        value=mine["value"],
        bound=None if mine["value"] is None else mine["lower" if better == "higher" else "upper"],
        before=result["before"],
        control=result["control"] if mine.get("control") is None else mine["control"],
        n=mine["n"],
        facts=mine["facts"],
        undecided=mine["undecided"],
        worst=by_subject[result["worst"]]["value"] if result["worst"] in by_subject else None,
        limit=_limit(result, gate, limits) if gate else None,
        result=gate["state"] if gate else None,
        decides=bool(gate and gate["required"]),
        reason=gate["reason"] if gate else None,
        seconds=result["seconds"],
        # A token has no "@", so that no address fits: leak@16 is leak_at_16 here.
        parts={name.replace("@", "_at_"): value for name, value in result["parts"].items()},
        source=result["source"],
        note=result["note"] or None,
    )


def _limit(result: Mapping[str, Any], gate: Mapping[str, Any], limits: Mapping[str, Any]) -> str | None:
    """What the policy allows: of the figure, and of its bound where the verdict knew any."""
    limit = gate["threshold"]
    if limit is None:
        return None
    if result["measure"] != "kfr":
        tuned = result["name"].startswith(RELEARNING)
        bound = limits.get("relearn_over_control_upper_max" if tuned else "leak_over_control_upper_max")
        over = "above the control" if result["control"] is not None else "in all"
        return f"at most {limit:g} {over}" + ("" if bound is None else f", its bound {bound:g}")
    least = limits.get("attack_kfr_lower_bound_min")
    words = f"a fall of at most {limit:g}" if result["name"].startswith(QUANTISED) else f"at least {limit:g}"
    return words if least is None else f"{words}, KFR's bound {least:g}"


def _worst(tried: Sequence[AttackPart]) -> str | None:
    """The attack that told most of the subject, among those whose figure is a share of secrets."""
    told = [(share, one.name) for one in tried if (share := _share_told(one)) is not None]
    if not told:
        return None
    share, name = max(told)
    return f"{shown(name)} brought out a share of {share:.3f} of the secrets" if share else "no secret was brought out"


def _share_told(one: AttackPart) -> float | None:
    if one.value is None or one.measure not in {"kfr", "leak_at_k", "hits", "any_of_k"}:
        return None
    return 1 - one.value if one.measure == "kfr" else one.value
