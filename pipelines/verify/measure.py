"""Measure a model on its probes: one pass of batched generation, one of teacher forcing, every metric from these.

The result is JSON with ids and figures only. The texts are returned beside it, for the sealed store.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import results
from pipelines.verify.answers import answer_of
from pipelines.verify.backends import Backends
from pipelines.verify.kfr_krr import coverages
from pipelines.verify.likelihoods import Compared, Likelihoods, Twins, likelihoods
from pipelines.verify.measurement import Measurement, MeasureSettings, SubjectMeasurement, Which
from pipelines.verify.relative import against_base
from pipelines.verify.results import Item, MetricResult
from pipelines.verify.scorer import Scorer
from pipelines.verify.values import ValueIndex
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

__all__ = [
    "MeasureSettings",
    "Measured",
    "Measurement",
    "SubjectMeasurement",
    "base_nll",
    "cheap_pass",
    "measure",
    "score_texts",
]

Progress = Callable[[str, int, int], None]  # stage, done, of how many
Reference = Mapping[str, str] | Sequence[str]


class Measured(NamedTuple):
    """A measurement, the answers by probe id, and the likelihoods.

    The answers are personal data and go to the sealed store only. The base's likelihoods can be given to the
    measurement of its adapter.
    """

    measurement: Measurement
    texts: dict[str, str]
    likelihoods: Likelihoods | None = None


def measure(
    loaded: "LoadedModel",
    probes: Sequence[Probe],
    *,
    backends: Backends,
    which: Literal["adapter", "base"] = "adapter",
    reference_texts: Reference = (),
    other_values: Iterable[str] | ValueIndex = (),
    twins: Twins | None = None,
    control: "LoadedModel | None" = None,
    base: Measured | Likelihoods | None = None,
    likelihood: bool = True,
    settings: MeasureSettings | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Ask every probe, score every answer.

    Args:
        loaded: The model with its adapter on; the base is the same model with the adapter disabled, no second copy.
        probes: Forget and own-public probes of all subjects (earlier ones too), and retain probes.
        backends: The judges; keep one object for the base's and the adapter's row.
        which: Whether the adapter answers, or the base alone.
        reference_texts: Well-formed hedged sentences that neither base nor augmenter used: by probe id, or a list
            that is dealt to the forget probes in order.
        other_values: Private values of everybody else.
        twins: Wrong answers of the same form, by probe id (``pipelines.verify.twins``); without them truth ratio and
            RelEx are not run.
        control: A model that never saw the subjects; without one GenEx is not run.
        base: The base's own row on the same probes: ratios to it are then among the metrics, and its likelihoods are
            used again. Likelihoods alone serve too; without either they are computed.
        likelihood: Whether to teacher-force the gold answers too; without, likelihood metrics are not run.
        settings: Of generation and bounds.
        progress: Told stage, done, total after each batch; what it raises (a cancel) ends the measurement.

    Raises:
        LetheError: ``verify.no_probes``, ``verify.model_unavailable`` or ``verify.bad_logits``.
    """
    chosen = settings or MeasureSettings()
    _check(probes)
    started = time.perf_counter()
    texts = _answers(loaded, probes, which, chosen, _stage(progress, "generate"))
    generated = time.perf_counter()
    forget = [probe for probe in probes if probe.group is ProbeGroup.FORGET]
    reference = _deal(reference_texts, forget)
    asked = [(p.question, texts[p.probe_id]) for p in forget]
    asked += [(p.question, reference[p.probe_id]) for p in forget if p.probe_id in reference]
    told = _stage(progress, "likelihood")
    nll = base_nll(loaded, asked, settings=chosen, progress=told)
    before = base.likelihoods if isinstance(base, Measured) else base
    compared = _compare(loaded, probes, which, twins, control, before, chosen, told) if likelihood else None
    likely = time.perf_counter()
    measurement = score_texts(
        probes,
        texts,
        backends=backends,
        which=which,
        reference_texts=reference,
        nll=nll,
        other_values=other_values,
        compared=compared,
        settings=chosen,
        progress=progress,
    )
    seconds = {
        "generate": generated - started,
        "likelihood": likely - generated,
        "score": time.perf_counter() - likely,
    }
    measurement = measurement.model_copy(update={"seconds": seconds})
    if isinstance(base, Measured):
        measurement = against_base(measurement, base.measurement)
    return Measured(measurement, texts, compared.now if compared else None)


