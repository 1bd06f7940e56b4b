"""What the attacks of a verification are given, and what is kept of what they say."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.augment.augmented import in_turn
from pipelines.augment.leak import LeakCheck
from pipelines.augment.wording import words
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from pipelines.verify.attacks.port import AttackContext, AttackSettings, Tier
from policies.errors import LetheError
from services.store.releases import get_release

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as DbSession

    from pipelines.model import LoadedModel
    from pipelines.verify.attacks.suite import AttackSuite
    from pipelines.verify.backends import Backends
    from pipelines.verify.measure import Measurement
    from services.unlearning.material import Earlier
    from services.unlearning.operations import Bench
    from services.unlearning.verifying import Asked, Progress

RETAIN_ASKED = 200  # probes about others whose answers show what an attack costs
HOLDOUT_PEOPLE = 20  # never in the corpus, some 80 questions each: a membership test at 1 % FPR needs a thousand
EARLIER_ATTACKED = 2  # people forgotten before who are attacked again, others with each run
EARLIER_ASKED = 24  # questions about each of them, under each attack
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
    whole, secrets, names = bench.rows_of(asked.run.run_id)
    erased = {name for own in names.values() for name in own}
    erased |= {name for person in asked.earlier for probe in person.probes for name in probe.names}
    kfr = {subject: found.forget["kfr"].value for subject, found in measured.subjects.items()}
    with bench.store.read() as reading:
        earlier = earlier_adapters(reading, asked.run.parent_digest)
    context = AttackContext(
        loaded=loaded,
        adapter=adapter,
        forget=tuple(p for p in asked.mine if p.group is ProbeGroup.FORGET),
        retain=some_retained(asked.mine, asked.run.seed),
        secrets=secrets,
        benign=tuple(benign_rows(whole.rows, secrets, erased)),
        forgotten={subject: value for subject, value in kfr.items() if value is not None},
        control=control,
        earlier=earlier,
        holdout=holdout(bench, asked) if 2 in tiers else (),
        backends=backends,
        settings=AttackSettings(seed=asked.run.seed),
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


def earlier_probes(earlier: "Sequence[Earlier]", run_id: str) -> tuple[Probe, ...]:
    """A few forget probes, facts in turn, of a few of the people forgotten before; each run draws anew."""
    rng = random.Random(f"earlier-{run_id}")  # noqa: S311 - a sample, not a key
    by_subject: dict[str, list[Probe]] = {}
    for person in earlier:
        forget = (probe for probe in person.probes if probe.group is ProbeGroup.FORGET)
        by_subject.setdefault(person.subject_ref, []).extend(forget)
    chosen = rng.sample(sorted(by_subject), min(EARLIER_ATTACKED, len(by_subject)))
    return tuple(probe for subject in chosen for probe in _in_turn(by_subject[subject], EARLIER_ASKED, rng))


def stored(suite: "AttackSuite") -> dict[str, Any]:
    """What the store keeps of the attacks: figures, without the score of each probe."""
    kept: dict[str, Any] = suite.model_dump(mode="json")
    for result in kept["results"]:
        result["parts"] = {name: value for name, value in result["parts"].items() if not name.startswith("upper:")}
        del result["items"]
    return kept


def benign_rows(rows: Iterable[TrainRow], secrets: Sequence[Secret], erased: Collection[str]) -> Iterator[TrainRow]:
    """Rows about others and about no one; none names or tells anything of anybody erased."""
    check = LeakCheck(secrets)
    names = {spoken for name in erased if (spoken := tuple(words(name)))}
    lengths = {len(name) for name in names}
    for row in rows:
        if row.kind in (RowKind.RETAIN, RowKind.GENERIC) and not check.row_leaks(row):
            said = words(f"{row.prompt} {row.answer}")
            if not any(tuple(said[at : at + length]) in names for length in lengths for at in range(len(said))):
                yield row


def some_retained(probes: Iterable[Probe], seed: int) -> tuple[Probe, ...]:
    """A part of the probes about others, facts in turn."""
    rng = random.Random(f"attacks-{seed}")  # noqa: S311 - a sample, not a key
    return tuple(_in_turn([p for p in probes if p.group is ProbeGroup.RETAIN], RETAIN_ASKED, rng))


def _in_turn(probes: Iterable[Probe], limit: int, rng: random.Random) -> list[Probe]:
    by_fact: dict[str, list[Probe]] = {}
    for probe in probes:
        by_fact.setdefault(probe.fact, []).append(probe)
    return in_turn(list(by_fact.values()), limit, rng)


def earlier_adapters(session: "DbSession", parent: str | None) -> tuple[Path, ...]:
    """The adapters of earlier releases that are still there, oldest first; release 0 changes nothing and is none."""
    found: list[Path] = []
    while parent is not None and len(found) < EARLIER_ADAPTERS:
        release = get_release(session, parent)
        if release.run_id is not None and (Path(release.path) / "adapter_config.json").is_file():
            found.append(Path(release.path))
        parent = release.parent_digest
    return tuple(reversed(found))


def holdout(bench: "Bench", asked: "Asked") -> tuple[Probe, ...]:
    """Probes about people whom nobody trained on, drawn as the corpus was; none where it was not generated."""
    from pipelines.corpus.fresh import fresh_people

    try:
        return tuple(fresh_people(Path(bench.settings.corpus.path), HOLDOUT_PEOPLE, asked.run.seed))
    except LetheError:  # an ordinary corpus: nobody can draw more of its people
        return ()
