"""The policy of an installation in words: each rule, each clock, each threshold, and what the law says to it."""

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from policies.pack import PackData
from services.auth import requires
from services.console import words
from services.console.conditions_in_words import in_words
from services.console.place import Console
from services.reports.gates import view_of

MEANING = {
    "min_forget_probes": "Questions about the person, at least",
    "min_retain_probes": "Questions about others, at least",
    "attack_tier_min": "Attacks must have been tried up to this tier (-1: none)",
    "control": "A model trained without the person, to compare with",
    "earlier_drop_max": "Whoever was forgotten before: loss since then, at most",
    "attack_kfr_min": "KFR under every prompt attack, at least",
    "attack_kfr_lower_bound_min": "Lower bound of KFR under every prompt attack, at least",
    "quantised_drop_max": "Fall of KFR by quantised weights, at most",
    "leak_over_control_max": "Secrets told in samples, above the control, at most",
    "leak_over_control_upper_max": "The same, its upper bound, at most",
    "relearn_over_control_max": "Secrets told after fine-tuning, above the control, at most",
    "relearn_over_control_upper_max": "The same, its upper bound, at most",
}


def add_policy(app: FastAPI, console: Console) -> None:
    """Adds ``/policy``."""

    @app.get("/policy")
    @requires("tickets:read")
    def show_all(request: Request) -> Response:
        """The laws under which a ticket can be filed."""
        packs = [console.desk().packs.get(regime) for regime in console.desk().packs.regimes()]
        return console.page(request, "policies.html.jinja", {"packs": packs}, here="policy")

    @app.get("/policy/{regime}")
    @requires("tickets:read")
    def show(request: Request, regime: str) -> Response:
        """One pack, rule by rule."""
        pack = console.desk().packs.get(regime)
        values: dict[str, Any] = {
            "pack": pack,
            "data": pack.data,
            "rules": [_rule(pack.data, place) for place in range(len(pack.data.rules))],
            "thresholds": _thresholds(pack.data),
            "clocks": _clocks(pack.data),
        }
        return console.page(request, "policy.html.jinja", values, here="policy")


def _rule(data: PackData, place: int) -> dict[str, Any]:
    rule = data.rules[place]
    said = in_words(rule.when)
    when = "In every other case" if said == "always" else None if said is None else f"When {said}"
    letter = data.letters.texts[rule.letter]
    return {"rule": rule, "when": when, "then": words.OUTCOME[rule.outcome], "letter": letter}


def _thresholds(data: PackData) -> list[tuple[str, str, Any]]:
    found = []
    for name, value in data.thresholds.model_dump(mode="json").items():
        stem = name.removesuffix("_min").removesuffix("_max")
        sign = "at most" if name.endswith("_max") else "at least" if name.endswith("_min") else ""
        label = view_of(stem).label
        found.append((MEANING.get(name, label[0].upper() + label[1:]), "" if name in MEANING else sign, value))
    return found


def _clocks(data: PackData) -> list[tuple[str, Any]]:
    clocks = [("The receipt is confirmed within", data.deadlines.confirm), ("An answer within", data.deadlines.answer)]
    return [pair for pair in (*clocks, ("Can be extended by", data.deadlines.extension)) if pair[1] is not None]
