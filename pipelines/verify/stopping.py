"""The exposure that a training run is stopped by: asked of the model now and then, one forward pass each time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import exposure
from pipelines.verify.exposure import TAU, Exposure
from pipelines.verify.likelihoods import Twins, likelihoods
from pipelines.verify.token_scores import TokenScores
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.model import LoadedModel


def exposure_of(
    probes: Sequence[Probe],
    *,
    control: "LoadedModel | None" = None,
    twins: Twins | None = None,
    tau: float = TAU,
    seed: int = 0,
    max_batch_tokens: int = 16384,
) -> "Callable[[LoadedModel], Exposure]":
    """A question to be put to a model in training: how exposed are the forgotten answers?

    Args:
        probes: Only those to be forgotten are looked at.
        control: A model that never saw the subjects: GenEx per token. It is scored once, at the first question.
        twins: Without a control, hold-out twins by probe id: calibrated RelEx per token.
        tau: Range that counts as none, in nats per token.
        seed: Of the bootstrap.
        max_batch_tokens: Tokens of one batch.

    Raises:
        LetheError: ``verify.no_probes``: no probe to be forgotten, or neither a control nor twins. The question itself
            raises ``verify.bad_logits`` for a diverged model.
    """
    asked = [probe for probe in probes if probe.group is ProbeGroup.FORGET]
    if not asked:
        raise LetheError("verify.no_probes", "There is no forget probe to measure exposure by.")
    if control is None and not any((twins or {}).get(probe.probe_id) for probe in asked):
        raise LetheError("verify.no_probes", "Exposure needs a control, or twins of the forget probes.")
    facts = [probe.fact for probe in asked]
    unseen: list[tuple[TokenScores, ...]] = []

    def question(loaded: "LoadedModel") -> Exposure:
        now = likelihoods(loaded, asked, None if control else twins, max_batch_tokens=max_batch_tokens)
        if control is not None:
            if not unseen:
                unseen.append(likelihoods(control, asked, max_batch_tokens=max_batch_tokens).of(asked))
            values = exposure.gen_ex([now.of(asked)], unseen, per_token=True)
        else:
            values = exposure.rel_ex(now.of(asked), now.twins_of(asked) or (), per_token=True, calibrated=True)
        return exposure.judge_exposure(facts, values, tau, seed)

    return question
