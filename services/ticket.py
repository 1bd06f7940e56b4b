"""The way of a ticket from its approval to a run: the look-up, the forget set, the planning of runs.

A person's decision is a row of the lifecycle, never a sleeping workflow; so each function here looks at what is stored,
does what is due, and can be called again at any moment.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.corpus.index import SubjectIndex
from policies.decisions import Decision
from policies.errors import LetheError
from policies.forget_set import ForgetSet, build_forget_set
from policies.identifiers import Identifiers, Name, fit, normalise_name
from policies.lifecycle import CLOSED_RUN, RunStatus, TicketEvent, TicketStatus
from policies.subjects import Level, Match, SubjectMatches, find_subject
from policies.suppression import Rule, rule_of_request, widen
from policies.ticket import TicketRequest
from services import sealing, suppression
from services.corpus_index import open_index
from services.installation import Installation
from services.request import request_of
from services.store.engine import Store
from services.store.runs import list_runs, plan_run, runs_of
from services.store.tables import DesiredState, MatchReview, Ticket
from services.store.tables import ForgetSet as ForgetSetRow
from services.store.tickets import get_ticket, list_tickets, transition_ticket
from services.store.types import utc_now

ACTOR = "system:control"
_CAME_TO_NOTHING = frozenset({RunStatus.REJECTED, RunStatus.FAILED, RunStatus.QUARANTINED})
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

    Ambiguous matches wait for a person; nothing found is a finding, and closes the ticket.

    Raises:
        LetheError: ``forget_set.whole_corpus``, ``subject.no_identifier`` and what opening the index raises; the ticket
            waits with that reason, and the look-up is tried again.
    """
    try:
        return _look_up(installation, store, ticket_id)
    except LetheError as error:
        if error.code.partition(".")[0] in _SAID:
            with store.write() as session:
                get_ticket(session, ticket_id, lock=True).reason_code = error.code
        raise


def _look_up(installation: Installation, store: Store, ticket_id: str) -> str:
    with store.read() as session:
        ticket = get_ticket(session, ticket_id)
        if ticket.status != TicketStatus.APPROVED:
            return ticket.status
        request = request_of(session, ticket)
        decision = decision_of(ticket)
        reviews = {row.record_id: row.decision for row in _reviews(session, ticket_id)}
        key = sealing.ring_of(session).digest
    with open_index(installation, store) as index:
        subject = find_subject(_identifiers(request), index)
        matches = subject.matches
        names = _spelt_names(request, subject, index)
        ambiguous = [match for match in matches if match.level is Level.AMBIGUOUS and match.record_id not in reviews]
        if ambiguous:
            return _ask_a_person(store, ticket_id, ambiguous)
        try:
            found = build_forget_set(
                matches,
                index,
                key=key,
                confirmed=[one for one, answer in reviews.items() if answer == "confirm"],
                denied=[one for one, answer in reviews.items() if answer == "deny"],
                kept_categories=[kept.pattern for kept in decision.kept_categories],
            )
        except LetheError as error:
            if error.code != "forget_set.empty":
                raise
            return _found_nothing(store, ticket_id, error.code)
        records = index.records(found.forget)
        rule = widen(
            rule_of_request(request, region=index.region),
            records,
            [*names, *_own_spellings(subject, index, {*found.forget, *found.exempt})],
            lambda phrases: index.said_outside(phrases, found.forget),
        )
        facts = {record.fact_id for record in records}
    counts = {**found.counts(), "records": len(found.forget), "facts": len(facts)}
    levels = Counter(match.level.value for match in matches)
    counts |= {f"matches_{level.value}": levels[level.value] for level in Level}
    return _settle(store, ticket_id, SubjectSet(names, found), counts, rule)


