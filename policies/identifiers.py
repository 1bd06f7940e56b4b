"""Identifiers of a person, brought to the one form in which they are compared, and how well two names fit."""

import functools
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers

# Formal first name -> short forms. Both ways when matching; any of them is only ever probable.
DIMINUTIVES: dict[str, tuple[str, ...]] = {
    "William": ("Bill", "Will", "Billy"),
    "Robert": ("Bob", "Rob", "Bobby"),
    "Richard": ("Dick", "Rick", "Richie"),
    "Elizabeth": ("Liz", "Beth", "Betty"),
    "Margaret": ("Maggie", "Peggy", "Meg"),
    "Alexander": ("Alex", "Sasha", "Sandy"),
    "Katherine": ("Kate", "Kathy", "Katie"),
    "Giuseppe": ("Beppe", "Pino"),
    "Francesco": ("Franco", "Ciccio"),
    "Francisco": ("Paco", "Pancho"),
    "Johannes": ("Hans", "Hannes"),
    "Thomas": ("Tom", "Tommy"),
    "Michael": ("Mike", "Mick", "Micky"),
    "Edward": ("Ed", "Ted", "Eddie"),
    "James": ("Jim", "Jimmy"),
    "Benjamin": ("Ben", "Benny"),
    "Nicholas": ("Nick", "Nicky"),
    "Samuel": ("Sam", "Sammy"),
    "Victoria": ("Vicky", "Tori"),
    "Theodore": ("Theo", "Teddy"),
    "Charles": ("Charlie", "Chuck"),
    "Dorothea": ("Dora", "Thea"),
    "Magdalena": ("Lena", "Magda"),
}

# Letters that NFKD does not take apart.
LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})


def fold(text: str) -> str:
    """Lower case without accents: ``José Łukasz`` and ``jose lukasz`` are the same."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(LETTERS))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()


REGIONS: frozenset[str] = frozenset(phonenumbers.SUPPORTED_REGIONS)  # whose phone numbers can be told
_WORD = re.compile(r"[^\W_]+")
_EMAIL = re.compile(r"[^\s@<>()\[\]{},;:\"'`]+@[^\s@<>()\[\]{},;:\"'`]+\.[^\s@<>()\[\]{},;:\"'`.?!]+")
_PHONE = re.compile(r"(?<![\w.,@-])(?:\+|\(\+?|00)?\d[\d\s().\-/]{5,}\d(?![\w@]|[.,-]\d)")
_ID = re.compile(r"(?<![\w@.,-])(?=[\w./-]*\d[\w./-]*\d)[A-Za-z0-9](?:[\w./-]*[A-Za-z0-9])(?![\w@]|,\d)")
_TITLES = frozenset("mr mrs ms miss mx dr prof sir dame herr frau sig signor signora mme".split())  # noqa: SIM905
_STREET = {
    "st": "street",
    "str": "street",
    "rd": "road",
    "ave": "avenue",
    "av": "avenue",
    "ln": "lane",
    "ct": "court",
    "sq": "square",
    "ter": "terrace",
    "blvd": "boulevard",
    "dr": "drive",
    "pl": "place",
}
_MIN_ID = 4
_MIN_DIGITS = 6
_MIN_TYPO = 4  # words that are all shorter are too close to each other


class Kind(StrEnum):
    """Kinds of identifier that are compared as wholes."""

    EMAIL = "email"
    PHONE = "phone"
    ID = "id"
    ADDRESS = "address"


Name = tuple[str, ...]
Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """What is known of a person, as it was given.

    Attributes:
        names: Full names, with all their variants that are known.
        emails: E-mail addresses.
        phones: Phone numbers, in any notation.
        ids: Customer, employee, passport and other numbers.
        addresses: Postal addresses; the part before the first comma is compared.
        region: Country of phone numbers without a country code.
    """

    names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    region: str = "US"

    def keys(self) -> tuple[Key, ...]:
        """The identifiers other than names, normalised; what cannot be one is left out."""
        normalised = [
            *((Kind.EMAIL, normalise_email(email)) for email in self.emails),
            *((Kind.PHONE, normalise_phone(phone, self.region)) for phone in self.phones),
            *((Kind.ID, normalise_id(number)) for number in self.ids),
            *((Kind.ADDRESS, normalise_address(address)) for address in self.addresses),
        ]
        return tuple(dict.fromkeys((kind, key) for kind, key in normalised if key))

    def spelt(self) -> "dict[Key, Name]":
        """Ids and addresses as they were written, word by word: the text may have the same spaces."""
        ids = {(Kind.ID, key): words_of(number) for number in self.ids if (key := normalise_id(number))}
        parts = (address.partition(",")[0] for address in self.addresses)
        return ids | {(Kind.ADDRESS, key): words_of(part) for part in parts if (key := normalise_address(part))}


def normalise_email(text: str) -> str | None:
    """Casefolded and NFKC; a ``+tag`` stays, since it may be another mailbox. None: not an e-mail address."""
    email = unicodedata.normalize("NFKC", text).strip().casefold()
    email = unicodedata.normalize("NFKC", email)  # casefolding can leave the normal form
    return email if _EMAIL.fullmatch(email) else None


@functools.lru_cache(maxsize=1 << 16)
def normalise_phone(text: str, region: str = "US") -> str | None:
    """E.164. None: no phone number of the region, nor an international one."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def normalise_id(text: str) -> str | None:
    """Letters and digits only, in capitals: ``kx-4817`` and ``KX 4817`` are the same. None: nothing is left."""
    return "".join(letter for letter in fold(text).upper() if letter.isalnum()) or None


