"""Finding a person's tickets again: hashes of identifiers under the installation's key, never the identifiers."""

import logging
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from policies.errors import LetheError
from policies.hashed_identifiers import digest, spellings
from policies.identifiers import (
    Kind,
    normalise_address,
    normalise_email,
    normalise_id,
    normalise_name,
    normalise_phone,
)
from policies.lifecycle import CLOSED_TICKET
from policies.ticket import HASH_LENGTHS, HASHED_KINDS, Identifier
from services import sealing
from services.region import region_of
from services.request import request_of
from services.store.tables import LookupHash, SealedIdentity, Ticket

_log = logging.getLogger(__name__)
_NORMALISE: dict[str, Callable[[str], str | None]] = {
    "email": normalise_email,
    "id": normalise_id,
    "address": normalise_address,
    "name": lambda text: " ".join(normalise_name(text)),
}


def lookup_hashes(session: Session, subject: Sequence[Identifier]) -> set[tuple[str, str]]:
    """(kind, hash) of every identifier, in the form in which they are compared.

    A raw one has those of its digests too: a ticket of a hashed list is found to be the same person's.
    """
    ring, region = sealing.ring_of(session), region_of(session)
    found: set[tuple[str, str]] = set()
    for identifier in subject:
        kind = identifier.kind
        said = [(f"{kind}.{identifier.form}", identifier.value.lower())]
        if identifier.form == "raw":
            value = _normalised(identifier, region)
            said = [(kind, value), *_digests(kind, value, region)] if value else []
        found.update((kind, ring.lookup_hash(kind, text)) for kind, text in said)
    return found


def _normalised(identifier: Identifier, region: str) -> str | None:
    if identifier.kind == "phone":
        return normalise_phone(identifier.value, region)
    return _NORMALISE[identifier.kind](identifier.value)


def _digests(kind: str, value: str, region: str) -> Iterator[tuple[str, str]]:
    """What a ticket would hold that gives this identifier as a digest, so that both are found to be one person's."""
    if kind in HASHED_KINDS:
        for text in dict.fromkeys(spellings(Kind(kind), value, region)):
            for form in HASH_LENGTHS:
                yield f"{kind}.{form}", digest(form, text)


def fill_in(session: Session) -> int:
    """Give the open tickets of an earlier version, which lack the hashes of digests, theirs; how many lacked them.

    Closed ones cannot be given any: their raw identity is gone. One that cannot be read is told in the log and passed
    over: the intake starts for the others.
    """
    digests = aliased(LookupHash)
    has = digests.subject_ref == LookupHash.subject_ref, digests.kind == LookupHash.kind + ".sha256"
    lacking = select(LookupHash.subject_ref).where(LookupHash.kind.in_(HASHED_KINDS), ~exists().where(*has))
    query = (
        select(Ticket)
        .join(SealedIdentity, SealedIdentity.subject_ref == Ticket.subject_ref)
        .where(Ticket.status.not_in(CLOSED_TICKET), Ticket.subject_ref.in_(lacking))
    )
    tickets = list(session.scalars(query))
    for ticket in tickets:
        mine = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref)
        known = {(kind, found) for kind, found in session.execute(mine)}
        try:
            subject = request_of(session, ticket).subject
        except LetheError as error:
            _log.error("ticket %s is not found by its digests: %s", ticket.ticket_id, error.code)
            continue
        for kind, found in lookup_hashes(session, subject) - known:
            session.add(LookupHash(kind=kind, hash=found, subject_ref=ticket.subject_ref))
    return len(tickets)
