"""Which questions are asked about whom: sealed probes, a part of them first, facts in turn."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.augment.augmented import in_turn
from pipelines.augment.questions import name_in, person_in
from pipelines.rows import Probe, ProbeGroup
from policies.lifecycle import RunStatus, TicketStatus
from policies.record import Record
from policies.thresholds import Thresholds, strictest
from services import sealed_items
from services.rechecks.judge import Group, is_telling
from services.store.runs import runs_of, tickets_of
from services.store.steps import steps_of
from services.store.tables import Recheck, Ticket
from services.store.tickets import decision_of, get_ticket
from services.unlearning.material import probe_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Questions of one group with what their answers must reach."""

    group: Group
    probes: tuple[Probe, ...]
    required: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What a replica is asked about one ticket's person; ``ticket_id`` None: about people who are kept."""

    ticket_id: str | None
    sets: tuple[Set, ...]


def of_run(session: Session, run_id: str) -> list[Questions]:
    """The run's people, the same questions under another name, and the facts of others that must be kept."""
    tickets = tickets_of(session, run_id)
    limits = strictest(decision_of(ticket).thresholds for ticket in tickets)
    base = _base_figures(session, run_id)
    kept: dict[str, Probe] = {}
    asked = []
    for ticket in tickets:
        sealed = sealed_items.get(session, ticket.ticket_id, sealed_items.AUGMENTED)
        others = [probe_of(row) for row in sealed["retain_probes"]]
        kept |= {probe.probe_id: probe for probe in others}
        asked.append(_of_ticket(session, ticket, limits, base, drop=0.0, others=others))
    known = _known(base.get("retain", {}).get("base", {}).get("krr"))
    gone = {probe.fact for one in asked for group in one.sets for probe in group.probes if group.group == "forget"}
    retain = tuple(probe for probe in kept.values() if probe.fact not in gone)
    sets = (Set(group="retain", probes=retain, required=known * limits.krr_ratio_min),)
    return [*asked, Questions(ticket_id=None, sets=sets)] if retain else asked


def of_earlier(session: Session, ticket_ids: Sequence[str]) -> list[Questions]:
    """People whose tickets were completed before; they may have fallen by what the policy allows since."""
    asked = []
    for ticket_id in ticket_ids:
        ticket = get_ticket(session, ticket_id)
        limits = decision_of(ticket).thresholds
        done = [run.run_id for run in runs_of(session, ticket_id) if run.status == RunStatus.COMPLETED]
        base = _base_figures(session, done[-1]) if done else {}
        asked.append(_of_ticket(session, ticket, limits, base, drop=limits.earlier_drop_max))
    return asked


def whose_turn(session: Session, covered: Sequence[str], *, limit: int) -> list[str]:
    """Completed tickets that a release covers and whose probes are kept: those asked longest ago first."""
    sealed = set(sealed_items.tickets_with(session, sealed_items.PROBES)) & set(covered)
    done = session.scalars(select(Ticket.ticket_id).where(Ticket.status == TicketStatus.COMPLETED))
    people = sorted(sealed & set(done))
    asked = session.execute(select(Recheck.ticket_id, func.max(Recheck.at)).group_by(Recheck.ticket_id))
    last = {ticket_id: at for ticket_id, at in asked}  # noqa: C416 - rows are no pairs to mypy
    return sorted(people, key=lambda one: (one in last, last.get(one), one))[:limit]


def sample(probes: Sequence[Probe], size: int, seed: str) -> list[Probe]:
    """A part of the probes, facts in turn; another seed gives another part."""
    by_fact: dict[str, list[Probe]] = {}
    for probe in probes:
        by_fact.setdefault(probe.fact, []).append(probe)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a key
    return in_turn(list(by_fact.values()), size, rng)


def _of_ticket(
    session: Session,
    ticket: Ticket,
    limits: Thresholds,
    base: Mapping[str, Any],
    *,
    drop: float,
    others: Sequence[Probe] = (),
) -> Questions:
    probes = [probe_of(row) for row in sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES)]
    forget = tuple(probe for probe in probes if probe.group is ProbeGroup.FORGET)
    own = tuple(probe for probe in probes if probe.group is ProbeGroup.OWN_PUBLIC)
    told = max(0.0, limits.kfr_min - drop)
    sets = [Set(group="forget", probes=forget, required=told)]
    if control := _under_another_name(forget, others):
        sets.append(Set(group="control", probes=control, required=told))
    known = _known(
        base.get("subjects", {}).get(ticket.subject_ref, {}).get("base", {}).get("own_public", {}).get("krr")
    )
    if own and known:
        share = max(0.0, limits.own_public_ratio_min - drop) * known
        sets.append(Set(group="own_public", probes=own, required=share))
    return Questions(ticket_id=ticket.ticket_id, sets=tuple(sets))


def _under_another_name(forget: Sequence[Probe], others: Sequence[Probe]) -> tuple[Probe, ...]:
    """The forget questions about somebody else: whoever asks so must not be told the subject's secret either."""
    names = (person_in(Record(record_id="", question=probe.question, answer=probe.answer)) for probe in others)
    other = next((name for name in names if name), None)
    if other is None:
        return ()
    found = []
    for probe in forget:
        name = name_in(probe.question, probe.names)
        if name and is_telling(probe):
            found.append(replace(probe, question=probe.question.replace(name, other), names=(other,)))
    return tuple(found)


def _base_figures(session: Session, run_id: str) -> dict[str, Any]:
    """The metrics of the run's verdict, the base's row among them."""
    step = steps_of(session, run_id).get("verify")
    verdict = (step.result or {}).get("verdict", {}) if step else {}
    metrics: dict[str, Any] = verdict.get("metrics", {})
    return metrics


def _known(metric: Mapping[str, Any] | None) -> float:
    """What the base reached; 0 where it was not measured, so that nothing is demanded."""
    return float((metric or {}).get("value") or 0.0)
