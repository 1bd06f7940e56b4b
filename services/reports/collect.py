"""Gathers what a report is made of from the store, and writes the report's files."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.forget_set import KEPT
from policies.ticket import IdentityEvidence
from services import sealed_items, sealing
from services.installation import Installation
from services.reports.attacks import attacks_of, beside_of, control_of
from services.reports.build import build_report
from services.reports.data import (
    ApprovalPart,
    AuditPart,
    CheckPart,
    CurvePart,
    DataPart,
    HoldCheckPart,
    IdentityPart,
    LegalPart,
    MeasuringPart,
    MethodPart,
    ModelPart,
    RemainPart,
    ReportData,
    ReviewPart,
    ScopePart,
    TicketPart,
    TimelinePart,
    TryPart,
    VerdictPart,
)
from services.reports.deletion import deletion_of, why_not_deleted
from services.reports.deployment import deployment_of, suppression_of, trial_of
from services.reports.notices import notices_of
from services.reports.write import write_report
from services.request import request_of
from services.store.engine import Store
from services.store.runs import runs_of
from services.store.steps import steps_of
from services.store.tables import (
    AuditCheckpointRow,
    AuditEntryRow,
    ForgetSet,
    LookupHash,
    MatchReview,
    Report,
    Run,
    RunStep,
    SealedIdentity,
    Ticket,
)
from services.store.tickets import decision_of, get_ticket, history
from services.store.types import utc_now

Results = Mapping[str, Mapping[str, Any]]

LIMITS = (
    "Approximate unlearning by a LoRA adapter: the base's own weights are unchanged and are never served.",
    "An audit of outputs is a lower bound on what can be extracted.",
)
NOT_SEARCHED = (
    "Backups of the training corpus.",
    "Merged or quantised copies of the model outside this installation.",
    "Caches, RAG indexes and copies held by vendors.",
)


def report_ticket(installation: Installation, store: Store, ticket_id: str) -> dict[str, Any]:
    """Build a ticket's report, write it as JSON and HTML, and enter it in the store; the report.

    Writing it again replaces it: the digest in the store is that of the newest.
    """
    with store.read() as session:
        data = collect(session, ticket_id)
    report = build_report(data)
    written = write_report(report, installation.path("reports", ticket_id))
    with store.write() as session:
        run = _last_run(session, ticket_id)
        session.merge(
            Report(
                ticket_id=ticket_id,
                run_id=run.run_id if run else None,
                json_path=str(written.json_path),
                html_path=str(written.html_path),
                digest=written.digest,
                created_at=utc_now(),
            )
        )
    return report


def collect(session: Session, ticket_id: str) -> ReportData:
    """What the store knows of a ticket, as the parts of a report; what it does not know is None."""
    ticket = get_ticket(session, ticket_id)
    run = _last_run(session, ticket_id)
    steps = steps_of(session, run.run_id) if run else {}
    results = {name: step.result or {} for name, step in steps.items()}
    return ReportData(
        generated_at=utc_now(),
        ticket=_ticket(ticket),
        identity=_identity(session, ticket),
        legal=_legal(session, ticket),
        scope=_scope(session, ticket),
        data=_data(session, ticket, results),
        model=_model(results),
        method=_method(run, results),
        verdict=_verdict(results),
        measuring=_measuring(session, ticket, steps, results),
        deployment=deployment_of(session, ticket, steps, results),
        trial=trial_of(results),
        suppression=suppression_of(session, ticket),
        notices=notices_of(session, ticket),
        audit=_audit(session, ticket),
        remains=_remains(session, ticket),
        timeline=_timeline(session, ticket, steps),
        training=_curve(results),
        why_missing={**_WHY, **_why_no_control(results), **_why_not_deleted(session, ticket)},
    )


_WHY = {
    "data.deletion": "No deletion of source records was planned: nothing was swapped, or the setting is off.",
    "notices": "No notice of this kind is recorded for this ticket.",
    "model.container_digest": "The setting deployment.image_digest was empty when the run trained.",
    "measuring.attacks": "No attack was tried: neither the policy nor the settings asked for one.",
    "measuring.control": "No control was trained: the policy does not ask for one.",
}


def _why_not_deleted(session: Session, ticket: Ticket) -> dict[str, str]:
    why = why_not_deleted(session, ticket)
    return {"data.deletion": why} if why else {}


def _last_run(session: Session, ticket_id: str) -> Run | None:
    runs = runs_of(session, ticket_id)
    return runs[-1] if runs else None


def _ticket(ticket: Ticket) -> TicketPart:
    return TicketPart(
        ticket_id=ticket.ticket_id,
        subject_ref=ticket.subject_ref,
        regime=ticket.regime,
        status=ticket.status,
        base=ticket.base,
        channel=ticket.channel,
        entered_by=ticket.entered_by,
        submitted_at=ticket.submitted_at,
        received_at=ticket.received_at,
        answered_at=ticket.closed_at,
    )


def _identity(session: Session, ticket: Ticket) -> IdentityPart | None:
    """What a person recorded last, else what the ticket came with; only references, never the evidence."""
    if "identity" in ticket.acts:
        evidence: IdentityEvidence | None = IdentityEvidence.model_validate_json(json.dumps(ticket.acts["identity"]))
    elif session.get(SealedIdentity, ticket.subject_ref) is not None:
        evidence = request_of(session, ticket).identity
    else:
        evidence = None
    return IdentityPart(**evidence.model_dump()) if evidence else None


def _legal(session: Session, ticket: Ticket) -> LegalPart | None:
    if ticket.decision is None:
        return None
    approvals = tuple(
        ApprovalPart(by=one["by"], role=one["role"] or "none", at=datetime.fromisoformat(one["at"]))
        for one in ticket.approvals
    )
    decision = decision_of(ticket)
    hold = HoldCheckPart(checked_at=decision.decided_at, found=ticket.legal_hold)
    return LegalPart(
        decision=decision, approvals=approvals, kept_records=_kept_records(session, ticket), hold_check=hold
    )


def _kept_records(session: Session, ticket: Ticket) -> dict[str, int] | None:
    """How many records are kept under each category pattern; None where nobody has counted."""
    row = session.get(ForgetSet, ticket.ticket_id)
    if row is None:
        return None
    kept = {name.removeprefix(KEPT): number for name, number in row.counts.items() if name.startswith(KEPT)}
    return kept if kept or not row.counts.get("exempt") else None


def _scope(session: Session, ticket: Ticket) -> ScopePart | None:
    row = session.get(ForgetSet, ticket.ticket_id)
    if row is None:
        return None
    counts = row.counts
    levels = ("certain", "probable", "ambiguous")
    return ScopePart(
        forget_set_digest=row.digest,
        records=counts["records"],
        facts=counts.get("facts"),
        matches={level: counts[f"matches_{level}"] for level in levels},  # type: ignore[misc]
        searched=("The training corpus that the settings name, by its subject index.",),
        not_searched=NOT_SEARCHED,
        review=_review(session, ticket),
    )


def _review(session: Session, ticket: Ticket) -> ReviewPart | None:
    rows = list(session.scalars(select(MatchReview).where(MatchReview.ticket_id == ticket.ticket_id)))
    decided = [row for row in rows if row.decided_at is not None and row.decided_by is not None]
    if not decided:
        return None
    last = max(decided, key=lambda row: row.decided_at or datetime.min.replace(tzinfo=UTC))
    assert last.decided_by is not None
    assert last.decided_at is not None
    return ReviewPart(
        reviewed_by=last.decided_by,
        at=last.decided_at,
        confirmed=sum(row.decision == "confirm" for row in decided),
        rejected=sum(row.decision == "deny" for row in decided),
    )


def _data(session: Session, ticket: Ticket, results: Results) -> DataPart | None:
    if "augment" not in results:
        return None
    made, checked = results["augment"], results.get("check", {})
    checks = tuple(CheckPart(expectation=r["expectation"], success=r["success"]) for r in checked.get("results", ()))
    return DataPart(
        corpus_digest=made.get("corpus_digest"),
        augmented_digest=made.get("digest"),
        retain_digest=made.get("retain_digest"),
        neighbour_digest=made.get("neighbour_digest"),
        evaluation_digest=made.get("evaluation_digest"),
        augmented_rows=made.get("rows"),
        negative_rows=made.get("negative_rows"),
        uncovered_facts=len(made["uncovered"]) if "uncovered" in made else None,
        unwatched_facts=len(made["unwatched"]) if "unwatched" in made else None,
        augmenter=made.get("augmenter"),
        sent_outside=made.get("sent_outside"),
        checks=checks or None,
        deletion=deletion_of(session, ticket),
    )


def _training(results: Results) -> Mapping[str, Any]:
    """The training that the verdict is about; where there is none yet, the first."""
    found: Mapping[str, Any] = results.get("verify", {}).get("training") or results.get("train", {})
    return found


def _model(results: Results) -> ModelPart | None:
    trained, released = _training(results), results.get("release", {})
    if not trained:
        return None
    return ModelPart(
        base_digest=trained["base_digest"],
        adapter_before=trained.get("parent"),
        adapter_after=released.get("digest"),
        signer=released.get("signer"),
        code_version=trained.get("code_version"),
        container_digest=trained.get("container_digest"),
        device=trained.get("device"),
        dtype=trained.get("dtype"),
        quantisation="none",
        seed=trained.get("seed"),
        settings=trained.get("settings"),
        versions=trained.get("versions"),
        training_passes=trained.get("passes"),
        training_steps=trained.get("steps"),
        training_seconds=trained.get("seconds"),
        training_stopped=_stopped(trained),
    )


def _stopped(trained: Mapping[str, Any]) -> str | None:
    """How a run ended that looked at its exposure to stop early; over-unlearned is a leak too."""
    state = trained.get("exposure_state")
    return f"{trained['stopped']}: {state}".replace("_", " ") if state else None


def _method(run: Run | None, results: Results) -> MethodPart | None:
    if run is None:
        return None
    uncovered = len(results.get("augment", {}).get("uncovered", ()))
    side = (f"{uncovered} fact(s) got too few training rows.",) if uncovered else ()
    version = results.get("train", {}).get("code_version")
    return MethodPart(name=run.method, version=version, exact=False, limits=LIMITS, side_effects=side)


def _verdict(results: Results) -> VerdictPart | None:
    verdict = results.get("verify", {}).get("verdict")
    return VerdictPart.model_validate(verdict) if verdict else None


def _measuring(
    session: Session, ticket: Ticket, steps: Mapping[str, RunStep], results: Results
) -> MeasuringPart | None:
    found = results.get("verify")
    if not found:
        return None
    step = steps["verify"]
    control, missing, _ = control_of(found)
    return MeasuringPart(
        decided_at=datetime.fromisoformat(found["decided_at"]),
        signed_by=results.get("release", {}).get("verdict_signer"),
        release_subject=ticket.subject_ref,
        seconds=(step.ended_at - step.started_at).total_seconds() if step.ended_at else None,
        scores_kept=any(i.purpose == sealed_items.SCORES for i in sealed_items.items_of(session, ticket.ticket_id)),
        scores_digest=found.get("scores", {}).get(ticket.subject_ref),
        attacks=attacks_of(found, ticket.subject_ref),
        control=control,
        control_missing=missing,
        beside_control=beside_of(found, ticket.subject_ref),
        earlier_tries=tuple(_try(one, ticket.subject_ref) for one in found.get("earlier_tries", ())),
    )


def _try(one: Mapping[str, Any], subject: str) -> TryPart:
    gates = one["found"]["verdict"]["gates"]
    missed = [gate for gate in gates if gate["required"] and gate["state"] != "pass"]
    return TryPart(
        start=one["training"]["start"],
        seed=one["training"]["seed"],
        outcome=one["found"]["outcome"],
        missed=tuple(sorted({gate["name"] for gate in missed if gate["subject"] in {subject, None}})),
    )


def _why_no_control(results: Results) -> dict[str, str]:
    why = control_of(results.get("verify", {}))[2]
    return {"measuring.control": why} if why else {}


def _audit(session: Session, ticket: Ticket) -> AuditPart | None:
    first = session.get(AuditEntryRow, 1)
    last = session.scalar(select(AuditEntryRow).order_by(AuditEntryRow.seq.desc()).limit(1))
    if first is None or last is None:
        return None
    low, high = _own_entries(session, ticket)
    signed = session.scalar(select(AuditCheckpointRow).order_by(AuditCheckpointRow.size.desc()).limit(1))
    checkpoint = None
    if signed is not None:
        fields = ("size", "head", "at", "key_id", "signature")
        checkpoint = {field: getattr(signed, field) for field in fields}
    return AuditPart(
        origin=json.loads(first.payload)["origin"],
        entries=last.seq,
        first_entry=low,
        last_entry=high,
        head=last.hash,
        checkpoint=checkpoint,
    )


def _own_entries(session: Session, ticket: Ticket) -> tuple[int | None, int | None]:
    """First and last entry about the subject; none once the subject's key is destroyed, and with it the link."""
    try:
        commitment = sealing.commitment(session, ticket.subject_ref)
    except LetheError as error:
        if error.code != "seal.key_destroyed":
            raise
        return None, None
    mine = select(func.min(AuditEntryRow.seq), func.max(AuditEntryRow.seq))
    low, high = session.execute(mine.where(AuditEntryRow.subject_commitment == commitment)).one()
    return low, high


