"""``lethe ticket exempt|end-exemption|exemptions|extend|duplicate``: what people decide around a ticket."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TicketId = Annotated[str, typer.Argument(help="The ticket's id (t-…).")]
Reason = Annotated[str, typer.Option(help="Why; sealed, never logged.")]
Version = Annotated[int | None, typer.Option(help="Refuse if the ticket has changed since this version.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``lethe ticket``."""
    commands: tuple[Callable[..., None], ...] = (exempt, end_exemption, exemptions, extend, duplicate)
    for command in commands:
        app.command(command.__name__.replace("_", "-"))(command)


def exempt(
    ticket_id: TicketId,
    code: Annotated[str, typer.Option(help="An exemption of the pack (legal_claims).")],
    review_by: Annotated[str, typer.Option(help="When it must be looked at again (2026-12-31T00:00:00Z).")],
    reason: Reason,
    category: Annotated[str | None, typer.Option(help="Which records: a category pattern …")] = None,
    record: Annotated[str | None, typer.Option(help="… or one record's id.")] = None,
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Keep a category or a record of a person under an exemption; everything is decided, and approved, again."""
    body = {"code": code, "review_by": review_by, "reason": reason, "category": category, "record": record}
    _act(ticket_id, "exempt", {**body, "version": version}, as_json)


def end_exemption(
    ticket_id: TicketId,
    exemption_id: Annotated[str, typer.Argument(help="The exemption's id (x-…).")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """End an exemption; an open ticket is decided again, a closed one needs a new ticket for what was kept."""
    _act(ticket_id, f"exemptions/{exemption_id}/end", {"reason": reason}, as_json)


def exemptions(
    ticket_id: Annotated[str | None, typer.Argument(help="A ticket's; none: all that are due for review.")] = None,
    review_before: Annotated[str | None, typer.Option(help="Due by this moment; unset: by now.")] = None,
    as_json: Json = False,
) -> None:
    """What is kept of a ticket's person, or every exemption that must be looked at again."""
    from services.commands import ticket

    with ticket.client() as intake:
        if ticket_id is None:
            found: Any = intake.get("/v1/exemptions", review_before=review_before)
        else:
            found = intake.get(f"/v1/tickets/{ticket_id}/exemptions")
    lines = [
        f"{one['exemption_id']}  {one['ticket_id']}  {one['category'] or one['record_id']}  {one['article']}"
        f"  review by {one['review_by']}{'  ended' if one['ended_at'] else ''}"
        for one in found
    ]
    print(json.dumps({"exemptions": found}) if as_json else "\n".join(lines) or "none")


def extend(
    ticket_id: TicketId,
    reason: Annotated[str, typer.Option(help="complexity or number_of_requests: the two that the laws know.")],
    notice_sent_at: Annotated[str, typer.Option(help="When the subject was told (RFC 3339), within the first period.")],
    as_json: Json = False,
) -> None:
    """Record that the period was extended and the subject told why; once, and within the first period."""
    _act(ticket_id, "extend", {"reason": reason, "notice_sent_at": notice_sent_at}, as_json)


def duplicate(
    ticket_id: TicketId,
    of: Annotated[str, typer.Option(help="The earlier ticket, which goes on.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Close a ticket as a repetition of an earlier one; both identities must be verified, each on its own."""
    _act(ticket_id, "duplicate", {"of": of, "reason": reason}, as_json)


def _act(ticket_id: str, path: str, body: dict[str, Any], as_json: bool) -> None:
    from services.commands import ticket  # which adds these commands to its own

    ticket.act(ticket_id, path, body, as_json)
