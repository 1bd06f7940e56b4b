"""One erasure in a world: trained, measured and decided as the product does it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.gates.subject import REPEAT_FLOOR
from pipelines.model import LoadedModel, with_adapter
from pipelines.rows import Probe, ProbeGroup
from pipelines.studies.world import Case, World, earlier_secrets, probes_now, run_rows
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.verdict import EarlierRelease, Verdict, decide
from pipelines.verify.backends import Backends
from pipelines.verify.measure import Measured, Measurement, Progress, measure
from pipelines.verify.references import reference_texts
from pipelines.verify.results import MetricResult
from policies.thresholds import Thresholds


@dataclass(frozen=True)
class Outcome:
    """One erasure: what was trained, what was decided, and the figures of everyone forgotten so far.

    ``table`` is by subject, see ``figures``. ``samples`` are some questions with the adapter's answers: personal data,
    to be shown and not to be written.
    """

    subject: str
    trained: TrainResult
    verdict: Verdict
    table: Mapping[str, Mapping[str, float | None]]
    rows: Mapping[str, int]
    prepare_seconds: float
    measure_seconds: float
    samples: Sequence[tuple[str, str]]


def measured(
    world: World,
    loaded: LoadedModel,
    probes: Sequence[Probe],
    which: str,
    judges: Backends,
    progress: Progress | None = None,
) -> Measured:
    """The model's answers to the probes, measured as the verdict measures: ``which`` is ``base`` or ``adapter``."""
    values = [r.value for r in world.records.values() if r.value and (r.category or "").startswith("private.")]
    return measure(
        loaded,
        probes,
        backends=judges,
        which="base" if which == "base" else "adapter",
        reference_texts=reference_texts(probes),
        other_values=values,
        progress=progress,
    )


def figures(now: Measurement, base: Measurement, subject: str) -> dict[str, float | None]:
    """One person's figures: KFR with its bound, and what is kept, each as a share of the base's or the reference's."""
    mine, before = now.subjects[subject], base.subjects[subject]
    forget, reference = mine.forget, mine.reference
    return {
        "kfr": value_of(forget, "kfr"),
        "kfr_low": forget["kfr"].lower,
        "hit": value_of(forget, "value_in_output"),
        "krr": ratio(value_of(now.retain, "krr"), value_of(base.retain, "krr")),
        "own": ratio(value_of(mine.own_public, "krr"), value_of(before.own_public, "krr")),
        "ls": ratio(value_of(forget, "ls"), value_of(reference, "ls")),
        "ppl": ratio(value_of(forget, "ppl_median"), value_of(reference, "ppl_median")),
        "repeat": ratio(
            value_of(forget, "repeated_4grams"), max(value_of(reference, "repeated_4grams") or 0, REPEAT_FLOOR)
        ),
        "named": value_of(forget, "subject_named"),
        "fluent": value_of(forget, "kfr_fluent"),
        "other": value_of(forget, "other_value"),
    }


def value_of(found: Mapping[str, MetricResult], key: str) -> float | None:
    """A metric's value; None where it was not measured."""
    return found[key].value if key in found else None


def ratio(new: float | None, old: float | None) -> float | None:
    """``new / old``; None where either is not known or ``old`` is 0."""
    return None if new is None or not old else new / old


def holding(outcome: Outcome) -> dict[str, float | None]:
    """How well everyone holds after an erasure, for the choice of the next one's replay: see ``score``."""
    return {subject: score(line) for subject, line in outcome.table.items()}


def score(line: Mapping[str, float | None]) -> float | None:
    """The lower of KFR and share of answers that name the person; None where either is not known."""
    found = [line.get("kfr"), line.get("named")]
    return None if None in found else min(value for value in found if value is not None)


def erase(
    world: World,
    case: Case,
    gone: Sequence[Case],
    earlier: Mapping[str, EarlierRelease],
    settings: UnlearnSettings,
    *,
    budget: int,
    start: Path | None,
    out: Path,
    judges: Backends,
    scores: Mapping[str, float | None] | None = None,
) -> Outcome:
    """Train, measure, decide.

    Args:
        world: Corpus and base.
        case: Who is to be forgotten.
        gone: Who was forgotten before; they are replayed and measured again.
        earlier: What those reached in their own releases.
        settings: Of the trainer.
        budget: Replay rows of everyone in ``gone`` together.
        start: Adapter of the last release; None is the bare base.
        out: Working directory of the run.
        judges: Keep one object for a whole study.
        scores: How well those in ``gone`` hold: who holds worst is replayed first.

    Raises:
        LetheError: As ``pipelines.unlearn.trainer.unlearn`` and ``pipelines.verify.measure.measure``.
    """
    secrets = [*case.secrets, *earlier_secrets(gone, case.names)]
    rows = run_rows(case, gone, budget, settings.seed, scores)
    trained = unlearn(world.loaded, rows, secrets, settings, out_dir=out, start_from=start)
    began = time.monotonic()
    probes = probes_now(case, gone)
    base = measured(world, world.loaded, probes, "base", judges).measurement
    with with_adapter(world.loaded, trained.adapter) as adapted:
        now = measured(world, adapted, probes, "adapter", judges)
    verdict = decide(now.measurement, base, Thresholds(), subjects=[case.subject], earlier=earlier)
    asked = [probe for probe in case.probes if probe.group is ProbeGroup.FORGET][:4]
    return Outcome(
        subject=case.subject,
        trained=trained,
        verdict=verdict,
        table={one.subject: figures(now.measurement, base, one.subject) for one in (case, *gone)},
        rows=dict(trained.rows),
        prepare_seconds=case.seconds,
        measure_seconds=time.monotonic() - began,
        samples=[(probe.question, now.texts[probe.probe_id]) for probe in asked],
    )
