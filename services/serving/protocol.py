"""The requests that gateway and engine understand, and what is wrong with one that is refused."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_STOPS = 16
Form = TypeVar("Form", bound=BaseModel)


class RequestError(Exception):
    """A request that cannot be answered, with the HTTP status and OpenAI's words for it."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> None:
        self.status, self.message, self.kind, self.code = status, message, kind, code
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """OpenAI's error form."""
        return {"error": {"message": self.message, "type": self.kind, "param": None, "code": self.code or self.status}}


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(_Form):
    """``stream_options``."""

    include_usage: bool = False


class _Generation(_Form):
    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    n: Literal[1] = 1
    user: str | None = None


class TextPart(_Form):
    """A message part; only text is understood."""

    type: Literal["text"]
    text: str


class Message(_Form):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """The message's text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_Generation):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)


class CompletionRequest(_Generation):
    """``POST /v1/completions``, with one prompt."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]


class LoadRequest(_Form):
    """``POST /v1/load_lora_adapter``; loading in place does not exist here."""

    lora_name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    lora_path: str = Field(min_length=1)


class UnloadRequest(_Form):
    """``POST /v1/unload_lora_adapter``."""

    lora_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen and when to stop."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]


def sampling(form: _Generation, room: int) -> Sampling:
    """The sampling of a request that has ``room`` tokens left in the context.

    Raises:
        RequestError: It does not fit.
    """
    stops = (form.stop,) if isinstance(form.stop, str) else tuple(form.stop or ())
    if len(stops) > MAX_STOPS:
        raise RequestError(400, f"'stop' takes at most {MAX_STOPS} strings.")
    asked = getattr(form, "max_completion_tokens", None) or form.max_tokens
    if room < 1 or (asked or 1) > room:
        raise RequestError(400, f"The prompt leaves room for {max(room, 0)} tokens.", code="context_length_exceeded")
    return Sampling(
        max_tokens=asked or room, temperature=form.temperature, top_p=form.top_p, seed=form.seed, stop=stops
    )


def parse(form: type[Form], body: bytes) -> Form:
    """A request body in its form.

    Raises:
        RequestError: With every fault, without repeating what was sent.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        faults = {f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)}
        raise RequestError(400, "; ".join(sorted(faults))[:2000]) from None
