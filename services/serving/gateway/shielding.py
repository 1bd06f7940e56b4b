"""What suppression means for a request before anything is generated."""

from services.serving.gateway.answers import RETRY, Refusal
from services.serving.protocol import ChatRequest, CompletionRequest
from services.serving.suppression.shield import Shield


def check_shield(shield: Shield, request: ChatRequest | CompletionRequest) -> None:
    """Refuse what cannot be screened now.

    Raises:
        Refusal: ``serving.suppression_down`` (503), ``serving.logprobs_suppressed`` (400).
    """
    if shield.down:
        raise suppression_down()
    if shield.active and request.top_tokens is not None:
        raise Refusal(400, "'logprobs' is not available now.", "serving.logprobs_suppressed")


def suppression_down() -> Refusal:
    """503: it cannot be told who is suppressed."""
    return Refusal(503, "Nothing can be answered now.", "serving.suppression_down", RETRY)
