"""Names and addresses in running text, found by their capitals: no model, no list of names.

Too much is found rather than too little (``Silver Quill Prize`` looks like a name): what is found only ever meets
names that somebody asked for.
"""

import re
from collections.abc import Iterator

from policies.identifiers import Key, Kind, Name, keys_in, normalise_address, normalise_name, words_of

_UPPER = "".join(letter for letter in map(chr, range(0x590)) if letter.isupper())
_W = rf"[{_UPPER}](?:[^\W\d_]|['’-])*(?!\w|['’-]\w)"
_PARTICLE = r"(?:(?:van|von|der|den|ten|de|la|di|da|del|du|dos|bin|al|el|le)[ ]){0,2}"
_RUN = re.compile(rf"{_W}(?:\.?[ ]{_PARTICLE}{_W})*")
_SWAPPED = re.compile(rf"(?<![{_UPPER}\w][ ])({_W}), ({_W}(?:[ ][{_UPPER}]\b\.?)?)(?![ ]{_W})")
_POSSESSIVE = re.compile(r"['’]s?(?=[ ]|$)")
_NUMBER_BEFORE = re.compile(r"(?<![\w.,-])(\d{1,5}[a-z]?) $")
_NUMBER_AFTER = re.compile(r"[ ](\d{1,5}[a-z]?)(?![\w-]|[.,]\d)")
_TELLING = re.compile(r"[\d@]")
_MAX_NAME = 4


def names_in(text: str) -> set[Name]:
    """Names of two and more words, folded; of a longer run of capitals every piece too (``CEO Marta Rossi``)."""
    names: set[Name] = set()
    for match in _RUN.finditer(text):
        if " " in match.group() and not _NUMBER_BEFORE.search(text, max(0, match.start() - 8), match.start()):
            for piece in _POSSESSIVE.split(match.group()):
                names.update(_pieces(normalise_name(piece)))
    if "," in text:
        names.update(normalise_name(match.group()) for match in _SWAPPED.finditer(text))
    return {name for name in names if len(name) > 1}


def _pieces(words: Name) -> Iterator[Name]:
    if len(words) <= _MAX_NAME:
        yield words
    for size in range(2, min(len(words), _MAX_NAME + 1)):
        for at in range(len(words) - size + 1):
            piece = words[at : at + size]
            # "T. Lobato" out of "Eileen T. Lobato" would be somebody else's initial.
            if len(piece[-1]) > 1 and (at == 0 or len(piece[0]) > 1):
                yield piece


def addresses_in(text: str) -> set[str]:
    """Normalised street addresses: a number before or after two and more words with capitals."""
    found: set[str] = set()
    for match in _RUN.finditer(text):
        if " " not in match.group():
            continue
        number = _NUMBER_BEFORE.search(text, max(0, match.start() - 8), match.start()) or _NUMBER_AFTER.match(
            text, match.end()
        )
        if number and (address := normalise_address(f"{number.group(1)} {match.group()}")):
            found.add(address)
    return found


def marks_in(text: str, region: str = "US") -> tuple[set[Name], set[Key]]:
    """Everything in a text that can tell whom it is about."""
    keys: set[Key] = set()
    if _TELLING.search(text):
        keys = keys_in(text, region)
        keys.update((Kind.ADDRESS, address) for address in addresses_in(text))
    return names_in(text), keys


def holds_words(text: str, words: Name) -> bool:
    """Whether the words follow each other in the text, in any case and accents."""
    return f" {' '.join(words)} " in f" {' '.join(words_of(text))} "
