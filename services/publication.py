"""The end of a run, in the intake: swap, then close (delete, seal, report)."""

import shutil
from typing import Any

from dateutil.relativedelta import relativedelta
from sqlalchemy import delete
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import RunEvent, RunStatus
from services import audit, corpus_index, keys, sealed_items, suppression
from services.deletion import work as deletion
from services.installation import Installation
from services.intake.packs import Packs
from services.people import sending
from services.reports.collect import report_ticket
from services.request import request_of
from services.run_end import end_run
from services.serving import trial
from services.serving.figures import record_receipt
from services.serving.swap import as_json, swap_to
from services.store.engine import Store
from services.store.releases import get_desired
from services.store.runs import get_run, tickets_of, transition_run
from services.store.steps import begin_step, end_step
from services.store.tables import ForgetSet, SealedIdentity, Ticket
from services.store.tickets import decision_of
from services.store.types import utc_now
from services.ticket import subject_set

ACTOR = "system:swap"
_STOPS = frozenset({"unlearn.cancelled", "desired_state.parent", "swap.trial_failed"})


def swap(installation: Installation, store: Store, run_id: str, attempt: int) -> str:
    """Make the run's release the one that is served, and wait until every replica has said so.

    Raises:
        LetheError: As ``swap_to``: the run stays as it is and the swap is tried again.
    """
    with store.write() as session:
        run = get_run(session, run_id)
        if run.status != RunStatus.SWAPPING:
            return run.status
        begin_step(session, run_id, "swap", attempt)
        base, digest = run.base_digest, run.release_digest
        suppressed = suppression.active_tickets(session, base)
    assert digest is not None
    judge = trial.judge(store, installation.settings.serving)
    try:
        receipt = swap_to(
            store,
            base,
            digest,
            settings=installation.settings,
            actor=ACTOR,
            stop=lambda: _why_not(store, run_id, attempt),
            suppressed=suppressed,
            trial=judge,
        )
    except LetheError as error:
        if error.code not in _STOPS:
            raise
        with store.write() as session:
            end_step(session, run_id, "swap", attempt, _trial(judge))
        return end_run(installation, store, run_id, error.code, actor=ACTOR, attempt=attempt)
    record_receipt(receipt)
    with store.write() as session:
        end_step(session, run_id, "swap", attempt, as_json(receipt) | _trial(judge))
        return run.status  # its tickets are completed once the probes passed (services/after_swap.py)


def _trial(judge: trial.Judge | None) -> dict[str, Any]:
    return {} if judge is None or judge.result is None else {"trial": judge.result.as_json()}


def _why_not(store: Store, run_id: str, attempt: int) -> str | None:
    """Why a release that is not committed yet must not be: the run would wait for ever, or a ticket must not be done.

    Raises:
        LetheError: ``run.stale_attempt``: the swap is the newer attempt's, which goes on with it.
    """
    with store.read() as session:
        run = get_run(session, run_id)
        if run.attempt != attempt:
            raise LetheError("run.stale_attempt", f"Attempt {attempt} is no longer the run's: {run.attempt} is.")
        if run.cancel_requested:
            return "unlearn.cancelled"
        if get_desired(session, run.base_digest).release_digest not in {run.parent_digest, run.release_digest}:
            return "desired_state.parent"  # somebody moved the desired state meanwhile
    return None


def close(installation: Installation, store: Store, run_id: str, attempt: int) -> str:
    """Delete what the run no longer needs, seal what the policy keeps, and write the reports.

    Everything here can be done twice. What is deleted and what stays: design.md, decision 12.
    """
    with store.write() as session:
        run = get_run(session, run_id)
        if run.status != RunStatus.REPORTING:
            return run.status
        begin_step(session, run_id, "report", attempt)
    _forget_working_data(installation, store, run_id)
    with store.write() as session:
        audit.checkpoint(session, keys.load_private(installation.settings, "audit"))
    with store.read() as session:
        tickets = [ticket.ticket_id for ticket in tickets_of(session, run_id)]
    for ticket_id in tickets:
        report_ticket(installation, store, ticket_id)
    with store.write() as session:
        end_step(session, run_id, "report", attempt, {"reports": len(tickets)})
        return transition_run(session, run_id, RunEvent.REPORTED, actor=ACTOR, attempt=attempt).status


def _forget_working_data(installation: Installation, store: Store, run_id: str) -> None:
    with store.write() as session:
        erased: list[str] = []
        for ticket in tickets_of(session, run_id):
            row = session.get(ForgetSet, ticket.ticket_id)
            if row is not None and row.ciphertext is not None:
                ids = subject_set(session, ticket).records.forget
                corpus_index.note_erased(session, ticket.ticket_id, ids)
                deletion.plan(session, installation.settings, ticket, ids)
                erased += ids
        session.flush()
    # The note is committed first: an index that is built anew after a crash leaves the records out all the same.
    corpus_index.erase_from_index(installation, erased)
    packs = Packs(installation.settings.policy)
    with store.write() as session:
        for ticket in tickets_of(session, run_id):
            decision = decision_of(ticket)
            purposes = {sealed_items.AUGMENTED, sealed_items.CLAIMS}
            if decision.keep_probes == "none":
                purposes |= {sealed_items.PROBES, sealed_items.REPLAY, sealed_items.SCORES}
            sealed_items.drop(session, ticket.ticket_id, purposes)
            for item in sealed_items.items_of(session, ticket.ticket_id):
                months = packs.get(ticket.regime).data.retention.sealed_months
                item.expires_at = item.expires_at or utc_now() + relativedelta(months=months)
            _keep_evidence(session, ticket)
            sending.keep_address(session, ticket, installation.settings.mail, at=utc_now())
            session.execute(delete(SealedIdentity).where(SealedIdentity.subject_ref == ticket.subject_ref))
            row = session.get(ForgetSet, ticket.ticket_id)
            if row is not None:
                row.ciphertext = None
        session.flush()
    store.scrub()
    shutil.rmtree(installation.path("runs", run_id), ignore_errors=True)


def _keep_evidence(session: Session, ticket: Ticket) -> None:
    """How the requester was recognised is evidence, and holds a reference only; it outlives the raw identity."""
    if "identity" not in ticket.acts and session.get(SealedIdentity, ticket.subject_ref) is not None:
        evidence = request_of(session, ticket).identity
        if evidence is not None:
            ticket.acts = {**ticket.acts, "identity": evidence.model_dump(mode="json")}
