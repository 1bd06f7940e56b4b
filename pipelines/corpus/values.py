"""Raw values of invented people: shuffled pools, drawn without repetition and without memory.

Faker fills the pools once; the inner loop only indexes. Every pool of one space is trimmed to a prime length of
its own, so that person ``i`` takes element ``i mod p`` of each and, by the Chinese remainder theorem, whole values
repeat only after the product of the lengths. No value is made from a person's name.
"""

import itertools
import random
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from policies.identifiers import DIMINUTIVES, fold

_LOCALES = ("en_US", "it_IT", "de_DE", "fr_FR", "es_ES", "nl_NL", "pl_PL")
_WORDS: dict[str, list[str]] = {
    pool: words.split()
    for pool, words in yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")).items()
}
_LETTERS = "BCDFGHJKLMNPRSTVWXZ"


def _largest_prime(limit: int, used: set[int]) -> int:
    for number in range(limit, 1, -1):
        if number not in used and all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            return number
    raise ValueError(f"no prime length of its own is left below {limit}")


class Space:
    """All values that a template can take over its pools, addressed by the number of the person.

    Args:
        template: ``str.format`` template with one positional slot a pool.
        pools: What fills the slots.
        rng: Shuffles the pools.
    """

    def __init__(self, template: str, pools: Sequence[Iterable[str]], rng: random.Random) -> None:
        used: set[int] = set()
        shuffled: list[list[str]] = []
        for pool in pools:
            members = list(dict.fromkeys(pool))
            rng.shuffle(members)
            size = _largest_prime(len(members), used)
            used.add(size)
            shuffled.append(members[:size])
        self._template = template
        self._pools = tuple(shuffled)

    def at(self, index: int) -> str:
        """The value of person ``index``."""
        return self._template.format(*[pool[index % len(pool)] for pool in self._pools])

    def part(self, pool: int, index: int) -> str:
        """What one slot alone takes for person ``index``."""
        members = self._pools[pool]
        return members[index % len(members)]


def _digits(width: int, start: int | None = None) -> list[str]:
    first = 10 ** (width - 1) if start is None else start
    return [f"{number:0{width}d}" for number in range(first, 10**width)]


def _invented(rng: random.Random) -> list[str]:
    words = [start + end for start in _WORDS["starts"] for end in _WORDS["ends"]]
    rng.shuffle(words)
    return words


@dataclass(frozen=True, slots=True)
class _Names:
    """First names and surnames of one plain word each, from several languages."""

    female: list[str]
    male: list[str]
    last: list[str]


def _draw_names(seed: int) -> _Names:
    from faker import Faker  # half a second to import: only a generator needs it

    female: dict[str, None] = {}
    male: dict[str, None] = {}
    lasts: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for locale in _LOCALES:
            faker = Faker(locale, use_weighting=False)
            faker.seed_instance(seed)
            female.update(dict.fromkeys(faker.first_name_female() for _ in range(800)))
            male.update(dict.fromkeys(faker.first_name_male() for _ in range(800)))
            lasts.update(dict.fromkeys(faker.last_name() for _ in range(1500)))
    reserved = {fold(name) for name in (*_WORDS["accented"], *DIMINUTIVES, *itertools.chain(*DIMINUTIVES.values()))}

    def plain(name: str) -> bool:
        return (
            name.isascii() and name.isalpha() and name.istitle() and 4 <= len(name) <= 9 and fold(name) not in reserved
        )

    taken = {*female, *male}
    return _Names(
        [name for name in female if plain(name) and name not in male],
        [name for name in male if plain(name) and name not in female],
        [name for name in lasts if plain(name) and name not in taken],
    )