_SEALED = "AES-256-GCM under the subject's own key, which is wrapped by a key outside the database"
_WHAT = {
    sealed_items.PROBES: "Probes: held-out questions with their gold answers",
    sealed_items.SCORES: "Scores: how each probe was scored at the verdict, ids and figures without a text",
    sealed_items.REPLAY: "Replay rows: questions about the subject with vague answers; the gold answers beside them",
    sealed_items.REPLY_TO: "The e-mail address that the answer goes to, until it went out",
    sealed_items.CLAIMS: "What the model was seen to say about the subject, until a run measures it",
    sealed_items.AUGMENTED: "The augmented set of a run",
    sealed_items.ACCESS: "What the served model said about the subject, for the subject's own access",
    sealed_items.DELETION: "Ids of the source records, until they are deleted from every source",
    sealed_items.SUPPRESSION: "The rule by which answers about the subject would be suppressed again",
}


def _source_records(session: Session, ticket: Ticket) -> tuple[RemainPart, ...]:
    why = why_not_deleted(session, ticket)
    deleted = deletion_of(session, ticket)
    if deleted is None or why:
        return (
            RemainPart(
                what="The subject's records in the training corpus and in other sources",
                where="With the controller; the subject index no longer holds them",
                sealed="Not by Lethe",
                ground=why or "No deletion was planned",
            ),
        )
    return (
        RemainPart(
            what="Copies of the subject's records outside the sources that were searched",
            where="Backups, exports, vendors: whatever point 5 names as not searched",
            sealed="Not by Lethe",
            ground="The sources that the settings name hold them no more",
        ),
    )


