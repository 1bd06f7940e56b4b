"""Letters and recipients over HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from policies.moment import Moment
from policies.ticket import BaseName
from services.auth import Identity, identity_of, requires
from services.installation import open_installation
from services.intake.packs import Packs
from services.people import notices, recipients, sending, telling
from services.settings import Settings
from services.store.engine import Store
from services.store.people_tables import Notice, Recipient
from services.store.tickets import get_ticket

Who = Annotated[Identity, Depends(identity_of)]
Letter = Literal["receipt", "extension", "denial", "part_denial", "answer"]
RecipientId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class LetterBody(_Body):
    """Which letter to make."""

    letter: Letter
    why: Literal["complexity", "number_of_requests"] | None = Field(default=None, description="Of an extension.")


class SentBody(_Body):
    """It went out."""

    way: Literal["email", "post", "portal"]
    sent_at: Moment


class RecipientBody(_Body):
    """Somebody to whom data or adapters went."""

    recipient_id: RecipientId = Field(description="A code (crm-vendor); no name of a person.")
    kind: Literal["data", "model"] = Field(description="data: records about people; model: adapters.")
    base: BaseName | None = Field(default=None, description="Of this base only.")


class NoticeView(BaseModel):
    """A letter or notice, without its words."""

    notice_id: str
    ticket_id: str
    letter: str
    recipient_id: str = Field(description="Empty: the subject.")
    status: str = Field(description="made, sending (taken in hand, outcome unknown), sent, impossible or dropped.")
    digest: str = Field(description="Keyed.")
    made_at: AwareDatetime
    made_by: str
    sent_at: AwareDatetime | None
    sent_by: str | None
    way: str | None
    attempts: int = Field(description="By mail.")
    failed_code: str | None = Field(description="What stood in the way of the last attempt.")
    next_at: AwareDatetime | None = Field(description="Not tried again by itself before.")


class SentView(BaseModel):
    """What went out, and what could not."""

    sent: list[str]
    refused: dict[str, str] = Field(description="Notice to the code of what stood in the way.")


class RecipientView(BaseModel):
    """A recipient."""

    recipient_id: str
    kind: str
    base: str | None
    added_at: AwareDatetime
    removed_at: AwareDatetime | None


def add_letters(
    app: FastAPI, the_store: Callable[[], Store], settings: Settings, clock: Callable[[], datetime]
) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        the_store: Opened with keys.
        settings: Of the installation.
        clock: The present moment.
    """

    def _report_anew(ticket_id: str) -> None:
        telling.report_anew(open_installation(settings), the_store(), ticket_id)

    @app.post("/v1/tickets/{ticket_id}/letters", response_model=NoticeView, status_code=201, tags=["letters"])
    @requires("tickets:decide")
    def make(ticket_id: str, body: LetterBody, who: Who) -> NoticeView:
        """Make a letter to the subject from its template; until it was sent it can be made anew."""
        with the_store().write() as session:
            ticket = get_ticket(session, ticket_id, lock=True)
            pack = Packs(settings.policy).get(ticket.regime)
            row = notices.make_letter(session, ticket, pack, body.letter, actor=who.actor, at=clock(), why=body.why)
            return _notice(row)

    @app.get("/v1/tickets/{ticket_id}/notices", response_model=list[NoticeView], tags=["letters"])
    @requires("tickets:read")
    def of_ticket(ticket_id: str) -> list[NoticeView]:
        """Letters to the subject and notices to recipients, without their words."""
        with the_store().read() as session:
            get_ticket(session, ticket_id)
            return [_notice(row) for row in notices.of_ticket(session, ticket_id)]

    @app.get("/v1/notices", response_model=list[NoticeView], tags=["letters"])
    @requires("tickets:read")
    def due() -> list[NoticeView]:
        """Notices to recipients that are due: the erasure is done, and they were not told."""
        with the_store().read() as session:
            return [_notice(row) for row in notices.due(session)]

    @app.get("/v1/notices/{notice_id}/text", response_class=PlainTextResponse, tags=["letters"])
    @requires("tickets:identity")
    def text(notice_id: str) -> PlainTextResponse:
        """The words; they may name the person."""
        with the_store().read() as session:
            words = notices.text_of(session, notices.get_notice(session, notice_id))
        return PlainTextResponse(words, headers={"Cache-Control": "no-store"})

    @app.post("/v1/notices/{notice_id}/sent", response_model=NoticeView, tags=["letters"])
    @requires("tickets:decide")
    def sent(notice_id: str, body: SentBody, who: Who) -> NoticeView:
        """Record that it went out; a report that was written already is written anew."""
        with the_store().write() as session:
            row = notices.record_sent(
                session, notice_id, way=body.way, sent_at=body.sent_at, actor=who.actor, at=clock()
            )
            view = _notice(row)
        _report_anew(view.ticket_id)
        return view

    @app.post("/v1/notices/{notice_id}/send", response_model=NoticeView, tags=["letters"])
    @requires("tickets:decide")
    def send(notice_id: str, who: Who) -> NoticeView:
        """Send it by mail and record that; again it changes nothing."""
        view = _notice(sending.send(the_store(), settings.mail, notice_id, actor=who.actor, at=clock()))
        _report_anew(view.ticket_id)
        return view

    @app.post("/v1/notices/{notice_id}/not-sent", response_model=NoticeView, tags=["letters"])
    @requires("tickets:decide")
    def not_sent(notice_id: str, who: Who) -> NoticeView:
        """Record that what the mail server was given did not arrive: it may be sent again."""
        with the_store().write() as session:
            return _notice(sending.not_sent(session, notice_id, actor=who.actor, at=clock()))

    @app.post("/v1/notices/send", response_model=SentView, tags=["letters"])
    @requires("tickets:decide")
    def send_due(who: Who) -> SentView:
        """Send every notice to recipients that is due by mail."""
        sent, refused = sending.send_due(the_store(), settings.mail, actor=who.actor, at=clock())
        with the_store().read() as session:
            tickets = {notices.get_notice(session, one).ticket_id for one in sent}
        for ticket_id in sorted(tickets):
            _report_anew(ticket_id)
        return SentView(sent=sent, refused=refused)

    @app.post("/v1/notices/{notice_id}/impossible", response_model=NoticeView, tags=["letters"])
    @requires("tickets:decide")
    def impossible(notice_id: str, who: Who) -> NoticeView:
        """Record that telling this recipient is impossible or disproportionate."""
        with the_store().write() as session:
            return _notice(notices.record_impossible(session, notice_id, actor=who.actor, at=clock()))

    @app.post("/v1/recipients", response_model=RecipientView, status_code=201, tags=["letters"])
    @requires("admin")
    def add(body: RecipientBody, who: Who) -> RecipientView:
        """Register a recipient; erasures that are approved from now on make a notice."""
        with the_store().write() as session:
            row = recipients.add(session, body.recipient_id, body.kind, body.base, actor=who.actor, at=clock())
            return _recipient(row)

    @app.get("/v1/recipients", response_model=list[RecipientView], tags=["letters"])
    @requires("tickets:read")
    def list_all() -> list[RecipientView]:
        """The register of recipients."""
        with the_store().read() as session:
            return [_recipient(row) for row in recipients.list_recipients(session)]

    @app.delete("/v1/recipients/{recipient_id}", status_code=204, tags=["letters"])
    @requires("admin")
    def remove(recipient_id: str, who: Who) -> None:
        """No new notices for this recipient."""
        with the_store().write() as session:
            recipients.remove(session, recipient_id, actor=who.actor, at=clock())


def _notice(row: Notice) -> NoticeView:
    return NoticeView(**{name: getattr(row, name) for name in NoticeView.model_fields})


def _recipient(row: Recipient) -> RecipientView:
    return RecipientView(**{name: getattr(row, name) for name in RecipientView.model_fields})