def _found_nothing(store: Store, ticket_id: str, code: str) -> str:
    with store.write() as session:
        ticket = transition_ticket(session, ticket_id, TicketEvent.NOTHING_FOUND, actor=ACTOR, reason_code=code)
        suppression.lift(session, ticket_id, actor=ACTOR, why=ticket.status)
    store.scrub()
    return ticket.status


def _ask_a_person(store: Store, ticket_id: str, ambiguous: Sequence[Match]) -> str:
    with store.write() as session:
        known = {row.record_id for row in _reviews(session, ticket_id)}
        for match in ambiguous:
            if match.record_id not in known:
                reason = ",".join(match.reasons)
                session.add(MatchReview(ticket_id=ticket_id, record_id=match.record_id, reason=reason))
        session.flush()
        return transition_ticket(session, ticket_id, TicketEvent.MATCHES_AMBIGUOUS, actor=ACTOR).status


def _settle(store: Store, ticket_id: str, found: SubjectSet, counts: dict[str, int], rule: Rule) -> str:
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
        return transition_ticket(session, ticket_id, TicketEvent.FORGET_SET_FIXED, actor=ACTOR, facts=facts).status


def decision_of(ticket: Ticket) -> Decision:
    """The decision on a ticket, as it was stored."""
    return Decision.model_validate_json(json.dumps(ticket.decision))


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


def plan(installation: Installation, store: Store) -> str | None:
    """Plan one run for the tickets of a base that are ready, unless one is under way; its id.

    Runs of one base are serial: the next one starts from what this one releases. Tickets that are ready at the same
    time share a run (design.md, decision 2). One whose run came to nothing goes alone, so that it takes nobody with it
    again, and with another seed; whoever was approved first is served first.
    """
    window = timedelta(seconds=installation.settings.intake.batch_window_s)
    with store.write() as session:
        desired = session.scalar(select(DesiredState))
        if desired is None or any(
            run.status not in CLOSED_RUN for run in list_runs(session, base_digest=desired.base_digest)
        ):
            return None
        ready = list_tickets(session, statuses=[TicketStatus.READY])
        if not ready or min(ticket.approved_at or ticket.received_at for ticket in ready) > utc_now() - window:
            return None
        settings = installation.settings.unlearning
        together, failures = _who_goes(session, ready)
        run = plan_run(
            session,
            base_digest=desired.base_digest,
            ticket_ids=[ticket.ticket_id for ticket in together],
            method=settings.method,
            seed=int(settings.overrides.get("seed", 0)) + failures,
            actor=ACTOR,
            parent_digest=desired.release_digest,
        )
        for ticket in together:
            transition_ticket(session, ticket.ticket_id, TicketEvent.RUN_STARTED, actor=ACTOR)
        return run.run_id


def _who_goes(session: Session, ready: Sequence[Ticket]) -> tuple[list[Ticket], int]:
    """The tickets of the next run, and how many runs of theirs came to nothing."""
    failures = {
        ticket.ticket_id: sum(run.status in _CAME_TO_NOTHING for run in runs_of(session, ticket.ticket_id))
        for ticket in ready
    }
    first = min(ready, key=lambda ticket: (ticket.approved_at or ticket.received_at, ticket.ticket_id))
    if failures[first.ticket_id]:
        return [first], failures[first.ticket_id]
    return [ticket for ticket in ready if not failures[ticket.ticket_id]], 0


def _reviews(session: Session, ticket_id: str) -> list[MatchReview]:
    return list(session.scalars(select(MatchReview).where(MatchReview.ticket_id == ticket_id)))


def _identifiers(request: TicketRequest) -> Identifiers:
    values: dict[str, list[str]] = {kind: [] for kind in ("name", "email", "phone", "id", "address")}
    for identifier in request.subject:
        values[identifier.kind].append(identifier.value)
    return Identifiers(
        names=tuple(values["name"]),
        emails=tuple(values["email"]),
        phones=tuple(values["phone"]),
        ids=tuple(values["id"]),
        addresses=tuple(values["address"]),
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
