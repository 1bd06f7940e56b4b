"""What suppression means for a request before anything is generated."""

from typing import Protocol

from services.serving.gateway.answers import Refusal
from services.serving.protocol import ChatRequest, CompletionRequest


class Shield(Protocol):
    """What the gateway asks about suppression; without a shield nobody is suppressed.

    Attributes:
        version: Of the rules that are applied.
        active: Somebody is suppressed: every answer is screened, and logprobs are refused.
        down: The rules cannot be applied: nobody gets an answer.
    """

    @property
    def version(self) -> int: ...

    @property
    def active(self) -> bool: ...

    @property
    def down(self) -> bool: ...


def check_shield(shield: Shield, request: ChatRequest | CompletionRequest) -> None:
    """Refuse what cannot be screened now.

    Raises:
        Refusal: ``serving.suppression_down`` (503), ``serving.logprobs_suppressed`` (400).
    """
    if shield.down:
        raise Refusal(503, "Nothing can be answered now.", "serving.suppression_down", {"retry-after": "1"})
    if shield.active and request.top_tokens is not None:
        raise Refusal(400, "'logprobs' is not available now.", "serving.logprobs_suppressed")
