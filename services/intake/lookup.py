"""Finding a person's tickets again: hashes of identifiers under the installation's key, never the identifiers."""

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.identifiers import normalise_address, normalise_email, normalise_id, normalise_name, normalise_phone
from policies.ticket import Identifier
from services import sealing
from services.store.tables import LookupHash, Ticket

_NORMALISE: dict[str, Callable[[str], str | None]] = {
    "email": normalise_email,
    "phone": normalise_phone,
    "id": normalise_id,
    "address": normalise_address,
    "name": lambda text: " ".join(normalise_name(text)),
}


def lookup_hashes(ring: sealing.KeyRing, subject: Sequence[Identifier]) -> set[tuple[str, str]]:
    """(kind, hash) of every identifier, in the form in which they are compared."""
    found: set[tuple[str, str]] = set()
    for identifier in subject:
        if identifier.form != "raw":
            kind, value = f"{identifier.kind}.{identifier.form}", identifier.value.lower()
            found.add((kind, ring.lookup_hash(kind, value)))
        elif value := _NORMALISE[identifier.kind](identifier.value) or "":
            found.add((identifier.kind, ring.lookup_hash(identifier.kind, value)))
    return found


def possible_duplicates(session: Session, ticket: Ticket) -> list[str]:
    """Other tickets that share an identifier: perhaps the same person, perhaps a household. A person looks."""
    mine = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref).subquery()
    query = (
        select(Ticket.ticket_id)
        .join(LookupHash, LookupHash.subject_ref == Ticket.subject_ref)
        .join(mine, (mine.c.kind == LookupHash.kind) & (mine.c.hash == LookupHash.hash))
        .where(Ticket.ticket_id != ticket.ticket_id)
        .distinct()
        .order_by(Ticket.ticket_id)
    )
    return list(session.scalars(query))
