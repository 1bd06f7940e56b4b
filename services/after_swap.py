"""After the swap: every replica is asked before the suppression ends, and all forgotten people again on schedule.

A release that does not keep what its verdict said: whoever is concerned stays suppressed or is suppressed again, and
the fleet goes forward to the newest release that covers everyone. Never back into remembering.
"""

import logging
import shutil
from collections.abc import Collection

from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import RunEvent, RunStatus, TicketEvent, TicketStatus
from services import audit, keys, release_ops, suppression
from services.installation import Installation
from services.rechecks import questions as ask_about
from services.rechecks.replica import Asker
from services.rechecks.rounds import Round, ask_all, record
from services.reports.collect import report_ticket
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import get_desired, get_release
from services.store.runs import get_run, tickets_of, transition_run
from services.store.steps import begin_step, end_step
from services.store.tables import Run
from services.store.tickets import get_ticket, transition_ticket
from services.store.types import utc_now

ACTOR = "system:recheck"
FAILED = "swap.probes_failed"
STEP = "probe"
_log = logging.getLogger(__name__)


def probe(installation: Installation, store: Store, run_id: str, attempt: int, *, asker: Asker | None = None) -> str:
    """Ask every replica about the run's people, others, and some who were forgotten before; the run's status then.

    Passed: the suppression is lifted, the tickets are completed. Failed: the people stay suppressed, the run and its
    tickets fail with ``swap.probes_failed``, and the fleet is ordered forward. One transaction either way.

    Raises:
        LetheError: ``swap.probe_unanswered``, ``swap.superseded``: nothing is known yet, and it is tried again.
    """
    with store.write() as session:
        run = get_run(session, run_id)
        due = run.status == RunStatus.SWAPPING
        if due:
            begin_step(session, run_id, STEP, attempt)
    if not due:
        return _closed(installation, store, run)
    with store.read() as session:
        desired = get_desired(session, run.base_digest)
        if desired.release_digest != run.release_digest:
            raise LetheError("swap.superseded", "Another release is served by now.")
        mine = {ticket.ticket_id for ticket in tickets_of(session, run_id)}
        limit = installation.settings.serving.recheck_subjects
        # After a rollback the watermark may hold people whom no later release covers: they are suppressed.
        covered = set(get_release(session, desired.release_digest).watermark) - mine
        earlier = ask_about.whose_turn(session, sorted(covered), limit=limit)
        asked = [*ask_about.of_run(session, run_id), *ask_about.of_earlier(session, earlier)]
    found = ask_all(store, run.base_digest, asked, asker or _asker(installation), seed=f"{run_id}:{desired.generation}")
    with store.write() as session:
        record(session, found, "after_swap")
        end_step(session, run_id, STEP, attempt, _summary(found))
        if found.outcome == "pass":
            run = _complete(session, run_id, attempt)
        else:
            _suppress(session, found.not_passed())
            run = _fail(session, run_id, attempt)
            _forward(session, found)
    store.scrub()  # of the rules that were lifted
    return _closed(installation, store, run)


def recheck(
    installation: Installation, store: Store, base_digest: str, *, seed: str, asker: Asker | None = None
) -> str:
    """Ask about people who were forgotten earlier, those first who waited longest; the outcome, or ``nothing``.

    Who was suppressed because of failed probes or of a rollback, and passes now on every replica under a release that
    covers the ticket, is suppressed no longer.

    Raises:
        LetheError: As ``probe``.
    """
    with store.read() as session:
        desired = get_desired(session, base_digest)
        covered = get_release(session, desired.release_digest).watermark
        again = _suppressed_again(session, base_digest, covered)
        limit = installation.settings.serving.recheck_subjects
        turn = ask_about.whose_turn(session, covered, limit=limit)
        asked = ask_about.of_earlier(session, list(dict.fromkeys([*again, *turn])))
    if not asked:
        return "nothing"
    found = ask_all(store, base_digest, asked, asker or _asker(installation), seed=seed)
    with store.write() as session:
        record(session, found, "scheduled")
        # A move that is on its way counts on who is suppressed by now; its end orders another re-check.
        for ticket_id in again if _stands(session, found) else ():
            if found.of(ticket_id) == "pass":
                suppression.lift(session, ticket_id, actor=ACTOR, why=suppression.PASSED)
                get_ticket(session, ticket_id, lock=True).reason_code = None
        failed = [ticket_id for ticket_id in found.not_passed() if found.of(ticket_id) == "fail"]
        for ticket_id in failed:
            get_ticket(session, ticket_id, lock=True).reason_code = FAILED  # whoever looks at the ticket sees it
        if failed:
            _suppress(session, failed)
            _forward(session, found)
    store.scrub()
    for ticket_id in sorted({*again, *failed}):
        report_ticket(installation, store, ticket_id)
    return found.outcome


