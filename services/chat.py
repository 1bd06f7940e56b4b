"""A client of the served model, in OpenAI's protocol: what the demo and the probes after a swap ask with."""

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from policies.errors import LetheError
from services.client import api_key

if TYPE_CHECKING:
    from services.settings import Settings

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the generation that gave it."""

    text: str
    generation: int | None


class ChatClient:
    """Asks the gateway; a context manager.

    Args:
        settings: Name the gateway's address and the public model name.
    """

    def __init__(self, settings: "Settings") -> None:
        import httpx

        self._model = settings.serving.model_names[0]
        self._http = httpx.Client(
            base_url=settings.serving.url,
            headers={"Authorization": f"Bearer {api_key(settings)}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, question: str, *, max_tokens: int = 64) -> Reply:
        """One question, answered greedily.

        Raises:
            LetheError: ``service.unreachable``, ``serving.refused``.
        """
        import httpx

        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        try:
            response = self._http.post("/v1/chat/completions", json=body)
        except httpx.TransportError as error:
            raise LetheError("service.unreachable", f"The gateway does not answer at {self._http.base_url}.") from error
        if response.is_error:
            raise LetheError("serving.refused", f"The gateway answered {response.status_code}.")
        generation = response.headers.get("x-lethe-generation")
        text = str(response.json()["choices"][0]["message"]["content"])
        return Reply(text, int(generation) if generation is not None else None)
