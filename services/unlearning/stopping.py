"""When a training may stop early: the exposure of the run's gold answers, asked while it trains."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.rows import ProbeGroup
from services.unlearning import comparing, verifying
from services.unlearning.protocol import Session

if TYPE_CHECKING:
    from pipelines.model import LoadedModel
    from pipelines.unlearn.settings import UnlearnSettings
    from pipelines.verify.exposure import Exposure
    from services.unlearning.operations import Bench


def exposure_of(
    bench: "Bench", session: Session, run_id: str, settings: "UnlearnSettings"
) -> "Callable[[LoadedModel], Exposure] | None":
    """Measures how exposed the gold answers are: against the control where there is one, else against twins.

    The questions are the held-out ones, so that no run stops because its own training questions have fallen silent.

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

    asked = verifying.load(bench, run_id)
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
