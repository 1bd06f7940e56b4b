"""Every task of a run, in the order in which it tells most."""

from collections.abc import Sequence
from typing import Any

from pipelines.bench import candidates
from pipelines.bench.bases import Kind
from pipelines.bench.settings import BenchSettings
from pipelines.bench.tasks import CONTROL, Place, Task


def plan(settings: BenchSettings, methods: Sequence[str], *, sliced: bool) -> list[Task]:
    """Every task, each after those that it needs: the first base and seed with all methods, then the other seeds.

    Args:
        settings: What is run.
        methods: Who takes part, the most telling first.
        sliced: Whether the validation slice is other people than the whole.
    """
    tasks: list[Task] = []
    searched: Place = "slice" if sliced else "whole"
    for place, base in enumerate(settings.kinds):
        for number, seed in enumerate(settings.seeds if place == 0 else settings.seeds[:1]):
            first = place == 0 and number == 0
            attacked = place == 0 and number < settings.attack_seeds
            tasks += _models(base, seed, ("whole", "slice") if first and sliced else ("whole",))
            if attacked:
                tasks.append(_attack(base, seed, CONTROL))
            for name in methods:
                if first:
                    tasks += _trials(name, settings, searched)
                tasks += _final(name, base, seed, settings.trials, attacked=attacked)
    return [*tasks, *(_ablations(settings, searched) if settings.ablations else ())]


def ablations() -> list[tuple[str, str, dict[str, Any]]]:
    """Label, method and changes of each ablation, the centre first."""
    return [("the centre", "relearn_npo", {}), *((k, name, dict(v)) for k, (name, v) in candidates.ABLATIONS.items())]


def _models(base: Kind, seed: int, places: Sequence[Place]) -> list[Task]:
    both = (f"base-{base}-{seed}", f"{CONTROL}-{base}-{seed}")
    return [
        Task(unit=both[0], kind="base", base=base, seed=seed),
        Task(unit=both[1], kind="base", base=base, seed=seed, method=CONTROL),
        *(
            Task(unit=_rows(base, seed, place), kind="rows", base=base, seed=seed, place=place, needs=both)
            for place in places
        ),
    ]


def _trials(name: str, settings: BenchSettings, place: Place) -> list[Task]:
    base, seed = settings.kinds[0], settings.seeds[0]
    multiples = candidates.trials(settings.trials)
    return [
        Task(
            unit=f"trial-{name}-{number}",
            kind="trial",
            base=base,
            seed=seed,
            method=name,
            number=number,
            place=place,
            rate=rate,
            passes=passes,
            needs=(_rows(base, seed, place),),
        )
        for number, (rate, passes) in enumerate(multiples)
    ]


def _final(name: str, base: Kind, seed: int, trials: int, *, attacked: bool) -> list[Task]:
    unit = f"final-{base}-{seed}-{name}"
    needs = (_rows(base, seed, "whole"), *(f"trial-{name}-{n}" for n in range(trials)))
    made = [Task(unit=unit, kind="final", base=base, seed=seed, method=name, needs=needs)]
    return [*made, *([_attack(base, seed, name, unit)] if attacked else [])]


def _attack(base: Kind, seed: int, name: str, final: str | None = None) -> Task:
    needs = (final,) if final else (f"base-{base}-{seed}", f"{CONTROL}-{base}-{seed}")
    return Task(unit=f"attack-{base}-{seed}-{name}", kind="attack", base=base, seed=seed, method=name, needs=needs)


def _ablations(settings: BenchSettings, place: Place) -> list[Task]:
    base, seed = settings.kinds[0], settings.seeds[0]
    return [
        Task(
            unit=f"ablation-{number:02d}",
            kind="ablation",
            base=base,
            seed=seed,
            method=name,
            number=number,
            place=place,
            needs=(_rows(base, seed, place),),
        )
        for number, (_, name, _) in enumerate(ablations())
    ]


def _rows(base: Kind, seed: int, place: Place) -> str:
    return f"rows-{base}-{seed}-{place}"
