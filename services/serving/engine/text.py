"""From token ids to text as they come, held back where a stop string or a character may still be incomplete."""

from collections.abc import Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """The part of a tokenizer that is needed here."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


class TextStream:
    """Text of one answer.

    Decodes only from the last safe place on, so that the cost does not grow with the square of the answer's length.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._ids: list[int] = []
        self._prefix = 0  # decoding starts here: a token's text can depend on the one before it
        self._read = 0  # everything before is in the text already
        self._held = ""
        self.stopped = False

    def push(self, token: int, *, last: bool = False, may_stop: bool = True) -> str:
        """Add a token; gives the text that is certain now.

        Args:
            token: Its id.
            last: No more will come.
            may_stop: Whether stop strings count yet.
        """
        self._ids.append(token)
        before = self._decode(self._ids[self._prefix : self._read])
        now = self._decode(self._ids[self._prefix :])
        if len(now) > len(before) and (last or not now.endswith("\ufffd")):
            self._held += now[len(before) :]
            self._prefix, self._read = self._read, len(self._ids)
        return self._release(last=last or not may_stop, stops=self._stops if may_stop else ())

    def finish(self) -> str:
        """Give what was held back."""
        return self._release(last=True, stops=self._stops)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def _release(self, *, last: bool, stops: Sequence[str]) -> str:
        found = [place for stop in stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = 0 if last else self._possible_start()
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def _possible_start(self) -> int:
        """Length of the longest end of the text that could be the start of a stop string."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest
