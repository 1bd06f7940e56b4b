"""One row of the table: what a model says to every probe, in figures, for both lists of probes."""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.bench.people import People
from pipelines.bench.probes import LISTS, Probes, list_of
from pipelines.generation import generate
from pipelines.model import LoadedModel
from pipelines.rows import ProbeGroup
from pipelines.verify.answers import answer_of
from pipelines.verify.backends import Backends
from pipelines.verify.fluency import FLUENT_PPL_TIMES, FLUENT_REPEAT_MAX
from pipelines.verify.kfr_krr import coverages, krr
from pipelines.verify.measure import Measurement, MeasureSettings, measure
from pipelines.verify.references import reference_texts
from pipelines.verify.results import Item, MetricResult

Which = Literal["adapter", "base"]
FORGET_KEYS = {
    "kfr": "kfr",
    "kfr_paper": "kfr@paper",
    "kfr_fluent": "kfr_fluent",
    "ls": "ls",
    "ppl": "ppl_median",
    "repeat": "repeated_4grams",
    "named": "subject_named",
    "es": "extraction_strength",
    "gen_ex": "gen_ex_token",
    "rel_ex": "rel_ex_token",
    "rouge": "rouge_l",
}
BOUNDED = ("kfr", "kfr_fluent", "es", "gen_ex", "rel_ex")
TWINS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One model on all probes.

    Attributes:
        figures: By name: ``p_kfr``, ``v_kfr_low``, ``p_krr``, ``utility`` and so on; None where not measured.
        subjects: By subject and name, for paired differences.
        seconds: Wall time.
    """

    figures: dict[str, float | None]
    subjects: dict[str, dict[str, float]]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {"figures": self.figures, "subjects": self.subjects, "seconds": round(self.seconds, 1)}


def judge(
    loaded: LoadedModel,
    probes: Probes,
    *,
    backends: Backends,
    which: Which = "adapter",
    control: LoadedModel | None = None,
    twins: Mapping[str, Sequence[str]] | None = None,
    base: Mapping[str, float | None] | None = None,
) -> Judged:
    """Ask every probe and score every answer.

    Args:
        loaded: The model, its adapter on.
        probes: Both lists.
        backends: The judges; one object for all rows, since it caches embeddings.
        which: Whether the adapter answers or the base alone.
        control: For GenEx; None where the row is the control's own.
        twins: For RelEx, by probe id.
        base: The base's figures, for the utility; None for the base's own row, whose utility is 1.
    """
    asked = probes.by_list()
    found = measure(
        loaded,
        asked,
        backends=backends,
        which=which,
        reference_texts=reference_texts(asked),
        control=control,
        twins=dict(twins or {}),
    ).measurement
    figures = _figures(found)
    figures["utility"] = _utility(figures, base)
    return Judged(figures=figures, subjects=_by_subject(found, probes), seconds=sum(found.seconds.values()))


def utility_of(
    loaded: LoadedModel, probes: Probes, *, backends: Backends, base: Mapping[str, float | None]
) -> float | None:
    """The utility that ``judge`` would find, from the answers to the retain probes alone; None where there are none."""
    retain = [probe for probe in probes.probes if probe.group is ProbeGroup.RETAIN]
    texts = generate(loaded, [probe.question for probe in retain], max_new_tokens=MeasureSettings().max_new_tokens)
    answers = [answer_of(probe, text) for probe, text in zip(retain, texts, strict=True)]
    return _utility(_kept(krr(answers, coverages(answers, backends), backends).items), base)


def twins_of(people: People, probes: Probes) -> dict[str, tuple[str, ...]]:
    """What others' rows answer to the same question, with this subject's name: answers that nobody learnt for it.

    The model has seen them about others, which makes them likelier than fresh ones would be, and RelEx lower. A row
    whose question nobody else is asked has no twins, and no RelEx.
    """
    names = {subject.ref: subject.name for subject in people.subjects}
    by_form: dict[str, list[tuple[str, str]]] = {}
    form_of: dict[str, str] = {}
    for record in people.records["full"]:
        name = names[people.about[record.record_id]]
        form = (record.question or "").replace(name, "{name}")
        form_of[record.record_id] = form
        if name in record.answer and "{name}" in form:
            by_form.setdefault(form, []).append((record.record_id, record.answer.replace(name, "{name}")))
    made: dict[str, tuple[str, ...]] = {}
    for probe in probes.probes:
        if probe.group is not ProbeGroup.FORGET or not probe.names:
            continue
        others = [
            text.replace("{name}", probe.names[0])
            for record_id, text in by_form.get(form_of.get(probe.fact, ""), ())
            if people.about[record_id] != people.about[probe.fact]
        ]
        if others:
            rng = random.Random(probe.fact)  # noqa: S311 - a sample, not a key
            made[probe.probe_id] = tuple(rng.sample(others, min(TWINS, len(others))))
    return made


def fluent_items(forget: Mapping[str, MetricResult], reference_ppl: float | None) -> list[Item]:
    """Which answers are fluent, by the rule of KFR_fluent, from the items of the metrics."""
    ppl = {item.probe: item.score for item in forget["ppl_median"].items}
    empty = {item.probe: item.score for item in forget["empty"].items}
    made = []
    for item in forget["repeated_4grams"].items:
        strange = reference_ppl is not None and (ppl.get(item.probe) or 0.0) > FLUENT_PPL_TIMES * reference_ppl
        fluent = not empty.get(item.probe) and (item.score or 0.0) <= FLUENT_REPEAT_MAX and not strange
        made.append(Item(probe=item.probe, fact=item.fact, score=float(fluent)))
    return made


def _figures(found: Measurement) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for which in LISTS:
        subject = found.subjects.get(which)
        forget = subject.forget if subject else {}
        for name, key in FORGET_KEYS.items():
            result = forget.get(key)
            figures[f"{which}_{name}"] = result.value if result else None
            if name in BOUNDED:
                figures[f"{which}_{name}_low"] = result.lower if result else None
                figures[f"{which}_{name}_high"] = result.upper if result else None
        reference = subject.reference if subject else {}
        for name in ("ls", "ppl", "repeat"):
            key = FORGET_KEYS[name]
            figures[f"{which}_{name}_reference"] = reference[key].value if key in reference else None
        fluent = [one.score or 0.0 for one in fluent_items(forget, figures[f"{which}_ppl_reference"])] if forget else []
        figures[f"{which}_fluent"] = statistics.fmean(fluent) if fluent else None
    return figures | _kept(found.retain["krr"].items if "krr" in found.retain else ())


def _kept(items: Sequence[Item]) -> dict[str, float | None]:
    """KRR of each list."""
    made: dict[str, float | None] = {}
    for which in LISTS:
        scores = [item.score for item in items if list_of(item.probe) == which and item.score is not None]
        made[f"{which}_krr"] = statistics.fmean(scores) if scores else None
    return made


def _utility(figures: Mapping[str, float | None], base: Mapping[str, float | None] | None) -> float | None:
    """Mean over the two lists of KRR as a share of the base's, each at most 1: a gain on one pays no loss on the other.

    The same holds between seeds, since each run's own utility is made here.
    """
    if base is None:
        return 1.0
    shares = [
        min(1.0, now / before)
        for which in LISTS
        if (now := figures.get(f"{which}_krr")) is not None and (before := base.get(f"{which}_krr"))
    ]
    return statistics.fmean(shares) if shares else None


def _by_subject(found: Measurement, probes: Probes) -> dict[str, dict[str, float]]:
    owner = {probe.probe_id: probe.subject for probe in probes.probes}
    scores: dict[str, dict[str, list[float]]] = {}
    for which, subject in found.subjects.items():
        for name in ("kfr", "kfr_fluent"):
            for item in subject.forget[name].items:
                if item.score is not None and (ref := owner[item.probe]) is not None:
                    scores.setdefault(ref, {}).setdefault(f"{which}_{name}", []).append(item.score)
    return {ref: {name: statistics.fmean(found) for name, found in named.items()} for ref, named in scores.items()}