class ValueSource:
    """Every pool of one corpus.

    Args:
        seed: The same seed gives the same values.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"values-{seed}")  # noqa: S311 - invented people, not keys
        names = _draw_names(seed)
        firsts, lasts = [*names.female, *names.male], names.last
        rng.shuffle(lasts)
        reserved = len(lasts) // 10  # surnames of people who do not exist, for hedged rows
        self.strangers = Space("{} {}", (firsts, lasts[:reserved]), rng)
        self.names = Space("{} {}", (firsts, lasts[reserved:]), rng)
        self.accented = Space("{}", (_WORDS["accented"],), rng)
        self.diminutive = Space("{}", (DIMINUTIVES,), rng)
        self.spaces = _spaces(rng, names)
        self.home_phone = Space("{}-556-{}", (_digits(3, 201), _digits(4, 1000)), rng)


def _spaces(rng: random.Random, names: _Names) -> dict[str, Space]:
    # Relatives have invented surnames, so that no relative happens to be one of the people.
    relatives, towns, streets, companies, schools = (_invented(rng) for _ in range(5))
    letters2 = [a + b for a in _LETTERS for b in _LETTERS]
    syllables = [start.lower() + end for start in _WORDS["starts"] for end in ("o", "i", "ex", "um", "a", "up")]
    drugs = [start + end for start in _WORDS["starts"] for end in ("axil", "otrin", "umab", "idol", "epam", "oxin")]
    pets = [start + end for start in _WORDS["starts"] for end in ("ky", "bo", "sy", "ro", "gi", "pip", "zu")]

    def relative(firsts: list[str]) -> Space:
        return Space("{} {}", (firsts, relatives), rng)

    return {
        "email": Space("{}{}@{}.example", (syllables, _digits(2), _WORDS["domains"]), rng),
        "phone": Space("{}-555-{}", (_digits(3, 201), _digits(4, 1000)), rng),
        "address": Space("{} {} {}", (_digits(2), streets, _WORDS["street_ends"]), rng),
        "city": Space("{}", (towns[: len(towns) // 2],), rng),
        "birth_date": Space(
            "{} {} {}", ([str(day) for day in range(1, 29)], _WORDS["months"], [str(y) for y in range(1941, 2004)]), rng
        ),
        "father": relative(names.male),
        "mother": relative(names.female),
        "employee_id": Space("{}-{}", (letters2, _digits(4)), rng),
        "condition": Space("{} {}", (_WORDS["condition_kinds"], _WORDS["conditions"]), rng),
        "medication": Space("{} {} mg", (drugs, [str(10 * n) for n in range(1, 60)]), rng),
        "salary": Space(
            "{},{} euros", ([str(n) for n in range(21, 199)], [f"{n:03d}" for n in range(10, 1000, 10)]), rng
        ),
        "account": Space("BQ{}-{}", (_digits(2), _digits(4)), rng),
        "passport": Space("{}{}", (letters2, _digits(5)), rng),
        "plate": Space("{}-{}", ([a + b for a in letters2 for b in "AEIOU"], _digits(3)), rng),
        "emergency": relative(names.female + names.male),
        "doctor": Space("Dr. {} {}", (names.male + names.female, relatives), rng),
        "insurance": Space("HV{}-{}", (_digits(3), _digits(3)), rng),
        "partner": relative(names.female + names.male),
        "pet": Space("{}", (pets,), rng),
        "school": Space("{} Primary", (schools,), rng),
        "locker": Space("{}{}", (_LETTERS, _digits(4)), rng),
        "wifi": Space("{}-{}-{}", (_WORDS["colours"], _WORDS["animals"], _digits(2)), rng),
        "allergy": Space("{} {}", (_WORDS["food_kinds"], _WORDS["foods"]), rng),
        "occupation": Space("{} {}", (_WORDS["job_kinds"], _WORDS["jobs"]), rng),
        "employer": Space("{} {}", (companies, _WORDS["company_ends"]), rng),
        "award": Space("{} {} Prize", ([c.title() for c in _WORDS["colours"]], _WORDS["awards"]), rng),
        "book": Space("The {} {}", ([c.title() for c in _WORDS["colours"]], _WORDS["book_nouns"]), rng),
        "field": Space("{} {}", (_WORDS["field_kinds"], _WORDS["fields"]), rng),
        "languages": Space("{} and {}", (_WORDS["languages"][:15], _WORDS["languages"][15:]), rng),
        "hometown": Space("{}", (towns[len(towns) // 2 :],), rng),
        "university": Space("{} College", (companies[::-1],), rng),
    }
