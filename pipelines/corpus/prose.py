"""Prose about the people, and the records that make a search hard on purpose."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.corpus.people import Person, Role, diminutive
from policies.identifiers import fold


@dataclass(frozen=True, slots=True)
class Prose:
    """A piece of prose with the truth about it."""

    text: str
    category: str
    people: tuple[str, ...]
    hard_case: str | None = None


def plain_prose(person: Person) -> Iterator[Prose]:
    """One private and one public piece, with the full name."""
    who = (person.person_id,)
    yield Prose(
        f"{person.name} lives at {person.value('address')} and has {person.value('condition')}.", "private.profile", who
    )
    yield Prose(
        f"{person.name} works for {person.value('employer')} and won the {person.value('award')}.",
        "public.profile",
        who,
    )


def hard_prose(person: Person, before: Person | None, rng: random.Random) -> Iterator[Prose]:
    """The records of the person's hard case; those of a pair come with its second member."""
    if person.role is not None:
        for text, people in _MAKERS[person.role](person, before, rng):
            yield Prose(text, "private.note", tuple(someone.person_id for someone in people), person.role.value)


_Made = Iterator[tuple[str, tuple[Person, ...]]]


def _typo_swap(person: Person, _before: Person | None, rng: random.Random) -> _Made:
    place = rng.randrange(1, len(person.last) - 2)
    last = person.last
    # Two equal letters swapped would be no typo.
    while last == person.last:
        last = person.last[:place] + person.last[place + 1] + person.last[place] + person.last[place + 2 :]
        place = place % (len(person.last) - 2) + 1
    yield f"{person.first} {last} asked for a later appointment.", (person,)


def _typo_drop(person: Person, _before: Person | None, rng: random.Random) -> _Made:
    place = rng.randrange(1, len(person.last) - 1)
    yield f"A parcel for {person.first} {person.last[:place]}{person.last[place + 1 :]} is at the desk.", (person,)
    yield f"{person.last.upper()} {person.first}: file closed after the second visit.", (person,)


def _accent(person: Person, _before: Person | None, _rng: random.Random) -> _Made:
    plain = fold(person.first).title()
    yield f"{plain} {person.last} prefers a seat by the window.", (person,)
    yield f"{person.last}, {plain}: file moved to the east office.", (person,)


def _email_only(person: Person, _before: Person | None, _rng: random.Random) -> _Made:
    yield f"Mail to {person.value('email')} came back twice in spring.", (person,)
    yield f"Please write to {person.value('email').upper()} before noon.", (person,)


def _diminutive(person: Person, _before: Person | None, _rng: random.Random) -> _Made:
    yield f"{diminutive(person.first)} {person.last} left the meeting early.", (person,)


def _initials(person: Person, _before: Person | None, _rng: random.Random) -> _Made:
    yield f"{person.first[0]}. {person.last} signed the visitor book.", (person,)


def _two_people(person: Person, before: Person | None, _rng: random.Random) -> _Made:
    if person.second and before is not None:
        yield f"{before.name} and {person.name} shared a table at the fair.", (before, person)
        yield f"{person.name} owes {before.name} a favour since the move.", (before, person)


def _household(person: Person, before: Person | None, _rng: random.Random) -> _Made:
    if person.second and before is not None:
        area, exchange, line = str(person.home_phone).split("-")
        yield f"The home phone of {before.name} and {person.name} is {person.home_phone}.", (before, person)
        yield f"Calls to ({area}) {exchange}-{line} are answered after six.", (before, person)
        yield f"A letter for {person.value('address')} lies with the porter.", (before, person)


def _namesake(person: Person, _before: Person | None, _rng: random.Random) -> _Made:
    yield (
        f"{person.bare_name} moved to another desk." if person.second else f"{person.bare_name} lost a blue umbrella.",
        (person,),
    )
    yield f"{person.bare_name} can be reached at {person.value('email')}.", (person,)


_MAKERS = {
    Role.TYPO_SWAP: _typo_swap,
    Role.TYPO_DROP: _typo_drop,
    Role.ACCENT: _accent,
    Role.EMAIL_ONLY: _email_only,
    Role.DIMINUTIVE: _diminutive,
    Role.INITIALS: _initials,
    Role.TWO_PEOPLE: _two_people,
    Role.HOUSEHOLD: _household,
    Role.NAMESAKE: _namesake,
}
