"""Which tickets share the next run of a base, and when it begins."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from policies.batching import BatchRules, RunCost, Waiting, plan_batch
from policies.lifecycle import OPEN_RUN, RunStatus, TicketEvent, TicketStatus
from services.installation import Installation
from services.settings import Settings
from services.store.engine import Store
from services.store.releases import list_served
from services.store.runs import list_runs, plan_run, runs_of
from services.store.tables import DesiredState, Ticket
from services.store.tickets import list_tickets, transition_ticket
from services.store.types import utc_now

ACTOR = "system:control"
_CAME_TO_NOTHING = frozenset({RunStatus.REJECTED, RunStatus.FAILED, RunStatus.QUARANTINED})
_QUEUE = 5000  # of a longer queue, the oldest: whoever is due first is among them


def plan(installation: Installation, store: Store) -> str | None:
    """Plan one run for the tickets of a base that are ready, unless one is under way; its id.

    Runs of one base are serial: the next one starts from what this one releases. Tickets that are ready at the same
    time share a run (design.md, decision 2), those first that are due first (policies/batching.py). One whose run came
    to nothing goes alone, so that it takes nobody with it again, and with another seed.
    """
    rules = _batch_rules(installation.settings)
    with store.read() as session:  # most looks end here, and hold up nobody who writes
        if _free(session) is None or not list_tickets(session, statuses=[TicketStatus.READY], held=False, limit=1):
            return None
    with store.write() as session:
        desired = _free(session)
        if desired is None:
            return None
        found = {one.ticket_id: one for one in _ready(session)}
        waiting = [
            Waiting(ticket_id=one.ticket_id, since=one.approved_at or one.received_at, due=one.due_at)
            for one in found.values()
        ]
        ready = [found[one] for one in plan_batch(waiting, rules, utc_now()).batch]
        if not ready:
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


def _ready(session: Session) -> list[Ticket]:
    """Those that wait for a run and may have one; whose person is held would hold up everybody else's."""
    return list_tickets(session, statuses=[TicketStatus.READY], held=False, limit=_QUEUE)


def _free(session: Session) -> DesiredState | None:
    """The base that is served, unless a run of it is under way."""
    desired = next(iter(list_served(session)), None)
    if desired is None or list_runs(session, statuses=OPEN_RUN, base_digest=desired.base_digest):
        return None
    return desired


def _batch_rules(settings: Settings) -> BatchRules:
    planning = settings.planning
    return BatchRules(
        window=timedelta(seconds=settings.intake.batch_window_s),
        most=planning.most_tickets,
        cost=RunCost(fixed_s=planning.run_s, ticket_s=planning.ticket_s),
        reserve=timedelta(days=planning.reserve_days),
    )


def _who_goes(session: Session, ready: Sequence[Ticket]) -> tuple[list[Ticket], int]:
    """Of a batch in its order, the tickets of the next run, and how many runs of theirs came to nothing."""
    failures = {
        ticket.ticket_id: sum(run.status in _CAME_TO_NOTHING for run in runs_of(session, ticket.ticket_id))
        for ticket in ready
    }
    first = ready[0]
    if failures[first.ticket_id]:
        return [first], failures[first.ticket_id]
    return [ticket for ticket in ready if not failures[ticket.ticket_id]], 0
