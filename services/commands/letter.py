"""``lethe letter``: letters to the subject of a ticket, made from templates, over HTTP with an API key."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Letters to subjects and notices to recipients: make, read, record.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TicketId = Annotated[str, typer.Argument(help="The ticket's id (t-…).")]
NoticeId = Annotated[str, typer.Argument(help="The letter's or notice's id (n-…).")]


@app.command()
def make(
    ticket_id: TicketId,
    letter: Annotated[str, typer.Argument(help="receipt, extension, denial, part_denial or answer.")],
    why: Annotated[str | None, typer.Option(help="Of an extension: complexity or number_of_requests.")] = None,
    as_json: Json = False,
) -> None:
    """Make a letter; until it was sent it can be made anew."""
    from services.commands.ticket import client

    with client() as intake:
        made = intake.post(f"/v1/tickets/{ticket_id}/letters", {"letter": letter, "why": why})
    show(as_json, made, line(made))


@app.command("list")
def list_all(ticket_id: TicketId, as_json: Json = False) -> None:
    """A ticket's letters and notices."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.get(f"/v1/tickets/{ticket_id}/notices")
    show(as_json, {"notices": found}, "\n".join(line(one) for one in found) or "none")


@app.command()
def text(notice_id: NoticeId) -> None:
    """The words, to be sent; they may name the person (scope tickets:identity)."""
    from services.commands.ticket import client

    with client() as intake:
        words = intake.get_bytes(f"/v1/notices/{notice_id}/text").decode()
    print(words, end="")


@app.command()
def sent(
    notice_id: NoticeId,
    way: Annotated[str, typer.Option(help="email, post or portal.")],
    sent_at: Annotated[str | None, typer.Option(help="When (RFC 3339); unset: now.")] = None,
    as_json: Json = False,
) -> None:
    """Record that a letter or notice went out."""
    from datetime import UTC, datetime

    from services.commands.ticket import client

    moment = sent_at or datetime.now(UTC).isoformat()
    with client() as intake:
        row = intake.post(f"/v1/notices/{notice_id}/sent", {"way": way, "sent_at": moment})
    show(as_json, row, line(row))


@app.command()
def send(notice_id: NoticeId, as_json: Json = False) -> None:
    """Send a letter or notice by mail, and record that it went out."""
    from services.commands.ticket import client

    with client() as intake:
        row = intake.post(f"/v1/notices/{notice_id}/send")
    show(as_json, row, line(row))


@app.command("not-sent")
def not_sent(notice_id: NoticeId, as_json: Json = False) -> None:
    """Record that a letter or notice which the mail server was given did not arrive: it may be sent again."""
    from services.commands.ticket import client

    with client() as intake:
        row = intake.post(f"/v1/notices/{notice_id}/not-sent")
    show(as_json, row, line(row))


@app.command()
def save(
    notice_id: NoticeId, out: Annotated[Path, typer.Argument(help="File to write, readable by you alone.")]
) -> None:
    """Write the words to a file, where no mail server is set; delete it once it went out."""
    from services.commands.ticket import client
    from services.whole_file import write_whole

    with client() as intake:
        words = intake.get_bytes(f"/v1/notices/{notice_id}/text")
    write_whole(out.absolute(), words, mode=0o600)
    print(f"written to {out}")


@app.command()
def impossible(notice_id: NoticeId, as_json: Json = False) -> None:
    """Record that telling this recipient is impossible or disproportionate (GDPR Art. 19)."""
    from services.commands.ticket import client

    with client() as intake:
        row = intake.post(f"/v1/notices/{notice_id}/impossible")
    show(as_json, row, line(row))


def line(row: dict[str, Any]) -> str:
    """A letter or notice in one line."""
    to = row["recipient_id"] or "the subject"
    at = f" {row['sent_at'][:16]} by {row['way']}" if row["sent_at"] else ""
    failed = f" {row['failed_code']} after {row['attempts']} attempt(s)" if row["failed_code"] else ""
    return f"{row['notice_id']}  {row['ticket_id']}  {row['letter']}  to {to}  {row['status']}{at}{failed}"


def show(as_json: bool, data: dict[str, Any], words: str) -> None:
    """One JSON object, or words."""
    print(json.dumps(data) if as_json else words)
