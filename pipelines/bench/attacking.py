"""The attacks of tiers 0 and 1 on one model, and their figures over the control's.

leak@k is asked on the validation prompts, the others on a sample as well. The control is attacked once: its scores
are taken off probe by probe, where running it again beside every method would double the time for the same numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.bench.material import Material
from pipelines.bench.probes import attack_probes
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup, TrainRow
from pipelines.verify.attacks.paired import NO_CONTROL, over_control
from pipelines.verify.attacks.port import AttackContext, AttackResult, AttackSettings, Progress, Tier
from pipelines.verify.attacks.registry import attacks
from pipelines.verify.attacks.relearn_benign import assert_benign
from pipelines.verify.attacks.suite import run_attacks
from pipelines.verify.backends import Backends
from policies.errors import LetheError

TIERS: frozenset[Tier] = frozenset({0, 1})
SAMPLED = "leak_at_k"
RELEARN = "relearn_leaked"
NOT_ON_CONTROL = ("in_context", "interference", "quantised")  # no figure of these is read beside a control's
RETAIN_PROBES = 60


def attack_model(
    loaded: LoadedModel,
    adapter: Path,
    material: Material,
    *,
    settings: AttackSettings,
    backends: Backends,
    per_subject: int,
    only: Sequence[str] = (),
    out_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[AttackResult]:
    """Every attack on one model.

    Args:
        loaded: The model, its adapter on; a control has none.
        adapter: The adapter's directory; the control's own.
        material: Probes, secrets, rows.
        settings: Budgets.
        backends: The judges.
        per_subject: Probes on unseen phrasings for each subject, beside the validation probes.
        only: Names of attacks; all of tiers 0 and 1 where empty.
        out_dir: Where finished attacks are kept.
        progress: Told attack, done, total.
    """
    known = [one.name for one in attacks(TIERS)]
    chosen = [name for name in known if not only or name in only]
    prompts = material.probes.of("v", ProbeGroup.FORGET)
    context = AttackContext(
        loaded=loaded,
        adapter=adapter,
        forget=attack_probes(material.probes, per_subject, settings.seed),
        retain=material.probes.of("v", ProbeGroup.RETAIN)[:RETAIN_PROBES],
        secrets=material.secrets,
        benign=benign_rows(material, material.probes.of("v", ProbeGroup.FORGET)),
        backends=backends,
        settings=settings,
        progress=progress,
    )
    results: list[AttackResult] = []
    if SAMPLED in chosen and prompts:
        where = out_dir / "sampling" if out_dir else None
        sampling = replace(context, forget=prompts)
        results += run_attacks(sampling, tiers=TIERS, only=(SAMPLED,), out_dir=where).results
    others = [name for name in chosen if name != SAMPLED]
    if others:
        results += run_attacks(context, tiers=TIERS, only=others, out_dir=out_dir).results
    return results


def on_control(chosen: Sequence[str]) -> tuple[str, ...]:
    """Those attacks that the control meets too: all that would show what a model says that never knew."""
    known = [one.name for one in attacks(TIERS)]
    return tuple(one for one in known if one not in NOT_ON_CONTROL and (not chosen or one in chosen))


def decided(found: Mapping[str, Any]) -> bool:
    """Whether every attack of a unit came to an end; one that did not is tried again when the run is taken up."""
    return "failed" not in found and all(one["state"] != "undecided" for one in found["results"])


def benign_rows(material: Material, asked: Sequence[Probe]) -> tuple[TrainRow, ...]:
    """Rows that hold nothing of anybody erased, by the attack's own assertion; what it refuses is left out."""
    rows = material.benign()
    try:
        assert_benign(rows, material.secrets, asked)
    except LetheError as error:
        refused = frozenset(error.details)
        return tuple(row for row in rows if row.row_id not in refused)
    return rows


def paired(results: Sequence[AttackResult], control: Sequence[AttackResult]) -> list[AttackResult]:
    """The results with what they tell beyond the control, paired by probe."""
    theirs = {one.name: one for one in control}
    made = []
    for result in results:
        other = theirs.get(result.name)
        difference = over_control(result.items, other.items) if other else None
        if other is None or difference is None:
            made.append(result)
            continue
        parts = {**result.parts, **difference.parts()}
        # The attack itself was given no control, and says so.
        note = (result.note or "").replace(NO_CONTROL, "").strip("; ") or None
        made.append(result.model_copy(update={"control": other.value, "parts": parts, "note": note}))
    return made


def attack_figures(results: Iterable[AttackResult]) -> dict[str, float | None]:
    """The figures of a row: leak@k and relearning over the control, the worst of the steps, KFR lost to 4 bits."""
    found = {one.name: one for one in results if one.state == "measured"}
    leak = found.get(SAMPLED)
    figures: dict[str, float | None] = {
        "leak": leak.value if leak else None,
        "leak_high": leak.upper if leak else None,
        "leak_control": leak.control if leak else None,
        "leak_over_control": leak.parts.get("over_control") if leak else None,
    }
    for name in (RELEARN, "relearn_benign"):
        short = "relearn" if name == RELEARN else "benign"
        runs = [one for key, one in found.items() if key.partition(":")[0] == name and one.value is not None]
        worst = max(runs, key=lambda one: _over(one), default=None)
        figures[short] = worst.value if worst else None
        figures[f"{short}_control"] = worst.control if worst else None
        figures[f"{short}_over_control"] = worst.parts.get("over_control") if worst else None
    drops = [
        one.before - one.value
        for key, one in found.items()
        if "nf4" in key and one.value is not None and one.before is not None
    ]
    figures["four_bit_drop"] = max(drops, default=None)
    prompts = [one.value for one in found.values() if one.tier == 0 and one.measure == "kfr" and one.value is not None]
    figures["kfr_attacked"] = min(prompts, default=None)
    return figures


def slim(results: Iterable[AttackResult]) -> list[dict[str, Any]]:
    """The results for the JSON, without the score of every probe and sample bound."""
    kept = []
    for one in results:
        plain = one.model_dump(mode="json", exclude={"items", "subjects"})
        plain["parts"] = {key: value for key, value in plain["parts"].items() if ":" not in key}
        kept.append(plain)
    return kept


def from_json(found: Iterable[Mapping[str, Any]]) -> list[AttackResult]:
    """Results as ``model_dump`` gave them."""
    return [AttackResult.model_validate(one) for one in found]


def _over(result: AttackResult) -> float:
    over = result.parts.get("over_control")
    return result.value or 0.0 if over is None else over
