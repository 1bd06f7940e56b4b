"""``lethe ticket``: file tickets and act on them, over HTTP with an API key."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.ticket_people import add_to

if TYPE_CHECKING:
    from services.client import ServiceClient

app = typer.Typer(no_args_is_help=True, help="Submit, list, show, approve, deny, hold and restrict erasure tickets.")
add_to(app)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TicketId = Annotated[str, typer.Argument(help="The ticket's id (t-…).")]
Reason = Annotated[str, typer.Option(help="Why; sealed, never logged.")]
MaybeReason = Annotated[str | None, typer.Option(help="Why; sealed, never logged.")]
WENT_WELL = {"completed", "nothing_found"}
STOPPED = {"rejected", "quarantined", "failed", "denied", "cancelled"}
NOT_DONE = 1  # exit status of a ticket that ended without an erasure; errors exit with 2


def client() -> "ServiceClient":
    """To the intake that the settings name."""
    from services.client import ServiceClient
    from services.settings import load_settings

    return ServiceClient(load_settings())


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="A ticket as JSON; - reads standard input.")], as_json: Json = False
) -> None:
    """File a ticket. The same external id with the same body again changes nothing."""
    from policies.errors import LetheError

    try:
        body = typer.get_binary_stream("stdin").read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise LetheError("ticket.unreadable", "The ticket's file cannot be read.") from error
    with client() as intake:
        status, filed = intake.post_bytes("/v1/tickets", body)
    new = status == 201
    due = filed["due_on"] or ""
    note = "filed" if new else "was filed before"
    _show(as_json, {**filed, "new": new}, f"{filed['ticket_id']} {note}: {filed['status']}, due {due}")


@app.command("list")
def list_all(
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be given several times.")] = None,
    due_before: Annotated[str | None, typer.Option(help="Only what is due before this moment (RFC 3339).")] = None,
    due: Annotated[
        int | None,
        typer.Option("--due", min=0, help="Only open tickets due within so many days, first due first; 0: overdue."),
    ] = None,
    base: Annotated[str | None, typer.Option(help="Only of this base.")] = None,
    as_json: Json = False,
) -> None:
    """Tickets in the order of receipt."""
    if due is not None:
        from datetime import UTC, datetime, timedelta

        from policies.lifecycle import CLOSED_TICKET, TicketStatus

        due_before = (datetime.now(UTC) + timedelta(days=due)).isoformat()
        status = status or [one.value for one in TicketStatus if one not in CLOSED_TICKET]
    found: list[dict[str, Any]] = []
    after = None
    with client() as intake:
        while True:
            page = intake.get("/v1/tickets", status=status, due_before=due_before, base=base, after=after)
            found += page["tickets"]
            after = page["next"]
            if after is None:
                break
    if due is not None:
        found.sort(key=lambda ticket: (ticket["due_at"], ticket["ticket_id"]))
    lines = [_line(ticket) for ticket in found] or ["no tickets"]
    _show(as_json, {"tickets": found}, "\n".join(lines))


@app.command()
def show(
    ticket_id: TicketId,
    identity: Annotated[bool, typer.Option("--identity", help="Also the raw identity (its own scope).")] = False,
    as_json: Json = False,
) -> None:
    """One ticket: status, decision, deadlines, ambiguous matches, runs."""
    with client() as intake:
        ticket = intake.get(f"/v1/tickets/{ticket_id}", identity=identity or None)
    _show(as_json, ticket, _told(ticket))


@app.command("verify-identity")
def verify_identity(
    ticket_id: TicketId,
    method: Annotated[str, typer.Option(help="How, as the policy pack names it (email_code, document …).")],
    evidence_ref: Annotated[str | None, typer.Option(help="Where the evidence lies; not the evidence.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Record that the attempt failed.")] = False,
    as_json: Json = False,
) -> None:
    """Record how the requester was recognised."""
    from datetime import UTC, datetime

    body: dict[str, Any] = {"method": method, "verified": not failed, "evidence_ref": evidence_ref}
    if not failed:
        body["verified_at"] = datetime.now(UTC).isoformat()
    act(ticket_id, "identity", body, as_json)


@app.command()
def approve(
    ticket_id: TicketId,
    ground: Annotated[str | None, typer.Option(help="The ground, where the ticket named none.")] = None,
    as_json: Json = False,
) -> None:
    """Approve an erasure."""
    act(ticket_id, "approve", {"ground": ground}, as_json)


@app.command()
def deny(ticket_id: TicketId, reason: Reason, as_json: Json = False) -> None:
    """Deny a request, with a reason."""
    act(ticket_id, "deny", {"reason": reason}, as_json)


@app.command()
def hold(ticket_id: TicketId, reason: Reason, as_json: Json = False) -> None:
    """Put a ticket under a legal hold: nothing is deleted and nothing trained."""
    act(ticket_id, "hold", {"reason": reason}, as_json)


@app.command("release-hold")
def release_hold(ticket_id: TicketId, reason: MaybeReason = None, as_json: Json = False) -> None:
    """End a hold; everything is decided again."""
    act(ticket_id, "release-hold", {"reason": reason}, as_json)


@app.command()
def restrict(ticket_id: TicketId, reason: Reason, as_json: Json = False) -> None:
    """Have the subject suppressed in answers until `unrestrict`, whether the request is approved or not."""
    act(ticket_id, "restrict", {"reason": reason}, as_json)


@app.command()
def unrestrict(ticket_id: TicketId, reason: Reason, as_json: Json = False) -> None:
    """End a restriction, of which the subject was told before; what an approval began goes on."""
    act(ticket_id, "unrestrict", {"reason": reason}, as_json)


@app.command()
def cancel(ticket_id: TicketId, reason: MaybeReason = None, as_json: Json = False) -> None:
    """Withdraw a request."""
    act(ticket_id, "cancel", {"reason": reason}, as_json)


@app.command()
def retry(ticket_id: TicketId, as_json: Json = False) -> None:
    """Let a ticket whose run failed, was rejected or quarantined wait for a run again."""
    act(ticket_id, "retry", {}, as_json)


@app.command()
def review(
    ticket_id: TicketId,
    confirm: Annotated[list[str] | None, typer.Option(help="A record that is the subject's.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A record that is a namesake's.")] = None,
    as_json: Json = False,
) -> None:
    """Sort ambiguous matches."""
    act(ticket_id, "review", {"confirm": confirm or [], "deny": deny or []}, as_json)


@app.command()
def watch(ticket_id: TicketId, as_json: Json = False) -> None:
    """Follow a ticket until it ends; exit status 0 if the person is forgotten or was never known, 1 if not.

    With ``--json`` every event is one line.
    """
    status = ""
    with client() as intake:
        for kind, data in intake.stream(f"/v1/tickets/{ticket_id}/events"):
            if as_json:
                print(json.dumps({"kind": kind, **data}), flush=True)
            elif kind != "end":
                print(_event_line(kind, data), flush=True)
            status = data.get("to_status") or status
            if status in STOPPED and kind == "ticket" and _is_last(intake, ticket_id, data):
                break
    if status not in WENT_WELL:
        raise typer.Exit(NOT_DONE)


def _is_last(intake: "ServiceClient", ticket_id: str, event: dict[str, Any]) -> bool:
    """The stream replays the past: an old failure that was tried again since is no end."""
    return bool(intake.get(f"/v1/tickets/{ticket_id}")["status"] == event["to_status"])


def act(ticket_id: str, path: str, body: dict[str, Any], as_json: bool) -> None:
    """Do an act over HTTP and tell what followed."""
    with client() as intake:
        done = intake.post(f"/v1/tickets/{ticket_id}/{path}", {k: v for k, v in body.items() if v is not None})
    _show(as_json, done, f"{done['ticket_id']}: {done['status']}, {_suppressed(done['suppression'])}")


def _suppressed(state: dict[str, Any]) -> str:
    """Suppressed is not erased: it is said by its own word."""
    at = {"pending": "since", "confirmed": "confirmed_at", "lifted": "lifted_at"}.get(state["state"])
    moment = f" at {state[at][:19]}" if at else ""
    reason = f" ({state['reason']})" if state["reason"] else ""
    return f"suppression {state['state']}{moment}{reason}"


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)


def _line(ticket: dict[str, Any]) -> str:
    due = ticket["due_on"] or "-"
    late = "  OVERDUE" if ticket["overdue"] else ""
    return (
        f"{ticket['ticket_id']}  {ticket['status']:<18} due {due}  {ticket['regime']:<8} {ticket['external_id']}{late}"
    )


def _told(ticket: dict[str, Any]) -> str:
    decision = ticket["decision"] or {}
    lines = [
        _line(ticket),
        f"  decision   {decision.get('explanation', 'none yet')}",
        f"  approvals  {len(ticket['approvals'])} of {ticket['approvals_needed']}",
        f"  pack       {ticket['regime']} {ticket['pack_version']} {(ticket['pack_digest'] or '')[:12]}",
    ]
    lines.append(f"  answers    {_suppressed(ticket['suppression'])}")
    if ticket["reason_code"]:
        lines.append(f"  reason     {ticket['reason_code']}")
    if ticket["forget_set"]:
        lines.append(f"  forget set {json.dumps(ticket['forget_set']['counts'], sort_keys=True)}")
    lines += [f"  ambiguous  {m['record_id']}: {m['reason']} ({m['decision'] or 'open'})" for m in ticket["matches"]]
    lines += [f"  run        {run['run_id']} {run['status']} (attempt {run['attempt']})" for run in ticket["runs"]]
    if ticket["possible_duplicates"]:
        lines.append(f"  shares an identifier with {', '.join(ticket['possible_duplicates'])}")
    lines.append(f"  next       {', '.join(ticket['allowed_events']) or 'nothing'}")
    return "\n".join(lines)


def _event_line(kind: str, data: dict[str, Any]) -> str:
    if kind == "run":
        progress = data.get("progress") or {}
        told = "  ".join(f"{name} {value}" for name, value in progress.items() if not isinstance(value, dict | list))
        return f"          run {data['run_id']} {data['status']}  {told}".rstrip()
    reason = f"  ({data['reason_code']})" if data["reason_code"] else ""
    return f"{data['at'][11:19]}  {data['event']:<20} {data['to_status']}{reason}"
