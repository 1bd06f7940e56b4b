"""The shield of one gateway: who is suppressed now, and what is said instead. Its rules are plain in memory only."""

import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from policies.suppression import Rule
from services.serving.suppression.hedge import Encoding, Plan, Tokens, Words, ending, hedged, plan
from services.serving.suppression.matcher import Matcher, Span
from services.serving.suppression.stream import StreamScreen

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """A request that names somebody who is suppressed.

    Attributes:
        text: The part of it that does, else its last one.
        span: Where; None if only several parts together do.
    """

    text: str
    span: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client's request allows an answer.

    Attributes:
        max_tokens: None: as many as it takes.
        stops: Strings that end it.
        choice: Decides the words, by :meth:`Shield.choice`.
    """

    max_tokens: int | None
    stops: tuple[str, ...]
    choice: int


class Shield:
    """Down until the first rules are there, and again after :meth:`fail`: then nobody may be answered.

    Args:
        key: The suppression key. It chooses the words of hedges: every replica says the same to the same prompt.
        base: Directory of the base, whose tokenizer counts the tokens of hedges.
    """

    def __init__(self, key: bytes, base: Path | None = None) -> None:
        self._key = hmac.digest(key, b"lethe/hedge", sha256)
        self._encoding = None if base is None else _encoding(base)  # read now: later it would hold up the event loop
        self._matcher = Matcher()
        self._version = -1
        self._active = False
        self._down = True

    @property
    def version(self) -> int:
        """Of the rules that hold."""
        return self._version

    @property
    def active(self) -> bool:
        """Somebody is suppressed."""
        return self._active

    @property
    def down(self) -> bool:
        """It cannot be told who is suppressed."""
        return self._down

    def replace(self, rules: Sequence[Rule], version: int) -> None:
        """From now on these rules hold. Blocking: call it in a thread; one at a time."""
        if rules:
            self._active = True  # before the first rule can be found, and no answer goes out unscreened
        self._matcher.update(rules)
        self._version, self._active, self._down = version, bool(rules), False

    def fail(self) -> None:
        """No rules can be told: answer nobody."""
        self._down = True

    def screen_request(self, texts: Sequence[str]) -> Finding | None:
        """Whether these parts of a request, alone or one after the other, name somebody. Linear; long ones in a thread.

        Args:
            texts: In the order in which the model reads them.
        """
        if not self._matcher.search("\n".join(texts)):
            return None
        for text in reversed(texts):
            if (span := self._matcher.find(text)) is not None:
                return Finding(text, span)
        return Finding(texts[-1], None)

    def screen(self, prompt: str, *, going_on: bool) -> StreamScreen:
        """A screen for one answer to this prompt."""
        screen = StreamScreen(self._matcher)
        screen.prime(prompt, going_on=going_on)
        # The prompt names somebody by a rule that comes right now; the relay notices it at the next piece.
        return StreamScreen(self._matcher) if screen.hit else screen

    def screen_plan(self, plan: Plan) -> StreamScreen:
        """A screen for an answer of ours: its words are held back where any other answer's would be."""
        return StreamScreen(self._matcher, plan.told)

    def choice(self, texts: Sequence[str], *, temperature: float, seed: int | None, index: int) -> int:
        """Which hedge is said: equal prompts get equal answers where a model's would be equal."""
        if temperature > 0 and seed is None:
            return secrets.randbits(32)
        told = [str(len(texts)), *(f"{len(text)}:{text}" for text in texts)]
        if temperature > 0:
            told.append(f"{seed}/{index}")
        mac = hmac.digest(self._key, "".join(told).encode("utf-8", "surrogatepass"), sha256)
        return int.from_bytes(mac[:4])

    def hedge(self, finding: Finding | None, limits: Limits) -> Plan:
        """An answer that says nothing; without a finding it names nobody."""
        text, span = (finding.text, finding.span) if finding else ("", None)
        said = hedged(text, span, self._matcher, limits.choice)
        return self._plan(said, limits, self._matcher.starts(said))

    def ending(self, said: str, limits: Limits) -> Plan:
        """How an answer goes on that would have come to a secret; a whole hedge where nothing was said yet."""
        if not said.strip():
            return self.hedge(None, limits)
        text = ending(limits.choice)
        return self._plan(text.lstrip() if said[-1:].isspace() else text, limits)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokens().encode(text))

    def _plan(self, text: str, limits: Limits, told: frozenset[int] = frozenset()) -> Plan:
        planned = plan(text, self._tokens(), max_tokens=limits.max_tokens, stops=limits.stops)
        return replace(planned, told=told)

    def _tokens(self) -> Encoding:
        return self._encoding or Words()


def _encoding(base: Path) -> Encoding | None:
    try:
        return Tokens(base)
    except Exception as error:  # tokenizers raises bare exceptions
        _LOG.warning("the base's tokenizer cannot be read, hedges are counted in words: %s", type(error).__name__)
        return None
