"""When a training may stop early: the exposure of the run's gold answers, asked while it trains."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.augment.probes import STOPPING, excluded_questions, probes_from_records
from pipelines.augment.wording import normalised_question
from pipelines.corpus.index import SubjectIndex
from pipelines.rows import Probe, ProbeGroup
from services.corpus_index import index_path
from services.unlearning import comparing, material, verifying
from services.unlearning.protocol import Session

if TYPE_CHECKING:
    from pipelines.model import LoadedModel
    from pipelines.unlearn.settings import UnlearnSettings
    from pipelines.verify.exposure import Exposure
    from services.unlearning.operations import Bench

QUESTIONS = 240  # about each of the run's people


def exposure_of(
    bench: "Bench", session: Session, run_id: str, settings: "UnlearnSettings"
) -> "Callable[[LoadedModel], Exposure] | None":
    """Measures how exposed the gold answers are: against the control where there is one, else against twins.

    The questions are worded as neither a training row nor a probe of the verdict is: no run stops because its own
    training questions have fallen silent, and none is decided by the questions that it stopped on.

    Args:
        bench: Base, store and settings.
        session: A required control is trained now if there is none yet: told of its progress, and asked for a cancel.
        run_id: Whose probes.
        settings: Of the training; with ``stop_tau`` 0 nothing is asked, and None is returned.

    Raises:
        LetheError: ``unlearn.cancelled``.
    """
    if settings.stop_tau <= 0:
        return None
    from pipelines.verify.exposure import gen_ex, judge_exposure, rel_ex
    from pipelines.verify.likelihoods import likelihoods

    asked = _asked_anew(bench, verifying.load(bench, run_id))
    probes = [probe for probe in asked.mine if probe.group is ProbeGroup.FORGET]
    facts = [probe.fact for probe in probes]
    control = comparing.control_of(bench, asked, verifying.teller(session, "control"), session.should_cancel).loaded
    if control is not None:
        unseen = likelihoods(control, probes).of(probes)

        def against_control(loaded: "LoadedModel") -> "Exposure":
            now = likelihoods(loaded, probes).of(probes)
            return judge_exposure(facts, gen_ex([now], [unseen], True), settings.stop_tau, settings.seed)

        return against_control
    others = comparing.twins_of(bench, asked)

    def against_twins(loaded: "LoadedModel") -> "Exposure":
        found = likelihoods(loaded, probes, others)
        values = rel_ex(found.of(probes), found.twins_of(probes) or [()] * len(probes), True, calibrated=True)
        return judge_exposure(facts, values, settings.stop_tau, settings.seed)

    return against_twins


def _asked_anew(bench: "Bench", asked: verifying.Asked) -> verifying.Asked:
    """With other questions about what the run's people want forgotten, in the place of the verdict's."""
    with SubjectIndex(index_path(bench.installation)) as index, bench.store.read() as reading:
        subjects = material.load_subjects(reading, asked.run.run_id, index)
    rows = bench.rows_of(asked.run.run_id)[0].rows
    known = excluded_questions(asked.probes) | {normalised_question(row.prompt) for row in rows}
    made = (probe for subject in subjects for probe in _of(subject, asked.run.seed))
    mine = [probe for probe in made if normalised_question(probe.question) not in known]
    verdict = {probe.probe_id for probe in asked.mine if probe.group is ProbeGroup.FORGET}
    return replace(asked, probes=(*mine, *(probe for probe in asked.probes if probe.probe_id not in verdict)))


def _of(subject: material.Subject, seed: int) -> tuple[Probe, ...]:
    return probes_from_records(
        subject.forget,
        group=ProbeGroup.FORGET,
        subject=subject.subject_ref,
        names=subject.names,
        seed=seed,
        limit=QUESTIONS,
        wordings=STOPPING,
    )
