"""The way of a ticket from its approval to a run (services/planning.py): the look-up and the forget set.

A person's decision is a row of the lifecycle, never a sleeping workflow; so each function here looks at what is stored,
does what is due, and can be called again at any moment.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.corpus.index import SubjectIndex
from policies.errors import LetheError
from policies.forget_set import KEPT, KEPT_SINGLY, ForgetSet, build_forget_set, kept_under
from policies.hashed_identifiers import resolve
from policies.identifiers import Identifiers, Name, fit, normalise_name
from policies.lifecycle import TicketEvent, TicketStatus
from policies.subjects import Level, Match, SubjectMatches, find_subject
from policies.suppression import Rule, rule_of_request, widen
from policies.ticket import TicketRequest
from services import sealing, suppression
from services.corpus_index import open_index
from services.installation import Installation
from services.request import request_of
from services.store.engine import Store
from services.store.tables import ForgetSet as ForgetSetRow
from services.store.tables import MatchReview, Ticket
from services.store.tickets import decision_of, get_ticket, transition_ticket
from services.store.types import utc_now

ACTOR = "system:control"
_PURPOSE = "forget_set"
_SAID = frozenset({"corpus", "forget_set", "subject"})  # areas of errors that a person can do something about
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*\.?")


@dataclass(frozen=True)
class SubjectSet:
    """A ticket's forget set with the names of its subject, as they are sealed."""

    names: tuple[str, ...]
    records: ForgetSet


def look_up(installation: Installation, store: Store, ticket_id: str) -> str:
    """Find an approved ticket's records and settle its forget set; the status that follows.

    Ambiguous matches wait for a person; nothing found is a finding, and closes the ticket. What was found for a ticket
    that somebody changed meanwhile is dropped: if it is still approved, that version has a look-up of its own.

    Raises:
        LetheError: ``forget_set.whole_corpus``, ``subject.no_identifier`` and what opening the index raises; the ticket
            waits with that reason, and the look-up is tried again.
    """
    try:
        return _look_up(installation, store, ticket_id)
    except LetheError as error:
        if error.code == "ticket.changed":
            with store.read() as session:
                return get_ticket(session, ticket_id).status
        if error.code.partition(".")[0] in _SAID:
            with store.write() as session:
                get_ticket(session, ticket_id, lock=True).reason_code = error.code
        raise


def _look_up(installation: Installation, store: Store, ticket_id: str) -> str:
    with store.read() as session:
        ticket = get_ticket(session, ticket_id)
        if ticket.status != TicketStatus.APPROVED:
            return ticket.status
        version = ticket.version  # of the decision that the search below is made for
        request = request_of(session, ticket)
        decision = decision_of(ticket)
        reviews = {row.record_id: row.decision for row in _reviews(session, ticket_id)}
        key = sealing.ring_of(session).digest
    with open_index(installation, store) as index:
        known = as_known(request, index)
        if known is None:
            return _ended(store, ticket_id, version, TicketEvent.NOTHING_FOUND, "forget_set.empty")
        request = known
        subject = find_subject(identifiers_of(request, index.region), index)
        matches = subject.matches
        reviews = _that_count(reviews, matches, index)
        names = _spelt_names(request, subject, index)
        patterns = [one.pattern for one in decision.kept_categories]
        ambiguous = [match for match in matches if match.level is Level.AMBIGUOUS and match.record_id not in reviews]
        if ambiguous:
            return _ask_a_person(store, ticket_id, version, ambiguous)
        try:
            found = build_forget_set(
                matches,
                index,
                key=key,
                confirmed=[one for one, answer in reviews.items() if answer == "confirm"],
                denied=[one for one, answer in reviews.items() if answer == "deny"],
                kept_categories=patterns,
                kept_records=[kept.record_id for kept in decision.kept_records],
            )
        except LetheError as error:
            ends = {"forget_set.empty": TicketEvent.NOTHING_FOUND, "forget_set.exempt": TicketEvent.DENY}
            if error.code not in ends:
                raise
            return _ended(store, ticket_id, version, ends[error.code], error.code)
        records = index.records(found.forget)
        rule = widen(
            rule_of_request(request, region=index.region),
            records,
            [*names, *_own_spellings(subject, index, {*found.forget, *found.exempt})],
            lambda phrases: index.said_outside(phrases, found.forget),
        )
        facts = {record.fact_id for record in records}
        kept = Counter(kept_under(record, patterns) or KEPT_SINGLY for record in index.records(found.exempt))
    counts = {**found.counts(), "records": len(found.forget), "facts": len(facts)}
    levels = Counter(match.level.value for match in matches)
    counts |= {f"matches_{level.value}": levels[level.value] for level in Level}
    counts |= {f"{KEPT}{under}": number for under, number in kept.items()}
    return _settle(store, ticket_id, version, SubjectSet(names, found), counts, rule)


def _that_count(reviews: dict[str, str | None], matches: Sequence[Match], index: SubjectIndex) -> dict[str, str | None]:
    """Without answers about what is gone: a ticket that was held may come back after others were erased."""
    found = {match.record_id for match in matches}
    gone = {
        one for one, answer in reviews.items() if one not in found and (answer == "deny" or not index.records([one]))
    }
    return {one: answer for one, answer in reviews.items() if one not in gone}


