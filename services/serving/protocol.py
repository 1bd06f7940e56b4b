"""The requests that gateway and engine understand, and what is wrong with one that is refused."""

import json
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MAX_STOPS = 16
MAX_CHOICES = 8
MAX_LOGPROBS = 20  # vLLM's own default limit
_GREEDY = 1e-5
_PLAIN_TOKENS = 16  # of a plain completion without max_tokens, as with OpenAI and vLLM
Form = TypeVar("Form", bound=BaseModel)
Text = Annotated[str, Field(min_length=1)]


class RequestError(Exception):
    """A request that cannot be answered, with the HTTP status and OpenAI's words for it.

    Args:
        status: HTTP status.
        message: What is wrong, without repeating what was sent.
        kind: OpenAI's ``type``.
        code: OpenAI's ``code``.
        param: The field that is wrong.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """OpenAI's error form."""
        code = self.code or self.status
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": code}}


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Text | Annotated[list[Text], Field(max_length=MAX_STOPS)] | None = None
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """OpenAI's own fields may be null; one that is not on the list is refused even so."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}

    @model_validator(mode="after")
    def _consistent(self) -> "_Generation":
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' goes with 'stream'")
        if self.n > 1 and self.temperature < _GREEDY:
            raise ValueError("'n' must be 1 where the temperature is 0: all answers would be the same")
        return self

    @property
    def limit(self) -> int | None:
        """How many tokens were asked for; None: what the context has room for."""
        return self.max_tokens

    @property
    @abstractmethod
    def top_tokens(self) -> int | None:
        """How many alternatives of each token are asked for; None: no log-probabilities at all."""


class TextPart(_Form):
    """A message part; only text is understood."""

    type: Literal["text"]
    text: str


class Message(_Form):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _as_one(cls, content: str | list[TextPart]) -> str:
        """Put parts together as vLLM does: what is screened is then what any engine's model reads."""
        return content if isinstance(content, str) else "\n".join(part.text for part in content)

    @property
    def text(self) -> str:
        """The message's text."""
        return str(self.content)


class ChatRequest(_Generation):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @model_validator(mode="after")
    def _consistent_logprobs(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' goes with 'logprobs'")
        return self

    @property
    def limit(self) -> int | None:
        """The newer name of the limit wins."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top_tokens(self) -> int | None:
        """See the parent."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Generation):
    """``POST /v1/completions``, with one prompt."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def limit(self) -> int | None:
        """A plain completion is short unless asked otherwise."""
        return self.max_tokens or _PLAIN_TOKENS

    @property
    def top_tokens(self) -> int | None:
        """See the parent."""
        return self.logprobs


class _EngineOnly(_Form):
    """What the gateway may ask of an engine and no client of the gateway."""

    min_tokens: int = Field(0, ge=0)
    ignore_eos: bool = False


class EngineChatRequest(ChatRequest, _EngineOnly):
    """A chat as the engine takes it."""


class EngineCompletionRequest(CompletionRequest, _EngineOnly):
    """A plain completion as the engine takes it."""


EngineRequest = EngineChatRequest | EngineCompletionRequest


class LoadRequest(_Form):
    """``POST /v1/load_lora_adapter``; loading in place does not exist here."""

    lora_name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    lora_path: str = Field(min_length=1)


class UnloadRequest(_Form):
    """``POST /v1/unload_lora_adapter``."""

    lora_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen, when to stop, and whether to say how likely they were."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    top_tokens: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < _GREEDY


def sampling(form: EngineRequest, room: int, choice: int = 0) -> Sampling:
    """The sampling of one choice of a request that has ``room`` tokens left in the context.

    Raises:
        RequestError: It does not fit.
    """
    asked = form.limit
    if isinstance(form, CompletionRequest) and form.max_tokens is None:
        asked = min(asked or room, room)
    if room < 1 or (asked or 1) > room:
        raise RequestError(400, f"The prompt leaves room for {max(room, 0)} tokens.", code="context_length_exceeded")
    limit = asked or room
    if form.min_tokens > limit:
        raise RequestError(400, "'min_tokens' is more than 'max_tokens'.", param="min_tokens")
    return Sampling(
        max_tokens=limit,
        temperature=form.temperature,
        top_p=form.top_p,
        presence_penalty=form.presence_penalty,
        frequency_penalty=form.frequency_penalty,
        seed=None if form.seed is None else (form.seed + choice) % 2**63,  # choices differ, as vLLM's do
        stop=(form.stop,) if isinstance(form.stop, str) else tuple(form.stop or ()),
        min_tokens=form.min_tokens,
        ignore_eos=form.ignore_eos,
        top_tokens=form.top_tokens,
    )


def read_object(raw: bytes) -> dict[str, Any]:
    """A body as one JSON object in UTF-8, in which no name stands twice.

    Raises:
        RequestError: It is something else.
    """
    try:
        body = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except _TwiceError as error:
        raise RequestError(400, "A name stands twice in one object of the body.") from error
    except (ValueError, RecursionError) as error:  # the parser gives up at some hundred levels of nesting
        raise RequestError(400, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise RequestError(400, "The body is not a JSON object.")
    if b"\\ud" in raw.lower() and not _is_text(body):
        raise RequestError(400, "The body holds half a character.")
    return body


def parse(form: type[Form], body: dict[str, Any]) -> Form:
    """A body in its form.

    Raises:
        RequestError: With every fault, without repeating what was sent.
    """
    try:
        return form.model_validate(body)
    except ValidationError as error:
        faults = [(".".join(str(p) for p in e["loc"]), e["msg"]) for e in error.errors(include_input=False)]
        words = "; ".join(sorted({f"{place}: {words}" if place else words for place, words in faults}))
        param = str(error.errors()[0]["loc"][0])[:100] if error.errors()[0]["loc"] else None
        raise RequestError(400, words[:2000], param=param) from None


class _TwiceError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of one body may disagree on which of two equal names counts: none of them does."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _TwiceError
    return made


def _is_text(body: dict[str, Any]) -> bool:
    """JSON can spell halves of a surrogate pair that no text may hold."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(_: str) -> Any:
    raise ValueError