def _remains(session: Session, ticket: Ticket) -> tuple[RemainPart, ...]:
    parts = [
        *_source_records(session, ticket),
        RemainPart(
            what="What the base model's own weights hold",
            where="The base directory; the base is never served without a released adapter",
            sealed="Not sealed",
            ground="The method is approximate: an adapter suppresses and overwrites, the base stays for later runs",
        ),
    ]
    if session.get(SealedIdentity, ticket.subject_ref) is not None:
        parts.append(
            RemainPart(
                what="The raw identity as the ticket gave it",
                where="Table sealed_identities of the store",
                sealed=_SEALED,
                ground="The ticket is open; it is deleted when the swap is confirmed",
            )
        )
    for item in sealed_items.items_of(session, ticket.ticket_id):
        parts.append(
            RemainPart(
                what=_WHAT[item.purpose],
                where="Table sealed_items of the store",
                sealed=_SEALED,
                ground=item.ground,
                until=item.expires_at,
            )
        )
    hashes = session.scalar(
        select(func.count()).select_from(LookupHash).where(LookupHash.subject_ref == ticket.subject_ref)
    )
    if hashes:
        parts.append(
            RemainPart(
                what=f"{hashes} keyed hashes of the subject's identifiers",
                where="Table lookup_hashes of the store",
                sealed="HMAC-SHA-256 under the installation's lookup key",
                ground="To recognise a repeated request",
            )
        )
    return tuple(parts)


def _timeline(session: Session, ticket: Ticket, steps: Mapping[str, RunStep]) -> tuple[TimelinePart, ...]:
    acts = [
        TimelinePart(step=f"ticket.{event.event}", started_at=event.at, ended_at=event.at)
        for event in history(session, ticket.ticket_id)
    ]
    work = [
        TimelinePart(
            step=f"run.{name}", started_at=step.started_at, ended_at=step.ended_at, attempt=max(1, step.attempt + 1)
        )
        for name, step in steps.items()
    ]
    return tuple(sorted([*acts, *work], key=lambda part: part.started_at))


def _curve(results: Results) -> CurvePart | None:
    curve = _training(results).get("curve")
    if not curve:
        return None
    return CurvePart(
        steps=tuple(curve["steps"]), terms={name: tuple(values) for name, values in curve["terms"].items()}
    )
