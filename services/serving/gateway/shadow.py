"""Watches answers while a release is on trial, and asks it for a copy of some requests whose answers nobody sees."""

import asyncio
import json
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from starlette.types import Message

from policies.errors import LetheError
from services.serving.alias import Trial
from services.serving.gateway.answers import Refusal
from services.serving.gateway.limits import race
from services.serving.gateway.relay import Exchange
from services.serving.gateway.screened import texts_of
from services.serving.suppression.shield import Shield
from services.serving.trial import TrialFigures

_LONGEST = 1 << 20  # what an answer may have to be compared
_AT_ONCE = 4  # shadows beside each other: they must not crowd out the requests


@dataclass(frozen=True, slots=True)
class Trials:
    """What one gateway sees of trials; its figures go into the replica's row."""

    figures: TrialFigures = field(default_factory=TrialFigures)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    @contextmanager
    def watch(self, exchange: Exchange, trial: Trial | None, shield: Shield | None) -> Iterator[Exchange]:
        """Watch one exchange; gives the one to go on with. While nothing is on trial, nothing is done.

        Args:
            exchange: With the client.
            trial: What is on trial.
            shield: What is about somebody who is suppressed gets no shadow: a hedge cannot be compared.
        """
        if trial is None:
            yield exchange
            return
        watch = _Watch(self, exchange, trial)
        try:
            yield watch.exchange
        except Refusal as refusal:
            if refusal.status >= 500:
                watch.note(None)
            raise
        watch.answered(shield)

    def of(self, trial: Trial | None) -> dict[str, Any] | None:
        """The figures of what is on trial now, for the replica's row."""
        return self.figures.figures(None if trial is None else trial.served)

    def shadow(self, watch: "_Watch", live: str) -> None:
        """Ask the release on trial the same, in the background."""
        if len(self._running) < _AT_ONCE:
            task = asyncio.create_task(watch.ask_again(live))
            self._running.add(task)
            task.add_done_callback(self._running.discard)


class _Watch:
    """One exchange while a release is on trial."""

    def __init__(self, trials: Trials, exchange: Exchange, trial: Trial) -> None:
        self._trials, self._trial = trials, trial
        self._tried = exchange.served is trial.served
        self._raw = bytearray()
        self._began = time.monotonic()
        self._send = exchange.send
        self.exchange = replace(exchange, send=self._see)

    async def _see(self, message: Message) -> None:
        if len(self._raw) < _LONGEST:
            self._raw += message.get("body", b"")
        await self._send(message)

    def answered(self, shield: Shield | None) -> None:
        """The answer has gone out; a share of them is asked again of the release on trial."""
        text = text_of(bytes(self._raw), self.exchange.request.stream)
        if text is None:
            if b'"error"' in self._raw:  # else the client left before its end
                self.note(None)
            return
        self.note(text)
        drawn = random.random() < self._trial.shadow_share  # noqa: S311 - a share of the traffic, not a key
        if self._tried or not drawn:
            return
        if shield is None or not shield.active or shield.screen_request(texts_of(self.exchange.request)) is None:
            self._trials.shadow(self, text)

    async def ask_again(self, live: str) -> None:
        """The shadow: its answer is compared and thrown away. It is cut off like any other: no drain waits for it."""
        self._began, self._tried = time.monotonic(), True
        served = self._trial.served
        cut = asyncio.ensure_future(served.cut.wait())
        try:
            with self.exchange.replica.alias.hold(served):
                await race(self._compare(live), {cut}, math.inf)
        finally:
            cut.cancel()

    async def _compare(self, live: str) -> None:
        body = self.exchange.engine_body() | {"model": self._trial.served.name, "stream": False}
        body.pop("stream_options", None)
        text: str | None = None
        try:
            async with self.exchange.ask(body) as response:
                if response.status == 200:
                    text = text_of(await response.read(), False)
        except (aiohttp.ClientError, OSError, TimeoutError, LetheError):
            pass
        self.note(text)
        if text is not None and self._runs:
            self._trials.figures.compare(self._trial.served, live, text)

    @property
    def _runs(self) -> bool:
        """Whether the trial still runs: a late answer must not be taken for the beginning of another one."""
        return self.exchange.replica.alias.trial is self._trial

    def note(self, text: str | None) -> None:
        """Count an answer; None: it failed. Words stand for tokens: of a stream nobody knows more."""
        if not self._runs:
            return
        seconds, words = time.monotonic() - self._began, len((text or "").split())
        failed = text is None
        self._trials.figures.note(self._trial.served, tried=self._tried, seconds=seconds, tokens=words, failed=failed)


def text_of(raw: bytes, stream: bool) -> str | None:
    """What an answer says, of all its choices; None where it is no whole answer."""
    try:
        if not stream:
            return "".join(_said(choice) for choice in json.loads(raw)["choices"])
        events = [line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: ")]
        if not events or events[-1] != b"[DONE]":
            return None
        return "".join(_said(choice) for event in events[:-1] for choice in json.loads(event)["choices"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _said(choice: dict[str, Any]) -> str:
    part = choice.get("message") or choice.get("delta") or choice
    return str(part.get("content") or part.get("text") or "")
