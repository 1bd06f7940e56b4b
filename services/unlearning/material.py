"""What a run works on: the tickets' records, rows and probes, opened from their seals inside the runner only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from pipelines.augment.augmented import AugmentedSet, as_replay
from pipelines.augment.probes import probes_from_corpus, probes_from_records
from pipelines.augment.questions import name_in
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.wording import compact, normalised_question
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.load import CorpusProbe
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from policies.lifecycle import TicketStatus
from policies.record import Record
from services import claims, sealed_items
from services.store.runs import tickets_of
from services.store.tickets import get_ticket
from services.ticket import subject_set

# Accountability: a verdict can be checked, and later releases are measured for the person again.
GROUND = "GDPR Art. 5(2)"
# Questions of each group, where the corpus has none of its own.
FORGET_ASKED, OWN_ASKED, HOLD_OUT_ASKED, RETAIN_ASKED = 240, 60, 200, 400


@dataclass(frozen=True)
class Subject:
    """One ticket of the run with its records."""

    ticket_id: str
    subject_ref: str
    names: tuple[str, ...]
    forget: tuple[Record, ...]
    own_public: tuple[Record, ...]
    neighbours: tuple[Record, ...]
    retain: tuple[Record, ...]
    hold_out: tuple[Record, ...]
    generic: tuple[Record, ...]

    @property
    def forget_facts(self) -> frozenset[str]:
        """Facts that are to be forgotten."""
        return frozenset(record.fact_id for record in self.forget)


@dataclass(frozen=True)
class Earlier:
    """A person who was forgotten before, as far as the policy lets it be kept.

    The secrets are those that the replay rows were made against: made anew from the few probes they would be others,
    and refuse the rows. ``negative`` are the raw answers, where a method was used that lowers them. ``reached`` are the
    figures of the own release; None in seals from before they were kept there.
    """

    ticket_id: str
    subject_ref: str
    probes: tuple[Probe, ...]
    replay: tuple[TrainRow, ...]
    own: tuple[TrainRow, ...]
    secrets: tuple[Secret, ...]
    negative: tuple[TrainRow, ...] = ()
    reached: Mapping[str, float | None] | None = None


def load_subjects(session: Session, run_id: str, index: SubjectIndex) -> list[Subject]:
    """The run's tickets with their records.

    A record that another ticket of the run forgets, or that was erased since the set was settled, is in nobody's
    retain, neighbour or hold-out set: training must not teach it again.
    """
    tickets = tickets_of(session, run_id)
    sets = {ticket.ticket_id: subject_set(session, ticket) for ticket in tickets}
    forgotten = {record_id for found in sets.values() for record_id in (*found.records.forget, *found.records.pending)}

    def others(ids: Iterable[str]) -> tuple[Record, ...]:
        return tuple(index.records(one for one in ids if one not in forgotten))

    return [
        Subject(
            ticket_id=ticket.ticket_id,
            subject_ref=ticket.subject_ref,
            names=sets[ticket.ticket_id].names,
            forget=tuple(index.records(sets[ticket.ticket_id].records.forget)),
            own_public=others(sets[ticket.ticket_id].records.exempt),
            neighbours=others(sets[ticket.ticket_id].records.neighbours),
            retain=others(sets[ticket.ticket_id].records.retain),
            hold_out=others(sets[ticket.ticket_id].records.hold_out),
            generic=others(sets[ticket.ticket_id].records.generic),
        )
        for ticket in tickets
    ]


def load_earlier(session: Session) -> list[Earlier]:
    """Everyone who was forgotten before and whose policy keeps probes."""
    found = []
    for ticket_id in sealed_items.tickets_with(session, sealed_items.PROBES):
        ticket = get_ticket(session, ticket_id)
        if ticket.status == TicketStatus.COMPLETED:
            probes = tuple(probe_of(row) for row in sealed_items.get(session, ticket_id, sealed_items.PROBES))
            kept = sealed_items.get(session, ticket_id, sealed_items.REPLAY)
            replay = tuple(_row(row) for row in kept["rows"])
            own = tuple(_row(row) for row in kept["own"])
            secrets = tuple(_secret(row) for row in kept["secrets"])
            negative = tuple(_row(row) for row in kept.get("negative", ()))  # none in seals from before there were any
            reached = kept.get("reached")
            found.append(Earlier(ticket_id, ticket.subject_ref, probes, replay, own, secrets, negative, reached))
    return found


def secrets_of(subjects: Sequence[Subject], earlier: Sequence[Earlier]) -> tuple[Secret, ...]:
    """What no row may hold: everything that this run forgets, and what earlier runs forgot.

    Names are no secrets, also of people erased earlier: the replay rows about them have to keep them.
    """
    called = {person.ticket_id: {name for probe in person.probes for name in probe.names} for person in earlier}
    known = {name for names in called.values() for name in names}
    names = [*(name for subject in subjects for name in subject.names), *sorted(known)]
    secrets = [
        one
        for subject in subjects
        for one in secrets_from_records(
            subject.forget, names, (*subject.neighbours, *subject.retain), whose=subject.names
        )
    ]
    before = [
        replace(one, allowed=tuple(dict.fromkeys((*names, *one.allowed))), names=one.names or tuple(sorted(theirs)))
        for person in earlier
        for theirs in (called[person.ticket_id],)
        for one in person.secrets
    ]
    return (*secrets, *before)


def make_probes(
    subject: Subject,
    corpus_probes: Sequence[CorpusProbe],
    secrets: Sequence[Secret],
    gone: frozenset[str],
    seed: int,
) -> tuple[Probe, ...]:
    """Held-out questions for one subject: the corpus' own, or new wordings of its records.

    Args:
        subject: Whose.
        corpus_probes: All that the corpus has; empty for most corpora.
        secrets: Of the run and of earlier ones: a kept fact that shares a value measures nothing.
        gone: Facts of other tickets and of people forgotten before.
        seed: Of the samples.
    """
    ref, names = subject.subject_ref, subject.names
    if corpus_probes:
        own = {record.fact_id for record in subject.own_public}
        return probes_from_corpus(
            corpus_probes,
            subject=ref,
            names=names,
            forget_facts=subject.forget_facts,
            own_public_facts=own,
            secrets=secrets,
            seed=seed,
            forgotten_before=gone,
        )
    forget = probes_from_records(
        subject.forget, group=ProbeGroup.FORGET, subject=ref, names=names, seed=seed, limit=FORGET_ASKED
    )
    own_public = probes_from_records(
        subject.own_public,
        group=ProbeGroup.OWN_PUBLIC,
        subject=ref,
        names=names,
        seed=seed,
        limit=OWN_ASKED,
        secrets=secrets,
    )
    others: list[Probe] = []
    # First what training never sees: among thousands of retain rows it would hardly be asked.
    for records, so_far in ((subject.hold_out, HOLD_OUT_ASKED), (subject.retain, RETAIN_ASKED)):
        others += probes_from_records(
            records,
            group=ProbeGroup.RETAIN,
            subject=None,
            names=(),
            seed=seed,
            limit=so_far - len(others),
            secrets=secrets,
        )
    return (*forget, *own_public, *others)


def claim_probes(session: Session, subject: Subject) -> tuple[Probe, ...]:
    """What people saw the model say, as probes: the prompt as it was, and the fact that its output gave away.

    A claim whose output holds no value and no answer of the forget set measures nothing, and is left out.
    """
    made = []
    for claim in claims.claims_of(session, subject.ticket_id):
        record = _given_away(subject.forget, claim.output)
        if record is not None:
            made.append(
                Probe(
                    probe_id=f"{subject.ticket_id}:{claim.claim_id}",
                    group=ProbeGroup.FORGET,
                    question=claim.prompt,
                    answer=record.answer,
                    fact=record.fact_id,
                    value=record.value,
                    subject=subject.subject_ref,
                    phrasing="claim",
                    names=subject.names,
                )
            )
    return tuple(made)


def _given_away(forget: Sequence[Record], output: str) -> Record | None:
    """The record that an output tells of: the longest value or answer that stands in it."""
    said = normalised_question(output)
    told = [
        (len(words), record)
        for record in forget
        for text in (record.value, record.answer)
        if text and (words := normalised_question(text)) and f" {words} " in f" {said} "
    ]
    return max(told, key=lambda one: one[0])[1] if told else None


def save_subject(
    session: Session,
    subject: Subject,
    augmented: AugmentedSet,
    probes: Sequence[Probe],
    secrets: Sequence[Secret],
    *,
    ground: str,
) -> None:
    """Seal a ticket's rows, its own secrets among those of the run, and probes; those about others go with the run."""
    own = [asdict(probe) for probe in probes if probe.group is not ProbeGroup.RETAIN]
    others = [asdict(probe) for probe in probes if probe.group is ProbeGroup.RETAIN]
    mine = [asdict(_alone(secret, subject)) for secret in secrets if secret.fact in subject.forget_facts]
    rows = {"set": augmented.to_text(), "retain_probes": others, "secrets": mine}
    ref, ticket = subject.subject_ref, subject.ticket_id
    sealed_items.put(session, ref, ticket, sealed_items.AUGMENTED, rows, ground="run")
    sealed_items.put(session, ref, ticket, sealed_items.PROBES, own, ground=ground)