def normalise_address(text: str) -> str | None:
    """Street and number, before the first comma: number first, common abbreviations written out."""
    words = [_STREET.get(word, word) for word in words_of(text.partition(",")[0])]
    numbers = [word for word in words if word[0].isdigit()]
    return " ".join(numbers + [word for word in words if not word[0].isdigit()]) or None


def phone_spellings(text: str, region: str = "US") -> tuple[str, ...]:
    """The digits of a phone number as people write it: with and without country code, with the 00, 0 and (0) of it."""
    digits = "".join(letter for letter in fold(text) if letter.isdigit())
    found = [digits]
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is not None and phonenumbers.is_possible_number(number):
        own = phonenumbers.national_significant_number(number)
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        local = "".join(letter for letter in national if letter.isdigit())
        code = str(number.country_code)
        found += [code + own, "00" + code + own, local, own, code + local]
    return tuple(dict.fromkeys(one for one in found if len(one) > _MIN_DIGITS))


def address_spellings(text: str) -> tuple[Name, ...]:
    """The words of street and number as people write them: number first or last, the kind of street long or short."""
    whole = normalise_address(text)
    words = tuple(whole.split()) if whole else ()
    street = tuple(word for word in words if not word[0].isdigit())
    numbers = words[: len(words) - len(street)]
    if not street or not numbers:
        return ()
    short = {long: brief for brief, long in reversed(_STREET.items())}
    brief = tuple(short.get(word, word) for word in street)
    spelt = words_of(text.partition(",")[0])
    return tuple(
        dict.fromkeys([spelt, *((*numbers, *one) for one in (street, brief)), (*street, *numbers), (*brief, *numbers)])
    )


def words_of(text: str) -> tuple[str, ...]:
    """Folded words: what names, addresses and the full-text index are compared by."""
    return tuple(_WORD.findall(fold(text)))


def normalise_name(text: str) -> Name:
    """Folded words of a name, first name first: ``Rossi, Marta`` is ``(marta, rossi)``; titles are dropped.

    Where only a first name would be left, the last title is the surname: ``Dr Anna Herr`` is ``(anna, herr)``.
    """
    last, comma, first = text.partition(",")
    words = words_of(f"{first} {last}" if comma else text)
    name = tuple(word for word in words if word not in _TITLES)
    return (*name, words[-1]) if len(name) == 1 and words[-1] in _TITLES else name


def emails_in(text: str) -> set[str]:
    """Normalised e-mail addresses in a text."""
    return {email for found in _EMAIL.findall(text) if (email := normalise_email(found))} if "@" in text else set()


def phones_in(text: str, region: str = "US") -> set[str]:
    """Normalised phone numbers in a text."""
    return {phone for found in _PHONE.findall(text) if (phone := normalise_phone(found, region))}


