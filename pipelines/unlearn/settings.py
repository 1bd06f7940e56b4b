"""What an unlearning run may be told."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from policies.errors import LetheError

KlDirection = Literal["model_reference", "reference_model"]
KlMask = Literal["answer", "all_real_tokens"]
RetainLoss = Literal["nll", "kl"]
_CHOICES = {
    "kl_direction": get_args(KlDirection),
    "kl_mask": get_args(KlMask),
    "retain_loss": get_args(RetainLoss),
}
_SHARES = ("warmup", "replay_share")
_POSITIVE = (
    "rank",
    "alpha",
    "learning_rate",
    "warm_learning_rate",
    "passes",
    "lead_weight",
    "warm_passes",
    "min_steps",
    "max_steps",
    "batch_tokens",
    "max_length",
    "npo_beta",
    "leak_steps",
    "leak_length",
    "leak_tokens",
    "dpo_beta",
    "simnpo_beta",
    "rmu_coefficient",
    "undial_beta",
    "clip",
    "reference_top_k",
    "checkpoint_every",
    "cancel_every",
    "report_every",
    "diverged_margin",
    "diverged_patience",
    "stop_every",
)
_NOT_NEGATIVE = ("reference_bytes", "simnpo_delta", "wga_beta", "satimp_beta1", "satimp_beta2", "stop_tau")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlearnSettings:
    """Settings of the trainer; docs/unlearning.md says on whom the defaults were chosen.

    Attributes:
        method: A registered method (docs/unlearning.md lists them).
        rank: Of the LoRA; a warm start keeps the rank of its adapter.
        alpha: Its scale.
        learning_rate: Peak of a cold start.
        warm_learning_rate: Where a warm start begins; it only falls from there.
        passes: How often a cold start sees the augmented rows: steps grow with them.
        warm_passes: The same for a warm start.
        min_steps: At least so many steps.
        max_steps: At most so many steps.
        batch_tokens: Padded tokens of one forward pass.
        max_length: Longer rows are cut, and counted.
        augmented_weight: Of the cross-entropy on augmented, generic and replay rows.
        retain_weight: Of the loss on retain rows: alpha in the literature.
        lead_weight: How often an answer's first token counts in the cross-entropies. It decides whether the answer is
            a vague one, and has a thirtieth of the weight in a plain mean over tokens.
        copy_weight: How often any other token that its question has too counts in the cross-entropy on a vague answer.
        kl_weight: Of the KL divergence from the base on retain rows.
        kl_direction: ``model_reference`` is KL(model ‖ base), as the paper has it; the other way as its code has it.
        kl_mask: Where it is taken: at ``answer`` tokens, or at ``all_real_tokens``, the prompt's too; never at padding.
        replay_share: Replay rows are repeated until they are this share of the rows about people.
        npo_weight: Of the NPO term of ``relearn_npo``.
        npo_beta: Temperature of NPO, in both.
        leak_weight: Of the NPO term that ``relearn_robust`` takes after a rehearsed leak of other facts.
        leak_kl_weight: Of its KL divergence, in the place of ``kl_weight``: what is lowered through a leak lies nearer
            to what stays.
        leak_retain_weight: Its ``retain_weight``.
        leak_copy_weight: Its ``copy_weight``.
        leak_steps: Steps of the rehearsed leak to each of the run.
        leak_length: Steps of the run after which another half of the facts leaks, from the start.
        leak_tokens: Padded tokens of a batch, of the leak and of the term after it.
        dpo_weight: Of the DPO term of ``relearn_dpo``.
        dpo_beta: Temperature of DPO.
        forget_weight: Of the forget term of the methods that are no ReLearn: gamma in the literature.
        retain_loss: What those methods do with retain rows: cross-entropy (``nll``) or the KL from the base (``kl``).
        simnpo_weight: The forget weight of SimNPO.
        simnpo_beta: Its temperature.
        simnpo_delta: Its margin, in nats per token.
        rmu_layer: Layer whose output RMU steers, counted from 0; -1: the one that ends the first half.
        rmu_coefficient: Length of its control vector.
        undial_beta: What UNDIAL takes off the logit of the forgotten token.
        undial_retain_weight: The retain weight of UNDIAL.
        wga_beta: How much less WGA pulls at tokens that are unlikely already.
        satimp_weight: The forget weight of SatImp.
        satimp_beta1: Exponent of the probability in its weights.
        satimp_beta2: Exponent of one minus the probability.
        clip: Norm that gradients are clipped to.
        warmup: Share of a cold start's steps with a rising learning rate.
        reference_top_k: Tokens kept of each reference distribution; the rest is one sum.
        reference_bytes: The reference cache grows to this size; what does not fit is computed again.
        checkpoint_every: Steps between checkpoints.
        cancel_every: Steps between looks at the cancel flag.
        report_every: Steps between reports.
        diverged_margin: The run stops when a loss on learned or kept rows stays so many nats above its beginning ...
        diverged_patience: ... for so many steps. A loss that is no number stops it at once.
        stop_tau: The run stops at the first look at which the exposure is within this many nats; 0: it never stops.
        stop_every: Steps between looks at the exposure, and between calls of the ``checkpoint`` callback.
        autocast: Compute in bf16 where the weights are wider.
        shard_base: Of several processes each holds a part of the base's weights while it trains (FSDP).
        seed: Of the adapter's start and the order of the rows.
    """

    method: str = "relearn"
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 7e-3
    warm_learning_rate: float = 5.5e-3
    passes: float = 3.2
    warm_passes: float = 1.8
    min_steps: int = 40
    max_steps: int = 2000
    batch_tokens: int = 1024
    max_length: int = 1024
    augmented_weight: float = 1.0
    retain_weight: float = 1.0
    kl_weight: float = 1.0
    lead_weight: float = 12.0
    copy_weight: float = 1.0
    kl_direction: KlDirection = "model_reference"
    kl_mask: KlMask = "answer"
    replay_share: float = 0.5
    npo_weight: float = 0.3
    npo_beta: float = 0.1
    leak_weight: float = 0.03
    leak_kl_weight: float = 6.0
    leak_retain_weight: float = 2.0
    leak_copy_weight: float = 4.0
    leak_steps: int = 2
    leak_length: int = 15
    leak_tokens: int = 512
    dpo_weight: float = 0.3
    dpo_beta: float = 0.1
    forget_weight: float = 1.0
    retain_loss: RetainLoss = "nll"
    simnpo_weight: float = 0.125
    simnpo_beta: float = 4.5
    simnpo_delta: float = 0.0
    rmu_layer: int = -1
    rmu_coefficient: float = 2.0
    undial_beta: float = 10.0
    undial_retain_weight: float = 0.0
    wga_beta: float = 1.0
    satimp_weight: float = 0.1
    satimp_beta1: float = 5.0
    satimp_beta2: float = 1.0
    clip: float = 1.0
    warmup: float = 0.1
    reference_top_k: int = 64
    reference_bytes: int = 256 << 20
    checkpoint_every: int = 25
    cancel_every: int = 2
    report_every: int = 5
    diverged_margin: float = 2.0
    diverged_patience: int = 20
    stop_tau: float = 0.0
    stop_every: int = 10
    autocast: bool = True
    shard_base: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [f"{name} must be above 0" for name in _POSITIVE if getattr(self, name) <= 0]
        faults += [
            f"{field.name} must not be negative"
            for field in fields(self)
            if (field.name.endswith("_weight") or field.name in _NOT_NEGATIVE) and getattr(self, field.name) < 0
        ]
        faults += [f"{name} must be between 0 and 1" for name in _SHARES if not 0 <= getattr(self, name) < 1]
        faults += [
            f"{name} must be one of {', '.join(allowed)}"
            for name, allowed in _CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        if self.rmu_layer < -1:
            faults.append("rmu_layer must be -1 or a layer's number")
        if self.min_steps > self.max_steps:
            faults.append("min_steps must not be above max_steps")
        if faults:
            raise LetheError("unlearn.bad_settings", "The settings of the run cannot be used.", tuple(faults))
