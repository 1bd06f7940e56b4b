"""Answers while somebody is suppressed. Until the matcher is here there are none: it fails closed."""

from typing import Any

from starlette.types import Send

from services.serving.alias import Served
from services.serving.gateway.answers import Refusal
from services.serving.gateway.relay import Serving
from services.serving.gateway.shielding import Shield
from services.serving.protocol import ChatRequest, CompletionRequest


class ScreenedRelay:
    """Passes one answer on, screened."""

    def __init__(
        self, send: Send, served: Served, public: str, request: ChatRequest | CompletionRequest, shield: Shield
    ) -> None:
        self._send, self._served, self._public, self._request, self._shield = send, served, public, request, shield
        self.started = False

    async def run(self, replica: Serving, path: str, body: dict[str, Any]) -> None:
        """Answer one request."""
        raise Refusal(503, "Nothing can be answered now.", "serving.suppression_down", {"retry-after": "1"})

    async def broken(self) -> None:
        """End a stream that cannot go on."""