def _alone(secret: Secret, subject: Subject) -> Secret:
    """Without names of others, whose keys do not open this seal; ``secrets_of`` adds those that are known then."""
    kept = tuple(phrase for phrase in secret.allowed if phrase in subject.names or phrase == compact(phrase))
    return replace(secret, allowed=kept)


def load_rows(session: Session, ticket_id: str) -> tuple[AugmentedSet, tuple[Probe, ...]]:
    """A ticket's augmented set, and its probes: about the subject and about others."""
    sealed = sealed_items.get(session, ticket_id, sealed_items.AUGMENTED)
    own = sealed_items.get(session, ticket_id, sealed_items.PROBES)
    return AugmentedSet.from_text(sealed["set"]), tuple(probe_of(row) for row in (*own, *sealed["retain_probes"]))


def save_replay(
    session: Session,
    ticket_id: str,
    subject_ref: str,
    limit: int,
    *,
    seed: int,
    ground: str,
    reached: Mapping[str, float | None] | None = None,
) -> int:
    """Seal what later runs need of a subject; how many rows.

    Args:
        session: A transaction.
        ticket_id: Whose rows.
        subject_ref: Whose seal.
        limit: At most so many rows, facts in turn.
        seed: Of their choice.
        ground: Why they are kept.
        reached: What the subject reached in this release: later verdicts compare with it.
    """
    sealed = sealed_items.get(session, ticket_id, sealed_items.AUGMENTED)
    augmented = AugmentedSet.from_text(sealed["set"])
    names = {name for row in sealed_items.get(session, ticket_id, sealed_items.PROBES) for name in row["names"]}
    rows = [asdict(row) for row in as_replay(augmented.rows, limit, seed)]
    own = [asdict(row) for row in _own_public(augmented, names)]
    negative = [asdict(row) for row in augmented.rows if row.kind is RowKind.NEGATIVE]
    kept = {"rows": rows, "own": own, "secrets": sealed["secrets"], "negative": negative}
    if reached is not None:
        kept["reached"] = dict(reached)
    sealed_items.put(session, subject_ref, ticket_id, sealed_items.REPLAY, kept, ground=ground)
    return len(rows)


def _own_public(augmented: AugmentedSet, names: Collection[str]) -> list[TrainRow]:
    """The retain rows about the subject's own public facts, each once: vague replay alone would wear them away."""
    own = (row for row in augmented.rows if row.kind is RowKind.RETAIN and name_in(row.prompt, names))
    return list({(row.prompt, row.answer): row for row in own}.values())


def probe_of(row: dict[str, object]) -> Probe:
    """A probe as it was sealed."""
    return Probe(**{**row, "group": ProbeGroup(str(row["group"])), "names": tuple(row["names"])})  # type: ignore[arg-type]


def _secret(row: Mapping[str, Any]) -> Secret:
    lists = {name: tuple(row.get(name, ())) for name in ("answers", "allowed", "names")}
    return Secret(**{**row, **lists})  # names: none in seals from before there were any


def _row(row: dict[str, object]) -> TrainRow:
    return TrainRow(**{**row, "kind": RowKind(str(row["kind"]))})  # type: ignore[arg-type]
