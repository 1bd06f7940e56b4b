"""Answers while somebody is suppressed. Until the matcher is here there are none: it fails closed."""

from services.serving.gateway.answers import Refusal
from services.serving.gateway.relay import Exchange
from services.serving.gateway.shielding import Shield


class ScreenedRelay:
    """Passes one answer on, screened."""

    def __init__(self, exchange: Exchange, shield: Shield) -> None:
        self._exchange, self._shield = exchange, shield
        self.started = False

    async def run(self) -> None:
        """Answer one request."""
        raise Refusal(503, "Nothing can be answered now.", "serving.suppression_down", {"retry-after": "1"})

    async def broken(self, why: Refusal) -> None:
        """End a stream that cannot go on."""
