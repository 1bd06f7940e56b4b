"""Answers in the words of a vLLM server, which are OpenAI's."""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from services.serving.engine.batch import Likelihood


class Tokenizer(Protocol):
    """The part of a tokenizer that is needed here."""

    def decode(self, token_ids: Sequence[int]) -> str: ...


class Writer(ABC):
    """Forms of one kind of answer.

    Args:
        model: As the request names it.
        tokenizer: Gives the text of single tokens.
        top_tokens: How many alternatives go with a token; None: no log-probabilities.
    """

    prefix: str
    whole: str
    chunk: str

    def __init__(self, model: str, tokenizer: Tokenizer, top_tokens: int | None) -> None:
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._tokenizer, self._top_tokens = tokenizer, top_tokens

    def body(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """A whole answer."""
        return {**self._head, "object": self.whole, "choices": choices, "usage": usage}

    def piece(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        """An event of a stream."""
        body = {**self._head, "object": self.chunk, "choices": choices}
        return event(body if usage is None else {**body, "usage": usage})

    def opening(self, choice: int) -> list[dict[str, Any]]:
        """What comes before the first text of a choice, if anything does."""
        return []

    @abstractmethod
    def choice(self, choice: int, text: str, reason: str, said: Sequence[Likelihood]) -> dict[str, Any]:
        """One choice of a whole answer."""

    @abstractmethod
    def delta(self, choice: int, text: str, reason: str | None, said: Sequence[Likelihood]) -> dict[str, Any]:
        """What a piece of a stream adds to one choice."""

    def _word(self, token: int) -> str:
        return self._tokenizer.decode([token])


class ChatWriter(Writer):
    """Chat completions."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def opening(self, choice: int) -> list[dict[str, Any]]:
        """Says who speaks."""
        delta = {"role": "assistant", "content": ""}
        return [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}]

    def choice(self, choice: int, text: str, reason: str, said: Sequence[Likelihood]) -> dict[str, Any]:
        """See the parent."""
        message = {"role": "assistant", "content": text}
        return {"index": choice, "message": message, "logprobs": self._logprobs(said), "finish_reason": reason}

    def delta(self, choice: int, text: str, reason: str | None, said: Sequence[Likelihood]) -> dict[str, Any]:
        """See the parent."""
        delta = {"content": text}
        return {"index": choice, "delta": delta, "logprobs": self._logprobs(said), "finish_reason": reason}

    def _logprobs(self, said: Sequence[Likelihood]) -> dict[str, Any] | None:
        if self._top_tokens is None:
            return None
        return {
            "content": [
                {
                    **self._entry(one.token, one.logprob),
                    "top_logprobs": [self._entry(token, logprob) for token, logprob in one.top],
                }
                for one in said
            ]
        }

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        word = self._word(token)
        return {"token": word, "logprob": _finite(logprob), "bytes": list(word.encode("utf-8", errors="replace"))}


class TextWriter(Writer):
    """Plain completions."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, tokenizer: Tokenizer, top_tokens: int | None) -> None:
        super().__init__(model, tokenizer, top_tokens)
        self._offsets: defaultdict[int, int] = defaultdict(int)

    def choice(self, choice: int, text: str, reason: str, said: Sequence[Likelihood]) -> dict[str, Any]:
        """See the parent."""
        return self.delta(choice, text, reason, said)

    def delta(self, choice: int, text: str, reason: str | None, said: Sequence[Likelihood]) -> dict[str, Any]:
        """See the parent."""
        return {"index": choice, "text": text, "logprobs": self._logprobs(choice, said), "finish_reason": reason}

    def _logprobs(self, choice: int, said: Sequence[Likelihood]) -> dict[str, Any] | None:
        if self._top_tokens is None:
            return None
        words = [self._word(one.token) for one in said]
        offsets = []
        for word in words:
            offsets.append(self._offsets[choice])
            self._offsets[choice] += len(word)
        top = [
            {word: _finite(one.logprob)} | {self._word(token): _finite(logprob) for token, logprob in one.top}
            for word, one in zip(words, said, strict=True)
        ]
        return {
            "text_offset": offsets,
            "token_logprobs": [_finite(one.logprob) for one in said],
            "tokens": words,
            "top_logprobs": top,
        }


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _finite(logprob: float) -> float:
    """JSON knows no infinity; vLLM says this for it."""
    return max(logprob, -9999.0)
