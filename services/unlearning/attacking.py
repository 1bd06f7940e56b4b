"""What the attacks of a verification are given, and what is kept of what they say."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.verify.attacks.port import AttackContext, AttackSettings, Tier
from services.store.releases import get_release
from services.unlearning.samples import benign_rows, earlier_probes, holdout, some_retained

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as DbSession

    from pipelines.model import LoadedModel
    from pipelines.rows import Probe
    from pipelines.verify.attacks.suite import AttackSuite
    from pipelines.verify.backends import Backends
    from pipelines.verify.measure import Measurement
    from services.unlearning.operations import Bench
    from services.unlearning.verifying import Asked, Progress

HOLDOUT_PEOPLE = 20  # never in the corpus, some 80 questions each: a membership test at 1 % FPR needs a thousand
QUANTISED = "quantised"  # rounds the weights anew and asks the base too: for the run's people only
EARLIER_ADAPTERS = 10  # the newest releases that an interference is looked for with


@dataclass(frozen=True)
class Attacked:
    """What attacks came to; None where neither pack nor installation wants any, or nobody was forgotten before.

    Attributes:
        now: On the run's people.
        earlier: On a few of those forgotten before.
    """

    now: "AttackSuite | None" = None
    earlier: "AttackSuite | None" = None


def tiers_of(demanded: int, added: Iterable[int]) -> frozenset[Tier]:
    """Every tier up to the one that the packs demand, and whatever the installation adds: it can take none away."""
    return cast("frozenset[Tier]", frozenset({*range(demanded + 1), *added}))


def attack(
    bench: "Bench",
    asked: "Asked",
    loaded: "LoadedModel",
    adapter: Path,
    measured: "Measurement",
    *,
    backends: "Backends",
    control: "LoadedModel | None",
    progress: "Progress",
    should_cancel: Callable[[], bool],
) -> Attacked:
    """Attack the adapter on the run's people, and by the prompts of tier 0 on some of the people forgotten before.

    Args:
        bench: Base, store and settings.
        asked: The run's probes and thresholds.
        loaded: The base with the adapter on.
        adapter: Its directory; the results are kept beside it.
        measured: The adapter without any attack.
        backends: The judges.
        control: A model that never saw the run's people.
        progress: Told attack, done, total.
        should_cancel: Asked now and then.

    Raises:
        LetheError: ``unlearn.cancelled``.
    """
    from pipelines.verify.attacks.registry import attacks
    from pipelines.verify.attacks.suite import run_attacks

    tiers = tiers_of(asked.limits.attack_tier_min, bench.settings.verify.attack_tiers)
    if not tiers:
        return Attacked()
    context = _context(
        bench, asked, loaded, adapter, measured, holdout(bench, asked, HOLDOUT_PEOPLE) if 2 in tiers else ()
    )
    context = replace(
        context,
        backends=backends,
        control=control,
        progress=lambda name, done, total: progress(f"attack {name}", done, total),
        should_cancel=should_cancel,
    )
    suite = run_attacks(context, tiers=tiers, out_dir=adapter.parent / "attacks", key=asked.augmented)
    again = earlier_probes(asked.earlier, asked.run.run_id)
    if not again:
        return Attacked(suite)
    # A control and the rows of this run are about other people.
    before = replace(context, forget=again, control=None, benign=(), holdout=())
    return Attacked(
        suite,
        run_attacks(
            before,
            tiers=frozenset({0}),
            only=[one.name for one in attacks(frozenset({0})) if one.name != QUANTISED],
            out_dir=adapter.parent / "attacks-earlier",
            key=asked.augmented,
        ),
    )


def _context(
    bench: "Bench",
    asked: "Asked",
    loaded: "LoadedModel",
    adapter: Path,
    measured: "Measurement",
    unknown: "tuple[Probe, ...]",
) -> AttackContext:
    """What is attacked and with what, from the store; ``unknown`` are probes about people who were never there."""
    whole, secrets, names = bench.rows_of(asked.run.run_id)
    erased = {name for own in names.values() for name in own}
    erased |= {name for person in asked.earlier for probe in person.probes for name in probe.names}
    kfr = {subject: found.forget["kfr"].value for subject, found in measured.subjects.items()}
    with bench.store.read() as reading:
        earlier = earlier_adapters(reading, asked.run.parent_digest)
    return AttackContext(
        loaded=loaded,
        adapter=adapter,
        forget=asked.forget,
        retain=some_retained(asked.mine, asked.run.seed),
        secrets=secrets,
        erased=frozenset(erased),
        benign=tuple(benign_rows(whole.rows, secrets, erased)),
        forgotten={subject: value for subject, value in kfr.items() if value is not None},
        earlier=earlier,
        holdout=unknown,
        settings=AttackSettings(seed=asked.run.seed),
    )


def stored(suite: "AttackSuite") -> dict[str, Any]:
    """What the store keeps of the attacks: figures, without the score of each probe."""
    kept: dict[str, Any] = suite.model_dump(mode="json")
    for result in kept["results"]:
        result["parts"] = {name: value for name, value in result["parts"].items() if not name.startswith("upper:")}
        del result["items"]
    return kept


def earlier_adapters(session: "DbSession", parent: str | None) -> tuple[Path, ...]:
    """The adapters of earlier releases that are still there, oldest first; release 0 changes nothing and is none."""
    found: list[Path] = []
    while parent is not None and len(found) < EARLIER_ADAPTERS:
        release = get_release(session, parent)
        if release.run_id is not None and (Path(release.path) / "adapter_config.json").is_file():
            found.append(Path(release.path))
        parent = release.parent_digest
    return tuple(reversed(found))
