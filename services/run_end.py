"""How a run ends that comes to nothing: nothing was swapped, its tickets say why, its working files are gone."""

import shutil

from policies.lifecycle import CLOSED_RUN, RunEvent, RunStatus, TicketEvent, TicketStatus
from services.installation import Installation
from services.reports.collect import report_ticket
from services.store.engine import Store
from services.store.runs import get_run, tickets_of, transition_run
from services.store.tickets import transition_ticket

# code -> what it is for the run and for its tickets; any other code is a failure
_ENDS = {
    "checks.quarantined": (RunEvent.QUARANTINE, TicketEvent.RUN_QUARANTINED),
    "verdict.rejected": (RunEvent.REJECT, TicketEvent.RUN_REJECTED),
    "unlearn.cancelled": (RunEvent.CANCEL, TicketEvent.RUN_CANCELLED),
}


def end_run(
    installation: Installation, store: Store, run_id: str, code: str, *, actor: str, attempt: int | None = None
) -> str:
    """End a run for a reason; its status. Doing it again makes up for what a crash left undone.

    A cancelled run leaves its tickets ready for the next one; only the ticket that was held or withdrawn is not.
    A retried ticket gets a new run, so checkpoints and the unsealed adapter of this one are of no use to anybody.

    Raises:
        LetheError: ``run.stale_attempt``; ``lifecycle.guarded`` where the swap is committed.
    """
    run_event, ticket_event = _ENDS.get(code, (RunEvent.FAIL, TicketEvent.RUN_FAILED))
    with store.write() as session:
        tickets = [ticket.ticket_id for ticket in tickets_of(session, run_id)]
        run = get_run(session, run_id)
        if run.status not in CLOSED_RUN:
            for ticket in tickets_of(session, run_id):
                if ticket.status == TicketStatus.IN_RUN:
                    transition_ticket(session, ticket.ticket_id, ticket_event, actor=actor, reason_code=code)
            run = transition_run(
                session,
                run_id,
                run_event,
                actor=actor,
                attempt=attempt,
                reason_code=code,
                checks_passed=False if run_event is RunEvent.QUARANTINE else None,
                verdict_passed=False if run_event is RunEvent.REJECT else None,
            )
        status = run.status
    if status == RunStatus.COMPLETED:
        return status
    shutil.rmtree(installation.path("runs", run_id), ignore_errors=True)
    # A run that came to nothing has a report too: it is how a person sees why, and what to change.
    for ticket_id in tickets:
        report_ticket(installation, store, ticket_id)
    return status