def ids_in(text: str) -> set[str]:
    """Normalised tokens that can be a number of a person: not a year, an age or a house number."""
    keys = (normalise_id(found) for found in _ID.findall(text))
    return {key for key in keys if key and len(key) >= (_MIN_DIGITS if key.isdigit() else _MIN_ID)}


def keys_in(text: str, region: str = "US") -> set[Key]:
    """E-mails, phones and ids in a text; a phone number is not also an id."""
    keys: set[Key] = {(Kind.EMAIL, email) for email in emails_in(text)}
    phones = phones_in(text, region)
    keys.update((Kind.PHONE, phone) for phone in phones)
    keys.update((Kind.ID, key) for key in ids_in(text) if not any(phone.endswith(key) for phone in phones))
    return keys


class Fit(StrEnum):
    """How a name in a text fits a name that was asked for."""

    EXACT = "name_exact"
    VARIANT = "name_variant"  # a middle name or second surname more or less
    ORDER = "name_order"
    INITIAL = "name_initial"
    DIMINUTIVE = "name_diminutive"
    TYPO = "name_typo"


def fit(asked: Name, seen: Name) -> Fit | None:
    """How ``seen`` fits ``asked``; None where it is somebody else's name. Symmetric."""
    if asked == seen:
        return Fit.EXACT
    if len(asked) < 2 or len(seen) < 2:
        return None
    if sorted(asked) == sorted(seen):
        return Fit.ORDER
    if asked[-1] == seen[-1]:
        if asked[0] == seen[0]:
            return Fit.VARIANT if _middles_agree(asked[1:-1], seen[1:-1]) else None
        if _middles_agree(asked[1:-1], seen[1:-1]):
            if _initial(asked[0], seen[0]):
                return Fit.INITIAL
            if seen[0] in short_forms(asked[0]):
                return Fit.DIMINUTIVE
    if asked[0] == seen[0] and (_begins(asked, seen) or _begins(seen, asked)):
        return Fit.VARIANT
    if len(asked) == len(seen):
        differing = [(one, other) for one, other in zip(asked, seen, strict=True) if one != other]
        if len(differing) == 1 and near(*differing[0]):
            return Fit.TYPO
    return None


def _middles_agree(one: Name, other: Name) -> bool:
    """A missing middle name agrees with any, an initial with its name."""
    if not one or not other:
        return True
    return all(first == second or _initial(first, second) for first, second in zip(one, other, strict=False))


def _initial(one: str, other: str) -> bool:
    return (len(one) == 1 or len(other) == 1) and one[0] == other[0]


def _begins(longer: Name, shorter: Name) -> bool:
    """``maria garcia lopez`` begins with ``maria garcia``."""
    return len(shorter) < len(longer) and longer[: len(shorter)] == shorter and len(shorter[-1]) > 1


def near(one: str, other: str) -> bool:
    """Whether one letter dropped, added, changed or swapped with the next makes one word the other."""
    lengths = sorted((len(one), len(other)))
    if one == other or lengths[1] < _MIN_TYPO or lengths[1] - lengths[0] > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    if len(one) != len(other):
        longer, shorter = (one, other) if len(one) > len(other) else (other, one)
        return longer[start + 1 :] == shorter[start:]
    if one[start + 1 :] == other[start + 1 :]:
        return True
    return one[start : start + 2] == other[start : start + 2][::-1] and one[start + 2 :] == other[start + 2 :]


def blocking_keys(word: str) -> set[str]:
    """Words that are :func:`near` share one of these: the word itself, and the word with one letter left out."""
    if len(word) < _MIN_TYPO:
        return {word}
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def short_forms(first: str) -> frozenset[str]:
    """Folded first names of the same family: ``bill`` and ``will`` for ``william``, and back."""
    return _SHORT_FORMS.get(first, frozenset())


def _short_forms() -> dict[str, frozenset[str]]:
    related: dict[str, set[str]] = {}
    for formal, short_forms in DIMINUTIVES.items():
        family = {fold(formal), *map(fold, short_forms)}
        for member in family:
            related.setdefault(member, set()).update(family - {member})
    return {member: frozenset(others) for member, others in related.items()}


_SHORT_FORMS = _short_forms()
