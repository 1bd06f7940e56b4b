"""The result as one JSON object, of what is finished so far or of all: ids and figures only."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from pipelines.bench import attacking, candidates, figure, paper, results
from pipelines.bench.bases import Kind
from pipelines.bench.plan import ablations
from pipelines.bench.session import Session
from pipelines.bench.tasks import CONTROL, Task
from pipelines.bench.units import Finished
from pipelines.verify.attacks.port import AttackResult


@dataclass(frozen=True, slots=True)
class Done:
    """A task that came to an end, as it was done."""

    finished: Finished
    task: Task

    @property
    def result(self) -> dict[str, Any]:
        """What it came to."""
        return self.finished.result


def chosen(name: str, done: Mapping[str, Done]) -> tuple[float, float, int | None]:
    """The multiples that a method goes on with after its trials, and which trial that was; 1 and 1 without any."""
    trials = _trials(name, done)
    if not trials:
        return 1.0, 1.0, None
    best = figure.best_trial([one.result.get("figures", {}) for one in trials])
    return trials[best].task.rate, trials[best].task.passes, best


def result_of(
    session: Session, tasks: Sequence[Task], done: Mapping[str, Done], command: str, seconds: float, jobs: int
) -> dict[str, Any]:
    """The result.

    Args:
        session: Whose tasks they are.
        tasks: All that were planned.
        done: Those that came to an end, by unit.
        command: What a reader types.
        seconds: Wall time of this call.
        jobs: Tasks at a time.
    """
    settings = session.settings
    finals = {kind: finals_of(session.methods, kind, tasks, done) for kind in settings.kinds}
    bases = {kind: table_of(found) for kind, found in finals.items()}
    first = bases[settings.kinds[0]]
    relearn = results.best_relearn(first["table"])
    plain = {k: v for k, v in asdict(settings).items() if k != "recipe"}
    skipped = {unit for unit, one in done.items() if "failed" in one.result}
    missing = [t.unit for t in tasks if t.unit not in done and not skipped.intersection(t.needs)]
    return {
        "format": results.FORMAT,
        "smoke": settings.quick,
        "missing": missing,
        "note": results.SCRATCH_NOTE if settings.recipe.source == "scratch" else None,
        "command": command,
        "settings": {**plain, "recipe": settings.recipe.to_json()},
        "data": _data(session),
        "budget": {
            "trials_each": settings.trials,
            "grid": [list(one) for one in candidates.trials(settings.trials)],
            "final_seeds": list(settings.seeds),
            "attacked_seeds": settings.attack_seeds,
            "samples": settings.samples,
            "slice_people": settings.slice_people,
        },
        "centres": {name: asdict(candidates.centre(name)) for name in session.methods},
        "search": {name: _search(name, done) for name in session.methods},
        "bases": bases,
        "ablations": _ablations(done),
        "best_relearn": relearn,
        "first": results.first(first["table"]),
        "targets": results.targets(next((r for r in first["table"] if r["name"] == relearn), None)),
        "differences": [
            one
            for metric in ("p_kfr_fluent", "v_kfr_fluent")
            for one in (results.differences(finals[settings.kinds[0]]["methods"], relearn, metric) if relearn else ())
        ],
        "paper": {"note": paper.NOTE, "rows": results.paper_rows()},
        "machine": machine(session.device, jobs),
        "seconds": {
            "all": round(seconds, 1),
            "preparation": round(session.prepared, 1),
            "units": round(sum(one.finished.seconds for one in done.values()), 1),
            "units_cpu": round(sum(one.finished.cpu_seconds for one in done.values()), 1),
        },
    }


def _data(session: Session) -> dict[str, Any]:
    material, people = session.material, session.people
    return {
        "form": session.data.form,
        "rows": {part: len(found) for part, found in people.records.items()},
        "subjects": len(people.subjects),
        "guessed_rows": people.guessed,
        "uncovered": material.uncovered,
        "dropped": material.dropped,
        "augmented": material.counts(),
        "probes": {
            place: dict(Counter(p.probe_id.rpartition(":")[0].rpartition(":")[0] for p in asked.probes))
            for place, asked in session.judged.items()
        },
        "unseen_val": session.data.unseen_val,
    }


def _trials(name: str, done: Mapping[str, Done]) -> list[Done]:
    found = [one for one in done.values() if one.task.kind == "trial" and one.task.method == name]
    return sorted(found, key=lambda one: one.task.number)


def _search(name: str, done: Mapping[str, Done]) -> dict[str, Any]:
    rate, passes, best = chosen(name, done)
    trials = [{"rate": one.task.rate, "passes": one.task.passes, **one.result} for one in _trials(name, done)]
    return {"rate": rate, "passes": passes, "best": best, "trials": trials}


def _ablations(done: Mapping[str, Done]) -> list[dict[str, Any]]:
    found = sorted((one for one in done.values() if one.task.kind == "ablation"), key=lambda one: one.task.number)
    return [
        {
            "factor": ablations()[one.task.number][0],
            "method": one.task.method,
            **{key: value for key, value in one.result.items() if key != "subjects"},
        }
        for one in found
    ]


def finals_of(methods: Sequence[str], kind: Kind, tasks: Sequence[Task], done: Mapping[str, Done]) -> dict[str, Any]:
    """One base: figures of base and control by seed, the runs of every method, and how many of each are to come."""
    found: dict[str, Any] = {
        "bases": [],
        "controls": [],
        "methods": {name: [] for name in methods},
        "waiting": Counter(),
    }
    bases: dict[int, Mapping[str, float | None]] = {}
    controls: dict[int, list[AttackResult]] = {}
    attacks = {(task.seed, task.method): task for task in _of(tasks, "attack", kind)}
    for task in _of(tasks, "rows", kind):
        if task.unit in done and task.place == "whole":
            rows, seed = done[task.unit].result, task.seed
            controls[seed] = _attacks(attacks.get((seed, CONTROL)), done)
            bases[seed] = rows["base"]["figures"]
            figures = {**attacking.attack_figures(controls[seed]), **rows[CONTROL]["figures"]}
            found["bases"].append(results.with_ratios(bases[seed], bases[seed]))
            found["controls"].append(results.with_ratios(figures, bases[seed]))
    for task in _of(tasks, "final", kind):
        attack = attacks.get((task.seed, task.method))
        run = _run(task, attack, bases.get(task.seed, {}), controls.get(task.seed, ()), done)
        if run is not None:
            found["methods"][task.method].append(run)
        if run is None or "failed" not in run:
            found["waiting"][task.method] += sum(one.unit not in done for one in (task, attack) if one is not None)
    return found


def _run(
    task: Task,
    attack: Task | None,
    base: Mapping[str, float | None],
    control: Sequence[AttackResult],
    done: Mapping[str, Done],
) -> dict[str, Any] | None:
    """A final run with its attacks, beside base and control of its own seed; None where it is still to come."""
    if task.unit not in done:
        return None
    run = {**done[task.unit].result, "seed": task.seed}
    if "failed" in run:
        return run
    made = attacking.paired(_attacks(attack, done), control)
    figures = {**results.with_ratios(run["figures"], base), **attacking.attack_figures(made)}
    return {**run, "figures": figures, "attacks": attacking.slim(made)}


def _of(tasks: Sequence[Task], which: str, kind: Kind) -> list[Task]:
    return [task for task in tasks if task.kind == which and task.base == kind]


def _attacks(task: Task | None, done: Mapping[str, Done]) -> list[AttackResult]:
    if task is None or task.unit not in done:
        return []
    return attacking.from_json(done[task.unit].result.get("results", ()))


def table_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What ``finals_of`` found of one base, with the table of its means."""
    base, control = (results.mean_figures(found[which]) for which in ("bases", "controls"))
    return {
        "table": results.table(base, control, found["methods"], found["waiting"]),
        "runs": found["methods"],
        "seeds": len(found["bases"]),
    }


def machine(device: str, jobs: int) -> dict[str, Any]:
    """Where and with what the figures came about."""
    import torch

    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "cores": os.cpu_count(),
        "jobs": jobs,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
