"""Invented people: who they are, which hard case each one stands for, and their facts."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipelines.corpus.attributes import ATTRIBUTES, Attribute
from pipelines.corpus.values import ValueSource
from policies.identifiers import DIMINUTIVES

_MIDDLE_INITIALS = "BDFGHKLNPRTVW"


class Role(StrEnum):
    """The hard case that a person stands for; one block of twelve people has each once."""

    TYPO_SWAP = "typo_swap"
    ACCENT = "accent"
    EMAIL_ONLY = "email_only"
    DIMINUTIVE = "diminutive"
    NAMESAKE = "namesake"
    HOUSEHOLD = "household"
    TWO_PEOPLE = "two_people"
    INITIALS = "initials"
    TYPO_DROP = "typo_drop"


# Pairs stand side by side: the second of a pair refers to the one before.
BLOCK: tuple[Role, ...] = (
    Role.TYPO_SWAP,
    Role.ACCENT,
    Role.EMAIL_ONLY,
    Role.DIMINUTIVE,
    Role.TWO_PEOPLE,
    Role.TWO_PEOPLE,
    Role.INITIALS,
    Role.TYPO_DROP,
    Role.HOUSEHOLD,
    Role.HOUSEHOLD,
    Role.NAMESAKE,
    Role.NAMESAKE,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact about one person."""

    fact_id: str
    attribute: Attribute
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An invented person.

    Attributes:
        number: Position in the corpus.
        person_id: Opaque id.
        first: First name.
        last: Surname.
        name: As questions write it; namesakes carry a middle initial there.
        role: The hard case, None where its pair is incomplete.
        second: Whether this is the second of a pair.
        facts: All facts, in the order of ``ATTRIBUTES``.
        home_phone: Shared by a household, else None.
    """

    number: int
    person_id: str
    first: str
    last: str
    name: str
    role: Role | None
    second: bool
    facts: tuple[Fact, ...]
    home_phone: str | None

    @property
    def bare_name(self) -> str:
        """First name and surname alone."""
        return f"{self.first} {self.last}"

    def value(self, key: str) -> str:
        """The value of an attribute by its key."""
        return next(fact.value for fact in self.facts if fact.attribute.key == key)

    def row(self) -> dict[str, object]:
        """The person as ``people.jsonl`` has it."""
        names = [self.name] if self.name == self.bare_name else [self.name, self.bare_name]
        return {
            "person": self.person_id,
            "names": names,
            "emails": [self.value("email")],
            "phones": [self.value("phone"), *([self.home_phone] if self.home_phone else [])],
            "ids": [self.value(key) for key in ("employee_id", "passport", "insurance", "account", "plate")],
            "addresses": [f"{self.value('address')}, {self.value('city')}"],
            "facts": {fact.fact_id: fact.attribute.category for fact in self.facts},
        }


def opaque(kind: str, seed: int, *parts: object) -> str:
    """An id that says nothing, equal for equal seeds."""
    content = "|".join(map(str, (seed, *parts))).encode()
    return kind + hashlib.blake2b(content, digest_size=7).hexdigest()


def invent(source: ValueSource, people: int, seed: int, first: int = 0) -> Iterator[Person]:
    """People one after another, up to number ``people - 1``; nothing is kept between two pairs."""
    for number in range(first, people):
        yield _person(source, number, people, seed)


def _person(source: ValueSource, number: int, people: int, seed: int) -> Person:
    position = number % len(BLOCK)
    role: Role | None = BLOCK[position]
    second = position > 0 and BLOCK[position - 1] == role
    paired = second or (position + 1 < len(BLOCK) and BLOCK[position + 1] == role)
    if paired and not second and number + 1 >= people:
        role = None
    block = number // len(BLOCK)
    shared = number - 1 if second else number  # what the second of a pair takes over from the first
    same_name = role is Role.NAMESAKE
    first = source.names.part(0, shared if same_name else number)
    last = source.names.part(1, shared if same_name or role is Role.HOUSEHOLD else number)
    if role is Role.ACCENT:
        first = source.accented.at(block)
    elif role is Role.DIMINUTIVE:
        first = source.diminutive.at(block)
    middle = _MIDDLE_INITIALS[(number + seed + (5 if second else 0)) % len(_MIDDLE_INITIALS)]
    return Person(
        number=number,
        person_id=f"p{number:02d}",
        first=first,
        last=last,
        name=f"{first} {middle}. {last}" if same_name else f"{first} {last}",
        role=role,
        second=second,
        facts=tuple(
            Fact(
                opaque("f", seed, number, attribute.key),
                attribute,
                source.spaces[attribute.key].at(
                    shared if role is Role.HOUSEHOLD and attribute.key in ("address", "city") else number
                ),
            )
            for attribute in ATTRIBUTES
        ),
        home_phone=source.home_phone.at(shared) if role is Role.HOUSEHOLD else None,
    )


def diminutive(first: str) -> str:
    """A short form of the first name."""
    return DIMINUTIVES[first][0]