def _ended(store: Store, ticket_id: str, version: int, event: TicketEvent, code: str) -> str:
    """Nothing is there, or nothing may be forgotten (a denial, with its code)."""
    with store.write() as session:
        ticket = transition_ticket(session, ticket_id, event, actor=ACTOR, reason_code=code, expected_version=version)
        suppression.lift(session, ticket_id, actor=ACTOR, why=ticket.status)
    store.scrub()
    return ticket.status


def _ask_a_person(store: Store, ticket_id: str, version: int, ambiguous: Sequence[Match]) -> str:
    with store.write() as session:
        known = {row.record_id for row in _reviews(session, ticket_id)}
        for match in ambiguous:
            if match.record_id not in known:
                reason = ",".join(match.reasons)
                session.add(MatchReview(ticket_id=ticket_id, record_id=match.record_id, reason=reason))
        session.flush()
        event = TicketEvent.MATCHES_AMBIGUOUS
        return transition_ticket(session, ticket_id, event, actor=ACTOR, expected_version=version).status


def _settle(store: Store, ticket_id: str, version: int, found: SubjectSet, counts: dict[str, int], rule: Rule) -> str:
    plain = {"names": found.names, **found.records.sets(), "corpus_digest": found.records.corpus_digest}
    with store.write() as session:
        ticket = get_ticket(session, ticket_id, lock=True)
        data = json.dumps(plain).encode()
        digest = sealing.ring_of(session).keyed_digest(data)
        session.merge(
            ForgetSetRow(
                ticket_id=ticket_id,
                digest=digest,
                counts=counts,
                ciphertext=sealing.seal(session, ticket.subject_ref, data, purpose=_PURPOSE),
                sealed_path=None,
                created_at=utc_now(),
            )
        )
        session.flush()
        suppression.widen(session, ticket_id, rule, actor=ACTOR)
        facts = {"forget_set": digest, "records": counts["records"]}
        event = TicketEvent.FORGET_SET_FIXED
        return transition_ticket(session, ticket_id, event, actor=ACTOR, facts=facts, expected_version=version).status


def subject_set(session: Session, ticket: Ticket) -> SubjectSet:
    """A ticket's forget set, unsealed.

    Raises:
        LetheError: ``seal.item_missing`` once it was deleted.
    """
    row = session.get(ForgetSetRow, ticket.ticket_id)
    if row is None or row.ciphertext is None:
        raise LetheError("seal.item_missing", "The forget set of this ticket is not there (any more).")
    plain = json.loads(sealing.open_sealed(session, ticket.subject_ref, row.ciphertext, purpose=_PURPOSE))
    names, digest = tuple(plain.pop("names")), plain.pop("corpus_digest")
    sets = {name: tuple(ids) for name, ids in plain.items()}
    return SubjectSet(names, ForgetSet(**sets, corpus_digest=digest))


def _reviews(session: Session, ticket_id: str) -> list[MatchReview]:
    return list(session.scalars(select(MatchReview).where(MatchReview.ticket_id == ticket_id)))


def as_known(request: TicketRequest, index: SubjectIndex) -> TicketRequest | None:
    """A request with what the corpus holds for its digests; None: digests only, and nobody in the corpus has them."""
    known = resolve(request.subject, index.keys(), index.region)
    return request.model_copy(update={"subject": known}) if known else None


def identifiers_of(request: TicketRequest, region: str) -> Identifiers:
    """What a request says of its subject, as the index of a region is asked for it."""
    values: dict[str, list[str]] = {kind: [] for kind in ("name", "email", "phone", "id", "address")}
    for identifier in request.subject:
        if identifier.form == "raw":
            values[identifier.kind].append(identifier.value)
    return Identifiers(
        names=tuple(values["name"]),
        emails=tuple(values["email"]),
        phones=tuple(values["phone"]),
        ids=tuple(values["id"]),
        addresses=tuple(values["address"]),
        region=region,
    )


def _spelt_names(request: TicketRequest, subject: SubjectMatches, index: SubjectIndex) -> tuple[str, ...]:
    """The subject's names as the certain records spell them, the most frequent first; then as the ticket gives them."""
    counts: Counter[str] = Counter()
    for record in index.records(subject.of(Level.CERTAIN)):
        counts.update(_spellings(record.text, frozenset(subject.names)))
    given = [identifier.value for identifier in request.subject if identifier.kind == "name"]
    return tuple(dict.fromkeys([*(name for name, _ in counts.most_common(8)), *given]))


def _own_spellings(subject: SubjectMatches, index: SubjectIndex, about: Collection[str]) -> list[str]:
    """Spellings near the subject's names (``M. Rossi``, a slip) that stand in nobody else's records."""
    near = {seen for name in subject.names for seen in index.spellings(name) if fit(name, seen)}
    return [
        " ".join(seen)
        for seen in sorted(near)
        if len(seen) > 1 and all(entry.record_id in about for entry in index.named(seen))
    ]


def _spellings(text: str, names: frozenset[Name]) -> set[str]:
    """Every run of words of a text that is one of the names, as it stands there."""
    spans = [match.span() for match in _WORD.finditer(text)]
    found = set()
    for size in {len(name) for name in names}:
        for first in range(len(spans) - size + 1):
            piece = text[spans[first][0] : spans[first + size - 1][1]].removesuffix("'s").removesuffix("’s").strip(".")
            if "\n" not in piece and normalise_name(piece) in names:
                found.add(piece)
    return found
