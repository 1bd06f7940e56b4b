"""Access (GDPR Art. 15): what the served model says about a person, asked of it, sealed, and told to nobody else.

The questions are the ones that an erasure is measured with, made from the person's own records. A replica is asked at
its own address, so that a suppression in force does not hide what the model would say; whether one is, is told.
Questions and answers are personal data: they lie sealed under the person's key until they expire.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dateutil.relativedelta import relativedelta
from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.augment.probes import probes_from_records
from pipelines.corpus.index import SubjectIndex
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from policies.subjects import Level, find_subject
from policies.ticket import TicketRequest
from services import audit, keys, sealed_items
from services.corpus_index import open_index
from services.installation import Installation
from services.rechecks.judge import judge
from services.rechecks.questions import sample
from services.rechecks.replica import Asked, Asker
from services.request import request_of
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import list_served, live_replicas
from services.store.tables import MatchReview, SealedIdentity, Ticket
from services.store.tickets import get_ticket
from services.store.types import utc_now
from services.ticket import as_known, identifiers_of
from services.unlearning.material import probe_of

FORMAT = "lethe.access/1"
GROUND = "GDPR Art. 15"
KEPT_MONTHS = 1  # long enough to hand it out
LIMITS = (
    "What was not asked is not here: the questions are wordings about the facts that the records state.",
    "An answer that does not state what the records state may still be about the person, or invented.",
    "Records that may be a namesake's were left out unless a person confirmed them.",
    "Only the model that is served was asked; the controller answers for every other copy of the data.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One question, what the model answered, and whether that states what the person's records state."""

    question: str
    answer: str
    told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What may be logged: counts only."""

    ticket_id: str
    asked: int
    told: int
    generation: int


def access(
    installation: Installation,
    store: Store,
    ticket_id: str,
    *,
    actor: str,
    limit: int = 60,
    asker: Asker | None = None,
) -> Summary:
    """Ask the served model about a ticket's person, and seal what it says; asking again replaces it.

    Raises:
        LetheError: ``rights.not_verified``: nobody has shown who asks; ``rights.nothing_known``: no record of the
            person and no probe to ask with; ``swap.probe_unanswered``; ``seal.key_destroyed``; what opening the index
            raises.
    """
    with store.read() as session:
        ticket = get_ticket(session, ticket_id)
        if not ticket.identity_verified:
            raise LetheError("rights.not_verified", "Nobody has shown that the person who asks is the one it is about.")
    probes = sample(_probes(installation, store, ticket), limit, ticket_id)
    if not probes:
        raise LetheError("rights.nothing_known", "There is nothing to ask about this person with.")
    with store.read() as session:
        replica, base, release = _replica(session)
        suppressed = bool(suppressions.active(session, ticket_id=ticket_id))
    settings = installation.settings
    asker = asker or Asker(serving=settings.serving, key=keys.load_private(settings, "audit"))
    said = _judged(probes, asker.answers(replica, [probe.question for probe in probes]))
    found = Summary(
        ticket_id=ticket_id, asked=len(said), told=sum(one.told for one in said), generation=replica.generation
    )
    at = utc_now()
    content = {
        "format": FORMAT,
        "ticket_id": ticket_id,
        "subject_ref": ticket.subject_ref,
        "made_at": at.isoformat(),
        "model": settings.serving.model_names[0],
        "base": base,
        "release": release,
        "generation": replica.generation,
        "suppressed_in_output": suppressed,
        "asked": found.asked,
        "told": found.told,
        "said": [asdict(one) for one in said],
        "limits": list(LIMITS),
    }
    with store.write() as session:
        expires_at = at + relativedelta(months=KEPT_MONTHS)
        put = (session, ticket.subject_ref, ticket_id, sealed_items.ACCESS, content)
        sealed_items.put(*put, ground=GROUND, expires_at=expires_at, at=at)
        payload = {**asdict(found), "release": release, "suppressed": suppressed, "actor": actor}
        audit.append(session, kind="rights.access_made", payload=payload, subject_ref=ticket.subject_ref, at=at)
    return found


def content_of(store: Store, ticket_id: str, *, actor: str) -> dict[str, Any]:
    """What the model said, unsealed to be handed to the person; that it was opened is recorded.

    Raises:
        LetheError: ``seal.item_missing``; ``ticket.not_found``; ``seal.key_destroyed``.
    """
    with store.write() as session:
        ticket = get_ticket(session, ticket_id)
        found: dict[str, Any] = sealed_items.get(session, ticket_id, sealed_items.ACCESS)
        payload = {"ticket_id": ticket_id, "actor": actor}
        audit.append(session, kind="rights.access_opened", payload=payload, subject_ref=ticket.subject_ref)
    return found


def _probes(installation: Installation, store: Store, ticket: Ticket) -> Sequence[Probe]:
    """From the person's records while the identity is known; once it is deleted, the probes that were kept."""
    with store.read() as session:
        known = session.get(SealedIdentity, ticket.subject_ref) is not None
        if not known:
            rows = sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES)
            return [probe for row in rows if (probe := probe_of(row)).group is ProbeGroup.FORGET]
        request = request_of(session, ticket)
        query = select(MatchReview).where(MatchReview.ticket_id == ticket.ticket_id)
        reviews = {row.record_id: row.decision for row in session.scalars(query)}
    with open_index(installation, store) as index:
        return _from_records(ticket, request, reviews, index)


def _from_records(
    ticket: Ticket, request: TicketRequest, reviews: Mapping[str, str | None], index: SubjectIndex
) -> Sequence[Probe]:
    known = as_known(request, index)
    if known is None:
        return ()
    request = known
    subject = find_subject(identifiers_of(request, index.region), index)
    certain = [
        match.record_id
        for match in subject.matches
        if reviews.get(match.record_id) != "deny"
        and (match.level is not Level.AMBIGUOUS or reviews.get(match.record_id) == "confirm")
    ]
    names = tuple(dict.fromkeys(one.value for one in request.subject if one.kind == "name"))
    records = index.records(certain)
    return probes_from_records(records, group=ProbeGroup.FORGET, subject=ticket.subject_ref, names=names, seed=0)


def _replica(session: Session) -> tuple[Asked, str, str]:
    for state in list_served(session):
        for replica in live_replicas(session, state.base_digest):
            if replica.address:
                asked = Asked(replica_id=replica.replica_id, address=replica.address, generation=state.generation)
                return asked, state.base_digest, state.release_digest
    raise LetheError("swap.probe_unanswered", "No replica has a lease.")


def _judged(probes: Sequence[Probe], answers: Sequence[str]) -> list[Said]:
    """By the rules of the re-checks: equal texts and values decide, so other words for a fact may be missed."""
    found = []
    for probe, answer in zip(probes, answers, strict=True):
        share = judge("forget", [probe], [answer], 1.0).share
        found.append(Said(question=probe.question, answer=answer, told=share is not None and share < 1.0))
    return found
