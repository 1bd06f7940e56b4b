"""Answers while somebody is suppressed: each request and each answer is screened.

A request that names somebody is answered by a hedge in the pace of the engine, which is asked the same and made to
generate exactly as many tokens as the hedge has: headers, time, usage and chunks are those of a hedged answer. An
answer that comes to name somebody is replaced, or ends before the first letter.
"""

import asyncio
import json
import logging
import re
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from json.encoder import encode_basestring
from typing import Any

import aiohttp

from services import telemetry
from services.serving.gateway.answers import Refusal
from services.serving.gateway.event_forms import EventForms
from services.serving.gateway.relay import Exchange, Relay, engine_refusal, interrupted
from services.serving.gateway.shielding import suppression_down
from services.serving.protocol import ChatRequest, CompletionRequest
from services.serving.suppression.hedge import Plan
from services.serving.suppression.shield import Finding, Limits, Shield
from services.serving.suppression.stream import StreamScreen

_LOG = logging.getLogger(__name__)
_QUICK = 1 << 15  # characters that are screened faster than a thread is started
_DONE = b"data: [DONE]\n\n"
_GOES_ON = b'"finish_reason":null'
# A key and its text in a chunk, which is not empty. Within a text every quote is escaped, so no text looks like a key.
_CHAT, _PLAIN = ((key, re.compile(b"(?<=" + key + rb')"((?:[^"\\]|\\.)+)"')) for key in (b'"content":', b'"text":'))
_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NOT_SAID = {"model", "user", "messages", "prompt", "stream", "stream_options"}

Said = tuple[str, str | None]


class Voice:
    """One choice of an answer: the engine's own words while they name nobody, then a plan.

    Args:
        shield: Ends what has to end.
        limits: What the request allows the choice.
        words: A screen for the engine's words, or a plan from the beginning.
    """

    def __init__(self, shield: Shield, limits: Limits, words: StreamScreen | Plan) -> None:
        self._shield, self._limits = shield, limits
        self._said: list[str] = []
        self._stopped = False
        self._left: deque[Said] = deque()
        self.replaced = False
        self.ended = False
        if isinstance(words, Plan):
            self._follow(words)
        else:
            self._screen = words

    @property
    def tokens(self) -> int:
        """Tokens that were said; counted from the text unless all were planned."""
        return self._shield.count("".join(self._said)) + self._stopped

    def step(self, text: str, reason: str | None, *, cut: bool = False) -> list[Said]:
        """What goes out for one piece of the engine; nothing where it is held back.

        Args:
            text: Of the engine.
            reason: Why the engine ends; None: it goes on.
            cut: Where the engine ends a plan ends too, and is not said to its end.
        """
        if self.ended:
            return []
        said: list[Said] = []
        if not self.replaced:
            said.append(self._speak(text, reason))
            if not self._screen.hit:
                return self._note(said)
            self._follow(self._ending(said[0][0]))
            said[0] = (said[0][0], None)
        elif self._left:
            piece, end = self._left.popleft()
            said.append(self._speak(piece, end or (reason if cut else None)))
        while reason is not None and self._left and not cut:
            said.append(self._speak(*self._left.popleft()))
        return self._note(said)

    def end_here(self) -> None:
        """Come to an end that says nothing more."""
        if not self.ended:
            self._follow(self._ending(""))

    def _speak(self, text: str, reason: str | None) -> Said:
        out = self._screen.push(text)
        return (out if reason is None else out + self._screen.finish()), reason

    def _ending(self, out: str) -> Plan:
        said = "".join([*self._said, out])
        limit = self._limits.max_tokens
        left = None if limit is None else max(limit - self._shield.count(said), 1)
        return self._shield.ending(said, replace(self._limits, max_tokens=left))

    def _follow(self, plan: Plan) -> None:
        self.replaced = True
        self._screen = self._shield.screen_plan(plan)
        self._left.extend((piece, None) for piece in plan.pieces[:-1])
        self._left.append((plan.pieces[-1], plan.reason))

    def _note(self, said: list[Said]) -> list[Said]:
        for text, reason in said:
            self._said.append(text)
            if reason is not None:
                self.ended, self._stopped = True, reason == "stop"
        return [(text, reason) for text, reason in said if text or reason]


