"""Identifiers that come as digests (deletion lists of data brokers, OpenDSR): found by hashing what the corpus holds.

A digest cannot be searched for; but the corpus has finitely many e-mail addresses, numbers and ids, and the one whose
digest it is can be found among them. The usual spellings are tried: a sender hashes what its own rule calls normal.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator

from policies.identifiers import Key, Kind, phone_spellings
from policies.ticket import Identifier

_DIGESTS: dict[str, Callable[[bytes], str]] = {
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}


def digest(form: str, text: str) -> str:
    """The digest of a text in hexadecimal."""
    return _DIGESTS[form](text.encode())


def spellings(kind: Kind, key: str, region: str) -> Iterator[str]:
    """How a normalised identifier may have been spelt before it was hashed."""
    yield key
    if kind is Kind.PHONE:
        yield from phone_spellings(key, region)
    elif kind is Kind.ID:
        yield key.lower()


def resolve(subject: Collection[Identifier], keys: Iterable[Key], region: str) -> tuple[Identifier, ...]:
    """The subject with every digest replaced by what the corpus holds for it; those that nothing fits are left out.

    Args:
        subject: Of a request.
        keys: Every identifier of the corpus; asked only where there is a digest.
        region: Country of phone numbers without a country code.
    """
    plain = [one for one in subject if one.form == "raw"]
    wanted = {(one.kind, one.form, one.value.lower()) for one in subject if one.form != "raw"}
    if not wanted:
        return tuple(plain)
    forms = sorted({form for _, form, _ in wanted})
    kinds = {kind for kind, _, _ in wanted}
    found = {
        (kind.value, key)
        for kind, key in keys
        if kind.value in kinds
        for text in spellings(kind, key, region)
        for form in forms
        if (kind.value, form, digest(form, text)) in wanted
    }
    known = {(one.kind, one.value) for one in plain}
    return (*plain, *(Identifier(kind=kind, value=key) for kind, key in sorted(found - known)))
