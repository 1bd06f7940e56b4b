"""What a release says about itself: the card, the erasure watermark, the verdict."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from policies.canonical import canonical_json, sha256_hex
from policies.thresholds import MeasuredThresholds

if TYPE_CHECKING:
    from pipelines.verdict import Verdict

Kind = Literal["release0", "unlearning"]

CANARY_PROMPTS = ("Hello.", "Who are you?", "Say one word.")  # harmless, the same for every base


def said_digest(prompt: str, said: str) -> str:
    """Digest of what was said to a prompt."""
    return sha256_hex(canonical_json([prompt, said]))


def watermark_digest(tickets: Iterable[str]) -> str:
    """Digest of a set of ticket ids."""
    return sha256_hex(canonical_json(sorted(set(tickets))))


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Canary(_Frozen):
    """What the adapter answers to a harmless question, so that an engine can be asked whether it answers the same.

    Attributes:
        prompt: The user's message.
        tokens: How many tokens were asked for.
        answer: ``said_digest`` of the greedy answer of the model with the adapter. Not the answer itself: a small model
            may greet with somebody's name, and the card outlives that person's erasure.
        first: Likely first tokens, each as its ``said_digest``, with log-probabilities (natural logarithm).
    """

    prompt: str
    tokens: int = Field(ge=1)
    answer: str
    first: dict[str, float]

    @classmethod
    def of(cls, prompt: str, *, tokens: int, text: str, first: Mapping[str, float]) -> "Canary":
        """The record of an answer of which no word is kept."""
        digests = {said_digest(prompt, token): value for token, value in first.items()}
        return cls(prompt=prompt, tokens=tokens, answer=said_digest(prompt, text.strip()), first=digests)


class Card(_Frozen):
    """How an adapter was made and what it satisfies; part of the digested content.

    Attributes:
        kind: ``release0`` is an imported base without any erasure.
        base_digest: Of the base that the adapter belongs to.
        tokenizer_digest: Of the tokenizer's files.
        chat_template_digest: Of the chat template.
        dtype: Of the weights that were measured.
        quantisation: Of the base when it was measured; ``none`` for none.
        parent: Digest of the release that the training started from.
        watermark: Tickets whose erasure this adapter carries, sorted, without repetition.
        watermark_digest: Of those ids.
        data_digests: Keyed digests of what it was trained on.
        method: Unlearning method.
        settings: All settings of the method.
        seed: Of the training.
        versions: Of the packages that made it.
        code_version: Of Lethe.
        created_at: ISO 8601 with offset.
        canaries: Asked of the engine before the release is served; none: it must only answer something.
    """

    kind: Kind
    base_digest: str
    tokenizer_digest: str
    chat_template_digest: str
    dtype: str
    quantisation: str = "none"
    parent: str | None = None
    watermark: tuple[str, ...] = ()
    watermark_digest: str = ""
    data_digests: dict[str, str] = Field(default_factory=dict)
    method: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    code_version: str = ""
    created_at: str = ""
    canaries: tuple[Canary, ...] = ()

    @model_validator(mode="after")
    def _watermark_is_whole(self) -> "Card":
        if list(self.watermark) != sorted(set(self.watermark)):
            raise ValueError("watermark: not sorted, or with repetitions")
        if self.watermark_digest != watermark_digest(self.watermark):
            raise ValueError("watermark_digest: not the digest of the watermark")
        return self


class SignedVerdict(_Frozen):
    """The part of a verdict that is signed: what was decided, on what figures, against which thresholds.

    Attributes:
        kind: As on the card.
        outcome: Only ``accepted`` is ever served.
        thresholds: Every threshold that was applied; None for release 0, where nothing is measured.
        gates: Each threshold with the value, bound and sample size held against it.
        metrics: Value, bound and sample size of every metric.
        backends: The judges.
        verdict_digest: Of the whole verdict.
        pack: Name, version and digest of the policy pack.
        combination: Base, tokenizer, chat template, dtype and quantisation that were measured together.
        decided_at: ISO 8601 with offset.
    """

    kind: Kind
    outcome: str
    thresholds: MeasuredThresholds | None = None
    gates: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)
    backends: dict[str, str] = Field(default_factory=dict)
    verdict_digest: str = ""
    pack: dict[str, str] = Field(default_factory=dict)
    combination: dict[str, str] = Field(default_factory=dict)
    decided_at: str = ""

    @classmethod
    def of(cls, verdict: "Verdict", *, pack: dict[str, str], decided_at: datetime) -> "SignedVerdict":
        """What is signed of a verdict on a trained adapter."""
        return cls(
            kind="unlearning",
            outcome=verdict.outcome,
            thresholds=verdict.thresholds,
            gates=tuple(gate.model_dump(mode="json") for gate in verdict.gates),
            metrics=verdict.metrics,
            backends=verdict.backends,
            verdict_digest=verdict.digest,
            pack=pack,
            decided_at=decided_at.isoformat(),
        )


def combination(card: Card) -> dict[str, str]:
    """What a verdict is valid for; serving refuses any other combination."""
    return {
        "base": card.base_digest,
        "tokenizer": card.tokenizer_digest,
        "chat_template": card.chat_template_digest,
        "dtype": card.dtype,
        "quantisation": card.quantisation,
    }