class ScreenedRelay(Relay):
    """Passes one answer on, screened from the moment on at which somebody is suppressed.

    Args:
        exchange: The request and its way to the engine.
        shield: Screens texts.
        forms: How the engine writes events, by kind of stream; learned here for all answers of one gateway.
    """

    def __init__(self, exchange: Exchange, shield: Shield, forms: defaultdict[str, EventForms]) -> None:
        super().__init__(exchange)
        self._shield = shield
        self._forms = forms[f"{type(exchange.request).__name__} {self._wants_usage()}"]
        self._plain = not shield.active  # nobody is suppressed
        self._late = False  # the answer began plainly: what was said before is not known
        self._version = shield.version
        self._key, self._content = _CHAT if isinstance(exchange.request, ChatRequest) else _PLAIN
        self._single = exchange.request.n == 1
        self._finding: Finding | None = None
        self._plans: list[Plan] = []
        self._short = False  # the context has less room than the hedge has tokens
        self._voices: dict[int, Voice] = {}

    async def run(self) -> None:
        """Ask the engine and relay what may be said; whatever fails in screening, nothing goes out unscreened.

        Raises:
            Refusal: It failed before anything was sent, or the shield went down.
        """
        try:
            await super().run()
        except Refusal as refusal:
            await self.broken(refusal)
            raise
        except Exception as error:
            # The type alone: a message could hold a text.
            _LOG.error("an answer could not be screened: %s", type(error).__name__)
            await self.broken(interrupted())
            if not self.started:
                raise suppression_down() from None
        finally:
            if self._plans or any(voice.replaced for voice in self._voices.values()):
                telemetry.count_suppressed()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[aiohttp.ClientResponse]:
        exchange = self._exchange
        self._finding = None if self._plain else await self._search()
        if self._finding is None:
            async with exchange.ask() as response:
                yield response
            return
        count = exchange.request.n
        self._plans = [self._shield.hedge(self._finding, self._limits(number)) for number in range(count)]
        tokens = max(plan.tokens for plan in self._plans)
        body = exchange.engine_body()
        for name in ("stop", "max_completion_tokens", "max_tokens"):
            body.pop(name, None)
        body["ignore_eos"] = True
        allowed = asyncio.ensure_future(self._allowed(tokens))
        try:
            async with exchange.ask(body | {"max_tokens": tokens, "min_tokens": tokens}) as response:
                await allowed
                if response.status != 400:
                    yield response
                    return
            self._short = True  # what the prompt leaves room for, then: as an ordinary answer is cut there
            async with exchange.ask(body) as response:
                yield response
        finally:
            allowed.cancel()
            await asyncio.gather(allowed, return_exceptions=True)

    async def _allowed(self, tokens: int) -> None:
        """See whether the engine takes the client's own limit, where that is more than the hedge needs.

        Raises:
            Refusal: The engine's.
        """
        limit = self._exchange.request.limit
        if limit is None or limit <= tokens:
            return
        async with self._exchange.ask(self._exchange.engine_body() | {"stream": True, "max_tokens": limit}) as response:
            if response.status != 200:
                raise engine_refusal(response.status, await response.read(), response.headers)

    async def _search(self) -> Finding | None:
        """Whether the request names somebody: its parts alone, one after the other, and the user's own so."""
        quick = sum(map(len, self._texts)) <= _QUICK
        return self._found() if quick else await asyncio.to_thread(self._found)

    def _found(self) -> Finding | None:
        request = self._exchange.request
        groups = [self._texts]
        if isinstance(request, ChatRequest):
            users = [message.text for message in request.messages if message.role == "user"]
            if 1 < len(users) < len(request.messages):
                groups.append(users)
        return next((found for group in groups if (found := self._shield.screen_request(group))), None)

    @cached_property
    def _texts(self) -> list[str]:
        return texts_of(self._exchange.request)

    def _look_again(self) -> None:
        """Rules that came while the answer was under way hold for what is left of it.

        Raises:
            Refusal: Rules came that cannot be read.
        """
        shield = self._shield
        if shield.down:  # the fleet counts on it that nobody is answered here
            raise suppression_down()
        if not shield.active or (self._version == shield.version and not self._plain):
            return
        self._version = shield.version
        self._late = self._late or self._plain
        self._single = self._single and not self._late
        self._plain = False
        if self._finding is None:
            self._finding = self._found()
            for voice in self._voices.values() if self._finding else ():
                voice.end_here()

    def _whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._look_again()
        if self._plain:
            return answer
        if self._short:
            tokens = answer["usage"]["completion_tokens"] // len(self._plans)
            self._plans = [plan.cut(tokens) for plan in self._plans]
        for choice in answer["choices"]:
            place, key = (choice["message"], "content") if "message" in choice else (choice, "text")
            make = self._instead if self._finding else self._own
            voice = self._voices[choice["index"]] = make(choice["index"])
            said = voice.step(place[key] or "", choice["finish_reason"] or "stop")
            if voice.replaced and not self._finding:
                # Nothing was sent: the whole answer is a hedge, not only its end.
                voice = self._voices[choice["index"]] = self._instead(choice["index"])
                said = voice.step("", "stop")
            if voice.replaced:
                place[key] = "".join(text for text, _ in said)
                _set_reason(choice, said[-1][1])
            if self._late:
                choice["logprobs"] = None
        self._count(answer.get("usage"))
        return answer

    def _events(self, events: bytes) -> bytes:
        self._look_again()
        if self._plain:
            return super()._events(events)
        if events.count(b"\n\n") == 1:
            return self._event(events)
        return b"".join(self._event(event + b"\n\n") for event in events.split(b"\n\n") if event)

    def _event(self, event: bytes) -> bytes:
        if self._cut or not event.startswith(b"data: "):  # what is no event of an answer cannot be screened
            return b""
        if event == _DONE:
            return event
        found = self._content.search(event) if self._single and self._forms.goes_on and _GOES_ON in event else None
        if found is None or event.count(self._key) != 1:
            return self._parsed(event)
        # Most chunks, read and written without a parser: as if the engine had written what goes out.
        said = self._voice(0).step(json.loads(found[0]) if b"\\" in found[0] else found[1].decode(), None)
        if len(said) == 1 and said[0][1] is None:
            text = encode_basestring(said[0][0]).encode()
            return (event[: found.start()] + text + event[found.end() :]).replace(self._inner, self._outer)
        return self._parsed(event, said) if said else b""

    def _parsed(self, event: bytes, given: Sequence[Said] | None = None) -> bytes:
        body = json.loads(event[6:])
        if not body["choices"]:
            self._count(body.get("usage"))
            return self._written(body)
        out = b"".join(self._pieces(body, given))
        if self._ended_early() and not self._wants_usage():
            self._cut = True
            out += _DONE
        return out

    def _pieces(self, body: dict[str, Any], given: Sequence[Said] | None) -> Iterator[bytes]:
        """What goes out for one event of the engine; given, what its only choice says."""
        for choice in body["choices"]:
            delta, reason = choice.get("delta"), choice["finish_reason"]
            text = (choice["text"] if delta is None else delta.get("content")) or ""
            if not text and reason is None and delta is not None and "role" in delta:
                yield self._written(body | {"choices": [choice]})  # says who speaks, and nothing yet
                continue
            self._forms.learn(body, choice)
            said = given or self._voice(choice["index"]).step(text, reason, cut=self._short)
            for words, end in said:
                new = choice | ({"text": words} if delta is None else {"delta": delta | {"content": words}})
                _set_reason(new, end)
                if self._late:
                    new["logprobs"] = None
                yield self._written(self._forms.write(body, new))

    def _written(self, body: dict[str, Any]) -> bytes:
        return b"data: " + _WRITE(body | {"model": self._exchange.public}).encode() + b"\n\n"

    def _voice(self, index: int) -> Voice:
        if index not in self._voices:
            if self._finding is None:
                self._voices[index] = self._own(index)
            elif self._late:  # something was said already
                limits = self._limits(index)
                self._voices[index] = Voice(self._shield, limits, self._shield.ending("...", limits))
            else:
                self._voices[index] = self._instead(index)
        return self._voices[index]

    def _own(self, index: int) -> Voice:
        """A choice in the engine's own words, as long as they name nobody."""
        return Voice(self._shield, self._limits(index), self._screen())

    def _instead(self, index: int) -> Voice:
        """A choice of which nothing is the engine's."""
        limits = self._limits(index)
        plan = self._plans[index] if self._plans else self._shield.hedge(self._finding, limits)
        return Voice(self._shield, limits, plan)

    def _screen(self) -> StreamScreen:
        request = self._exchange.request
        plain = isinstance(request, CompletionRequest)
        prompt = request.text if isinstance(request, CompletionRequest) else request.messages[-1].text
        return self._shield.screen(prompt, going_on=plain)

    def _limits(self, index: int) -> Limits:
        request = self._exchange.request
        stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
        choice = self._shield.choice(self._texts, temperature=request.temperature, seed=request.seed, index=index)
        return Limits(max_tokens=request.limit, stops=stops, choice=choice)

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Make the usage true where something was replaced."""
        told = not self._short and not (self._late and self._exchange.request.stream)
        if usage and told and any(voice.replaced for voice in self._voices.values()):
            plans = [plan.tokens for plan in self._plans]
            usage["completion_tokens"] = sum(plans or (voice.tokens for voice in self._voices.values()))
            usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]

    def _ended_early(self) -> bool:
        """Nothing that the engine still says goes out: answers that came to name somebody have ended before its own."""
        voices = self._voices.values()
        if self._plans or not all(voice.ended for voice in voices):
            return False
        return len(voices) == self._exchange.request.n and any(voice.replaced for voice in voices)

    def _wants_usage(self) -> bool:
        options = self._exchange.request.stream_options
        return options is not None and options.include_usage


def texts_of(request: ChatRequest | CompletionRequest) -> list[str]:
    """Every text of a request that the model reads or that shapes its answer, the conversation at the end."""
    rest = request.model_dump(exclude_unset=True, exclude=_NOT_SAID)
    texts = list(_strings(rest.values()))
    if isinstance(request, CompletionRequest):
        return [*texts, request.text]
    for message in request.messages:
        texts += [message.name, message.text] if message.name else [message.text]
    return texts


def _strings(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _strings([*value, *value.values()])
        elif isinstance(value, list):
            yield from _strings(value)


def _set_reason(choice: dict[str, Any], reason: str | None) -> None:
    """The reason to end, and no stop string that the engine names for its own words."""
    choice["finish_reason"] = reason
    if choice.get("stop_reason") is not None:
        choice["stop_reason"] = None
