"""Which attacks there are. Adding one touches its own file and this package's list only."""

from typing import TypeVar

from pipelines.verify.attacks.port import Attack, Tier
from policies.errors import LetheError

_A = TypeVar("_A", bound=type[Attack])
_ATTACKS: dict[str, type[Attack]] = {}


def attack(cls: _A) -> _A:
    """Class decorator: make an attack known.

    Raises:
        ValueError: Its name is taken.
    """
    if cls.name in _ATTACKS:
        raise ValueError(f"there is an attack {cls.name!r} already")
    _ATTACKS[cls.name] = cls
    return cls


def attacks(tiers: frozenset[Tier] | None = None) -> tuple[Attack, ...]:
    """Every attack of some tiers, the cheapest first."""
    import pipelines.verify.attacks.all  # noqa: F401 - the attacks register themselves

    chosen = (cls for cls in _ATTACKS.values() if tiers is None or cls.tier in tiers)
    return tuple(cls() for cls in sorted(chosen, key=lambda cls: (cls.tier, cls.name)))


def attack_named(name: str) -> Attack:
    """One attack.

    Raises:
        LetheError: ``verify.unknown_attack``.
    """
    found = {one.name: one for one in attacks()}
    if name not in found:
        raise LetheError("verify.unknown_attack", f"There is no attack of that name; there are {', '.join(found)}.")
    return found[name]
