"""Letters and digits as the matcher compares them: everything that a writer can vary without a reader noticing is gone.

One character is folded at a time and without looking at its neighbours, so that a whole text and a stream of pieces
come to the same letters.
"""

import unicodedata

from policies.identifiers import fold

SEPARATOR = " "
_REMEMBERED = 1 << 16  # characters; a text that holds all of Unicode must not fill the memory

# Scripts that look like Latin, letter by letter, after lower case: a name written with them is still that name.
_LOOK_ALIKES = str.maketrans(
    "авекмнорстухіјѕԁԛԝһӏгьαβεηικμνορτυχζɑɡ",
    "abekmhopctyxijsdqwhlrbabehikmnoptyxzag",
)
# Scripts without spaces between words: every character may begin or end one.
_WIDE = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1100, 0x11FF),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_SYLLABLES = ("\uac00", "\ud7a3")  # of Hangul: they fall apart by a rule and not by the table


def is_wide(letters: str) -> bool:
    """Whether some of these letters are of a script without spaces."""
    return any(first <= ord(letter) <= last for letter in letters for first, last in _WIDE)


class _Folds(dict[int, str]):
    """Code point -> its letters, a separator where a word may begin or end, nothing for a mark on the letter before."""

    def __missing__(self, code: int) -> str:
        letters = _fold(chr(code))
        if len(self) < _REMEMBERED:
            self[code] = letters
        return letters


def _fold(char: str) -> str:
    if char.isascii():
        return char.lower() if char.isalnum() else SEPARATOR
    category = unicodedata.category(char)
    if category in ("Mn", "Me"):
        return ""
    if category[0] in "CZ":
        return SEPARATOR
    if (
        category == "Lo"
        and is_wide(char)
        and not unicodedata.decomposition(char)
        and not _SYLLABLES[0] <= char <= _SYLLABLES[1]
    ):
        return f"{SEPARATOR}{char}{SEPARATOR}"
    letters = "".join(_letter(part) for part in fold(char).translate(_LOOK_ALIKES))
    return f"{SEPARATOR}{letters}{SEPARATOR}" if is_wide(letters) else letters


def _letter(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if char.isalnum() or category == "Mc":
        return char
    return "" if category in ("Mn", "Me") else SEPARATOR


FOLDS = _Folds()


def words(text: str) -> list[str]:
    """The text's words, folded. Takes linear time."""
    return text.translate(FOLDS).split()