def _answers(
    loaded: "LoadedModel",
    probes: Sequence[Probe],
    which: Literal["adapter", "base"],
    settings: MeasureSettings,
    progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    """The greedy answer to every probe, by its id."""
    from pipelines import generation

    with loaded.adapter_disabled() if which == "base" else _as_is():
        responses = generation.generate(
            loaded,
            [probe.question for probe in probes],
            max_new_tokens=settings.max_new_tokens,
            max_batch_tokens=settings.max_batch_tokens,
            progress=progress,
        )
    return {probe.probe_id: response for probe, response in zip(probes, responses, strict=True)}


def _compare(
    loaded: "LoadedModel",
    probes: Sequence[Probe],
    which: Literal["adapter", "base"],
    twins: Twins | None,
    control: "LoadedModel | None",
    base: Likelihoods | None,
    settings: MeasureSettings,
    progress: Callable[[int, int], None] | None,
) -> Compared:
    """The gold answers under the model, under its base and under the control."""
    how: Any = {"max_batch_tokens": settings.max_batch_tokens, "progress": progress}
    with loaded.adapter_disabled() if which == "base" else _as_is():
        now = likelihoods(loaded, probes, twins, lens=True, **how)
    if which == "base":
        base = now
    elif base is None:
        with loaded.adapter_disabled():
            base = likelihoods(loaded, probes, **how)
    unseen = likelihoods(control, probes, **how) if control is not None else None
    return Compared(now=now, base=base, control=unseen)


def base_nll(
    loaded: "LoadedModel",
    pairs: Sequence[tuple[str, str]],
    *,
    settings: MeasureSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, str], float]:
    """Mean negative log-likelihood per token of each answer after its question, under the base; each pair once.

    Raises:
        LetheError: ``verify.bad_logits``.
    """
    from pipelines.verify.teacher_forced import teacher_forced

    unique = list(dict.fromkeys((query, text) for query, text in pairs if text.strip()))
    room = (settings or MeasureSettings()).max_batch_tokens
    with loaded.adapter_disabled():
        scores = teacher_forced(loaded, unique, max_batch_tokens=room, progress=progress)
    return {pair: mean for pair, s in zip(unique, scores, strict=True) if (mean := s.nll_mean) is not None}


def score_texts(
    probes: Sequence[Probe],
    texts: Mapping[str, str],
    *,
    backends: Backends,
    which: Which = "texts",
    reference_texts: Reference = (),
    nll: Mapping[tuple[str, str], float] | None = None,
    other_values: Iterable[str] | ValueIndex = (),
    compared: Compared | None = None,
    settings: MeasureSettings | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Every metric from answers that are already there: no model is asked.

    Args:
        probes: As in ``measure``.
        texts: The answer of each probe id.
        backends: The judges.
        which: Whose answers they are.
        reference_texts: As in ``measure``.
        nll: Mean negative log-likelihood by (question, answer); without it whatever needs perplexity is not run.
        other_values: Private values of everybody else.
        compared: Likelihoods of the gold answers; without them likelihood metrics are not run.
        settings: Seed of the bounds.
        progress: Told stage, done, total.

    Raises:
        LetheError: ``verify.no_probes``, ``verify.misaligned`` (a probe without an answer, or likelihoods of other
            probes) or ``verify.model_unavailable``.
    """
    chosen = settings or MeasureSettings()
    _check(probes)
    if missing := sum(probe.probe_id not in texts for probe in probes):
        raise LetheError("verify.misaligned", f"{missing} probes have no answer.")
    likely = nll or {}
    answers = [answer_of(p, texts[p.probe_id], likely.get((p.question, texts[p.probe_id]))) for p in probes]
    found = coverages(answers, backends)
    forget = [probe for probe in probes if probe.group is ProbeGroup.FORGET]
    scorer = Scorer(
        probes=probes,
        answers=answers,
        coverage=found,
        backends=backends,
        reference=_deal(reference_texts, forget),
        nll=likely,
        others=_index(other_values, reference_texts),
        compared=compared,
        seed=chosen.seed,
    )
    subjects: dict[str, SubjectMeasurement] = {}
    names = list(dict.fromkeys(probe.subject or "" for probe in forget))
    for done, subject in enumerate(names, start=1):
        subjects[subject] = scorer.subject(subject)
        if progress:
            progress("score", done, len(names))
    return Measurement(
        which=which, backends=backends.names(), settings=chosen, subjects=subjects, retain=scorer.retain()
    )


def cheap_pass(
    loaded: "LoadedModel", probes: Sequence[Probe], *, settings: MeasureSettings | None = None
) -> dict[str, MetricResult]:
    """How likely the model still finds each subject's gold answers: one forward pass, no generation.

    Returns:
        By subject, the mean negative log-likelihood per token of the gold answers (``gold_nll``, higher is better
        forgotten), to be compared with the subject's own release and with the base.

    Raises:
        LetheError: ``verify.bad_logits``.
    """
    forget = [probe for probe in probes if probe.group is ProbeGroup.FORGET]
    chosen = settings or MeasureSettings()
    found = likelihoods(loaded, forget, max_batch_tokens=chosen.max_batch_tokens)
    items: dict[str, list[Item]] = {}
    for probe, score in zip(forget, found.of(forget), strict=True):
        item = Item(probe=probe.probe_id, fact=probe.fact, score=score.nll_mean)
        items.setdefault(probe.subject or "", []).append(item)
    return {
        subject: results.mean("gold_nll", rows, direction="higher", source="docs/metrics.md", seed=chosen.seed)
        for subject, rows in items.items()
    }


def _check(probes: Sequence[Probe]) -> None:
    if not any(probe.group is ProbeGroup.FORGET for probe in probes):
        raise LetheError("verify.no_probes", "There is no forget probe to measure.")
    if len({probe.probe_id for probe in probes}) != len(probes):
        raise LetheError("verify.no_probes", "Two probes have the same id.")


def _deal(texts: Reference, forget: Sequence[Probe]) -> dict[str, str]:
    """One reference sentence for each forget probe; a short list is dealt again and again."""
    if isinstance(texts, Mapping):
        return dict(texts)
    return {p.probe_id: texts[i % len(texts)] for i, p in enumerate(forget)} if texts else {}


def _index(values: Iterable[str] | ValueIndex, reference: Reference) -> ValueIndex | None:
    if isinstance(values, ValueIndex):
        return values
    index = ValueIndex(values, spared=reference.values() if isinstance(reference, Mapping) else reference)
    return index if index.size else None


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)


def _as_is() -> AbstractContextManager[object]:
    return nullcontext()
