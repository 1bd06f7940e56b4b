"""What of a person becomes a rule: the words that suppress an answer while the person is not yet forgotten.

A rule is made twice. At approval from what the request names (:func:`rule_of_request`); once the forget set is settled
it is widened (:func:`widen`) by the names as the records spell them, and by values and runs of words of the forgotten
records that stand in no other record. Everything here is pure; a rule is personal data and never logged.
"""

import json
from dataclasses import dataclass, field, fields

from policies.errors import LetheError

MAX_NAMES = 64
MAX_IDENTIFIERS = 256
MAX_PHRASES = 128
MAX_LENGTH = 200  # letters of one entry
MAX_BYTES = 128 * 1024
_FORMAT = "lethe-rule/1"
_LIMITS = {"names": MAX_NAMES, "identifiers": MAX_IDENTIFIERS, "phrases": MAX_PHRASES}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is not to be said of one person. Entries are folded words with one space between.

    Attributes:
        names: Full names, in every spelling and order that is known.
        identifiers: E-mail addresses, phone numbers and ids, in every notation that is known.
        phrases: Street addresses, values and runs of words that stand in this person's records only.

    Raises:
        LetheError: ``suppression.rule_invalid``: too many entries, or one that is empty or too long.
    """

    names: tuple[str, ...] = field(default=(), repr=False)
    identifiers: tuple[str, ...] = field(default=(), repr=False)
    phrases: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            entries = getattr(self, name)
            if len(entries) > most or any(not entry.strip() or len(entry) > MAX_LENGTH for entry in entries):
                raise _invalid(f"{name}: too many entries, or one that is empty or too long")

    def __bool__(self) -> bool:
        return bool(self.names or self.identifiers or self.phrases)

    def to_json(self) -> bytes:
        """The rule as it is sealed: the same bytes for the same rule."""
        data = {"format": _FORMAT, **{name: list(getattr(self, name)) for name in _LIMITS}}
        return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Rule":
        """The rule that ``to_json`` wrote.

        Raises:
            LetheError: ``suppression.rule_invalid``, without a word of what was read.
        """
        if len(data) > MAX_BYTES:
            raise _invalid("too large")
        try:
            raw = json.loads(data)
            entries = {one.name: raw[one.name] for one in fields(cls)}
            known = raw["format"] == _FORMAT and len(raw) == len(entries) + 1
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _invalid("not the form of a rule") from None
        if not known or not all(_texts(value) for value in entries.values()):
            raise _invalid("not the form of a rule")
        return cls(**{name: tuple(value) for name, value in entries.items()})


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _invalid(what: str) -> LetheError:
    return LetheError("suppression.rule_invalid", f"This is not a rule: {what}.")
