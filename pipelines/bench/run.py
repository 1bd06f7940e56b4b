"""The whole benchmark: search, final runs with their attacks, ablations, result."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.bench import attacking, candidates, figure, paper, results
from pipelines.bench.bases import Kind
from pipelines.bench.session import Models, Session, device_type, material_of
from pipelines.bench.settings import BenchSettings
from pipelines.bench.sources import Dataset
from pipelines.bench.units import Told
from pipelines.model import with_adapter
from pipelines.progress import Reporter
from pipelines.verify.attacks.port import AttackResult


def run_benchmark(
    data: Dataset,
    settings: BenchSettings,
    out: Path,
    *,
    command: str = "",
    tell: Callable[[Told], None] | None = None,
    training: Reporter | None = None,
) -> dict[str, Any]:
    """Run what is not finished yet in ``out`` and put the result together.

    Args:
        data: The data set.
        settings: What is run.
        out: Output directory; finished units in it are kept.
        command: For the result: what a reader types.
        tell: Progress of the whole.
        training: Progress of bases.

    Returns:
        The result as JSON: ids and figures only.

    Raises:
        LetheError: ``bench.no_people``, ``bench.bad_settings``, ``bench.probes_overlap``, ``unlearn.unknown_method``.
    """
    began = time.monotonic()
    session = Session.open(data, settings, out, tell, training)
    chosen = search(session)
    finals = final_runs(session, chosen)
    ablations = ablation_runs(session)
    return result_of(session, chosen, finals, ablations, command, time.monotonic() - began)


def search(session: Session) -> dict[str, dict[str, Any]]:
    """By method: the multiples that it goes on with, and every trial."""
    tried = candidates.trials(session.settings.trials) if session.settings.trials else ()
    if not tried:
        return {name: {"rate": 1.0, "passes": 1.0, "trials": []} for name in session.methods}
    chosen: dict[str, dict[str, Any]] = {}
    with session.models(*session.searched()) as models:
        for name in session.methods:
            runs = []
            for number, (rate, passes) in enumerate(tried):
                settings = candidates.settings_of(name, models.seed, rate=rate, passes=passes)
                run = session.erased("trial", f"trial-{name}-{number}", name, settings, session.slice, models, "slice")
                runs.append({"rate": rate, "passes": passes, **run})
            best = figure.best_trial([run.get("figures", {}) for run in runs])
            chosen[name] = {"rate": tried[best][0], "passes": tried[best][1], "best": best, "trials": runs}
    return chosen


def final_runs(session: Session, chosen: Mapping[str, Mapping[str, Any]]) -> dict[Kind, dict[str, Any]]:
    """Every method on every base and seed, with its attacks, by base."""
    found: dict[Kind, dict[str, Any]] = {}
    for place, kind in enumerate(session.settings.kinds):
        seeds = session.settings.seeds if place == 0 else session.settings.seeds[:1]
        made: dict[str, Any] = {"bases": [], "controls": [], "methods": {name: [] for name in session.methods}}
        for number, seed in enumerate(seeds):
            with session.models(kind, seed) as models:
                _seed(session, models, chosen, made, attacked=place == 0 and number < session.settings.attack_seeds)
        found[kind] = made
    return found


def _seed(
    session: Session, models: "Models", chosen: Mapping[str, Mapping[str, Any]], made: dict[str, Any], *, attacked: bool
) -> None:
    control = session.attack("control", models, models.control, Path(models.control.path), ()) if attacked else []
    rows = models.rows["whole"]
    made["bases"].append(rows["base"])
    theirs = attacking.attack_figures(control)
    made["controls"].append({**rows["control"], "figures": {**theirs, **rows["control"]["figures"]}})
    for name in session.methods:
        settings = candidates.settings_of(name, models.seed, rate=chosen[name]["rate"], passes=chosen[name]["passes"])
        unit = f"final-{models.kind}-{models.seed}-{name}"
        run = session.erased("final", unit, name, settings, session.material, models, "whole")
        attacks: list[AttackResult] = []
        if attacked and "failed" not in run:
            adapter = session.out / "adapters" / unit / "adapter"
            with with_adapter(models.base, adapter) as adapted:
                attacks = session.attack(name, models, adapted, adapter, control)
        if "failed" not in run:
            run = {**run, "figures": {**run["figures"], **attacking.attack_figures(attacks)}}
        made["methods"][name].append({**run, "seed": models.seed, "attacks": attacking.slim(attacks)})


def ablation_runs(session: Session) -> list[dict[str, Any]]:
    """One factor at a time on the validation slice, beside the centre."""
    if not session.settings.ablations:
        return []
    made = []
    with session.models(*session.searched()) as models:
        plan: dict[str, tuple[str, dict[str, Any]]] = {"the centre": ("relearn_npo", {}), **candidates.ABLATIONS}
        for number, (label, (name, changes)) in enumerate(plan.items()):
            changes = dict(changes)
            questions = changes.pop("neighbour_questions", None)
            material = session.slice
            if questions is not None:
                material = material_of(session.slice.people, session.data, session.settings, questions)
            settings = candidates.settings_of(name, models.seed, **changes)
            unit = f"ablation-{number:02d}"
            run = session.erased("ablation", unit, name, settings, material, models, "slice")
            made.append({"factor": label, "method": name, **{k: v for k, v in run.items() if k != "subjects"}})
    return made


def result_of(
    session: Session,
    chosen: Mapping[str, Mapping[str, Any]],
    finals: Mapping[Kind, Mapping[str, Any]],
    ablations: list[dict[str, Any]],
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """Everything as one JSON object."""
    settings = session.settings
    bases = {kind: _base_result(found) for kind, found in finals.items()}
    first = bases[settings.kinds[0]]
    relearn = results.best_relearn(first["table"])
    leading = next((row["name"] for row in first["table"] if row["rank"] == 1), None)
    plain = {k: v for k, v in asdict(settings).items() if k != "recipe"}
    return {
        "format": results.FORMAT,
        "smoke": settings.quick,
        "note": results.SCRATCH_NOTE if settings.recipe.source == "scratch" else None,
        "command": command,
        "settings": {**plain, "recipe": settings.recipe.to_json()},
        "data": {
            "form": session.data.form,
            "rows": {part: len(found) for part, found in session.people.records.items()},
            "subjects": len(session.people.subjects),
            "guessed_rows": session.people.guessed,
            "uncovered": session.material.uncovered,
            "dropped": session.material.dropped,
            "augmented": session.material.counts(),
            "probes": dict(
                Counter(p.probe_id.rpartition(":")[0].rpartition(":")[0] for p in session.material.probes.probes)
            ),
            "unseen_val": session.data.unseen_val,
        },
        "budget": {
            "trials_each": len(candidates.trials(settings.trials)) if settings.trials else 0,
            "grid": [list(one) for one in candidates.trials(settings.trials)] if settings.trials else [],
            "final_seeds": list(settings.seeds),
            "attacked_seeds": settings.attack_seeds,
            "samples": settings.samples,
            "slice_people": settings.slice_people,
        },
        "centres": {name: asdict(candidates.centre(name)) for name in session.methods},
        "search": chosen,
        "bases": bases,
        "ablations": ablations,
        "best_relearn": relearn,
        "first": leading,
        "targets": results.targets(next((r for r in first["table"] if r["name"] == relearn), None)),
        "differences": [
            one
            for metric in ("p_kfr_fluent", "v_kfr_fluent")
            for one in (results.differences(finals[settings.kinds[0]]["methods"], relearn, metric) if relearn else ())
        ],
        "paper": {"note": paper.NOTE, "rows": results.paper_rows()},
        "machine": machine(session.settings.device),
        "seconds": {"all": round(seconds, 1), "preparation": round(session.prepared, 1)},
    }


def _base_result(found: Mapping[str, Any]) -> dict[str, Any]:
    base = results.mean_figures([one["figures"] for one in found["bases"]])
    control = results.mean_figures([one["figures"] for one in found["controls"]])
    return {
        "table": results.table(base, control, found["methods"]),
        "runs": found["methods"],
        "seeds": len(found["bases"]),
    }


def machine(device: str | None) -> dict[str, Any]:
    """Where and with what the figures came about."""
    import torch

    where = device_type(device)
    return {
        "device": torch.cuda.get_device_name() if where.startswith("cuda") else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
