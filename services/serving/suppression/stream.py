"""Screens a text that comes in pieces: releases what can no longer be the beginning of a secret, and nothing else."""

from services.serving.suppression.folding import FOLDS, SEPARATOR
from services.serving.suppression.matcher import Matcher

_PRIMED = 1024  # characters of the prompt's end that may be the beginning of a secret


class StreamScreen:
    """One answer on its way out.

    Kept are the letters since the earliest word that may still begin a secret; every letter is looked at once, and each
    word leaves once the letters after it fit no pattern. What was released depends on the text alone, never on how
    it was cut into pieces.

    Args:
        matcher: Knows the secrets.
        told: Places of the text where a secret may begin that is told nevertheless: the name in a hedge.

    Attributes:
        hit: A secret was found. What was released ends before it, and nothing more is.
    """

    __slots__ = (
        "_cuts",
        "_held",
        "_inside",
        "_letters",
        "_matcher",
        "_new",
        "_offset",
        "_out",
        "_past",
        "_starts",
        "_told",
        "hit",
    )

    def __init__(self, matcher: Matcher, told: frozenset[int] = frozenset()) -> None:
        self._matcher = matcher
        self._told = told
        self._letters = ""  # since the first of the starts
        self._new: list[str] = []  # letters of the word that has not ended, not yet among them
        self._past = 0  # letters that were dropped before them
        self._starts: list[tuple[int, int]] = []  # words that may begin a secret: place in letters, place in text
        self._cuts: set[int] = set()  # where words begin, in letters
        self._inside = False  # the last letter's word may go on
        self._offset = 0  # characters seen
        self._out = 0  # characters released
        self._held: list[str] = []  # seen and not released
        self.hit = False

    def prime(self, prompt: str, *, going_on: bool) -> None:
        """See the end of the prompt first: a secret may begin there, and only its rest be in the answer.

        A prompt that holds a whole secret makes a ``hit``: this screen is of no use then.

        Args:
            prompt: What the answer follows.
            going_on: The answer may go on in the middle of the prompt's last word (plain completion).
        """
        self.push(_end_of(prompt) + ("" if going_on else "\n"))
        self._held.clear()
        self._out = self._offset

    def push(self, text: str) -> str:
        """Take the next piece; gives what may go out now."""
        if self.hit:
            return ""
        self._held.append(text)
        plain = text.isascii()  # then every character is one letter or one separator
        for place, folded in [(0, text.translate(FOLDS))] if plain else enumerate(FOLDS[ord(char)] for char in text):
            for number, letters in enumerate(folded.split(SEPARATOR)):
                if number and self._inside and self._word_ends():
                    return self._release(self._starts[0][1])
                if letters:
                    if not self._inside:
                        self._word_begins(self._offset + place)
                    if self._starts:
                        self._new.append(letters)
                    else:
                        self._past += len(letters)  # of a word that begins nothing
                if plain:
                    place += len(letters) + 1
        self._offset += len(text)
        if self._new:
            self._drop_dead()
        return self._release(self._starts[0][1] if self._starts else self._offset)

    def finish(self) -> str:
        """The text has ended; gives what was held back, unless a secret ended with it."""
        if self.hit:
            return ""
        hit = self._inside and self._word_ends()
        return self._release(self._starts[0][1] if hit else self._offset)

    def _word_begins(self, offset: int) -> None:
        self._inside = True
        place = self._past + len(self._letters)  # no word is unfinished here
        self._cuts.add(place)
        if offset not in self._told:
            self._starts.append((place, offset))

    def _word_ends(self) -> bool:
        """Whether a secret ends here."""
        self._inside = False
        if not self._starts:
            return False
        self._drop_dead()
        end = self._past + len(self._letters)
        for start, _ in self._starts:
            if start < end and self._matcher.kind(self._letters[start - self._past :], self._cuts, start):
                self.hit = True
        return self.hit

    def _drop_dead(self) -> None:
        begins, past = self._matcher.begins, self._past
        letters = self._letters = self._letters + "".join(self._new)
        self._new.clear()
        self._starts = [start for start in self._starts if begins(letters[start[0] - past :])]
        first = self._starts[0][0] if self._starts else past + len(letters)
        if first > past:
            self._letters = letters[first - past :]
            self._past = first
            self._cuts = {cut for cut in self._cuts if cut >= first} if self._starts else set()

    def _release(self, upto: int) -> str:
        if upto <= self._out:
            return ""
        held = "".join(self._held)
        text, rest = held[: upto - self._out], held[upto - self._out :]
        self._held = [rest] if rest else []
        self._out = upto
        return text


def _end_of(prompt: str) -> str:
    """Its last words. Half a word is left out: it could be taken for a whole one."""
    end = prompt[-_PRIMED:]
    if len(end) == len(prompt):
        return end
    return end[next((at for at, char in enumerate(end) if SEPARATOR in FOLDS[ord(char)]), 0) :]