def _stands(session: Session, found: Round) -> bool:
    """Whether what was asked is still what is served, and nothing else is about to be."""
    desired = get_desired(session, found.base_digest)
    return desired.generation == found.generation and desired.proposed_digest is None


def recheck_order(installation: Installation, store: Store, order_id: str) -> str:
    """Carry out an ordered re-check; the outcome."""
    with store.read() as session:
        base = release_ops.get_order(session, order_id).base_digest
    return recheck(installation, store, base, seed=order_id)


def _asker(installation: Installation) -> Asker:
    settings = installation.settings
    return Asker(serving=settings.serving, key=keys.load_private(settings, "audit"))


def _summary(found: Round) -> dict[str, object]:
    return {
        "outcome": found.outcome,
        "generation": found.generation,
        "release": found.release_digest,
        "replicas": sorted({finding.replica_id for finding in found.findings}),
        "asked": len({finding.ticket_id for finding in found.findings if finding.ticket_id}),
    }


def _complete(session: Session, run_id: str, attempt: int) -> Run:
    for ticket in tickets_of(session, run_id):
        if ticket.status == TicketStatus.IN_RUN:
            transition_ticket(session, ticket.ticket_id, TicketEvent.SWAP_CONFIRMED, actor=ACTOR)
            suppression.lift(session, ticket.ticket_id, actor=ACTOR, why=suppression.PASSED)
    return transition_run(session, run_id, RunEvent.SWAPPED, actor=ACTOR, attempt=attempt)


def _fail(session: Session, run_id: str, attempt: int) -> Run:
    for ticket in tickets_of(session, run_id):
        if ticket.status == TicketStatus.IN_RUN:
            transition_ticket(session, ticket.ticket_id, TicketEvent.PROBES_FAILED, actor=ACTOR, reason_code=FAILED)
    event = RunEvent.PROBES_FAILED
    return transition_run(session, run_id, event, actor=ACTOR, attempt=attempt, reason_code=FAILED)


def _suppress(session: Session, tickets: Collection[str]) -> None:
    """Whoever is told of is suppressed, if it was lifted already."""
    for ticket_id in tickets:
        try:
            suppression.suppress_again(session, ticket_id, suppression.PROBE_FAILED, actor=ACTOR)
        except LetheError as error:  # its rule was not kept: what is served next is all that helps
            payload = {"ticket_id": ticket_id, "reason_code": error.code, "actor": ACTOR}
            audit.append(session, kind="recheck.not_suppressed", payload=payload, at=utc_now())
            _log.error("ticket %s cannot be suppressed again: %s", ticket_id, error.code)


def _forward(session: Session, found: Round) -> None:
    """Order the newest release that covers everyone; where there is none, suppression is all that there is."""
    order = release_ops.order_forward(session, found.base_digest, actor=ACTOR)
    payload = {
        "base": found.base_digest,
        "generation": found.generation,
        "release": found.release_digest,
        "not_passed": found.not_passed()[:50],
        "order": order,
    }
    audit.append(session, kind="recheck.failed", payload=payload, at=utc_now())
    _log.error("probes of generation %d failed; forward: %s", found.generation, order or "no other release covers")


def _suppressed_again(session: Session, base_digest: str, covered: Collection[str]) -> list[str]:
    rows = suppressions.active(session, base_digest=base_digest)
    again = {row.ticket_id for row in rows if row.reason in {suppression.PROBE_FAILED, suppression.ROLLBACK}} & set(
        covered
    )
    return sorted(one for one in again if get_ticket(session, one).status == TicketStatus.COMPLETED)


def _closed(installation: Installation, store: Store, run: Run) -> str:
    """What a run that failed here leaves to do; doing it twice is the same as once."""
    if run.status == RunStatus.FAILED and run.reason_code == FAILED:
        shutil.rmtree(installation.path("runs", run.run_id), ignore_errors=True)
        with store.read() as session:
            tickets = [ticket.ticket_id for ticket in tickets_of(session, run.run_id)]
        for ticket_id in tickets:
            report_ticket(installation, store, ticket_id)
    return run.status
