"""Regurgitation claims over HTTP: filed for a ticket, seen by whoever may see identities."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from dateutil.relativedelta import relativedelta
from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from policies.moment import Moment
from policies.ticket import Reference
from services.auth import Identity, identity_of, requires
from services.claims import Claim, add_claim, claims_of
from services.intake.desk import Desk
from services.intake.protocols.error_responses import ERRORS
from services.intake.protocols.rates import Rates
from services.settings import ProtocolSettings
from services.store.tickets import get_ticket

Who = Annotated[Identity, Depends(identity_of)]


class ClaimBody(BaseModel):
    """What somebody saw the model say about the ticket's subject; sealed, never logged."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    claim_id: Reference = Field(description="The sender's own id: the same twice is the same claim.")
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=4000)] = Field(description="What was asked.")
    output: Annotated[str, StringConstraints(min_length=1, max_length=8000)] = Field(description="What it said.")
    how: Annotated[str, StringConstraints(max_length=2000)] = Field(default="", description="How to reproduce it.")
    model: Annotated[str, StringConstraints(max_length=200)] = Field(default="", description="Its public name.")
    seen_at: Moment | None = Field(default=None, description="When it was seen.")


class ClaimFiled(BaseModel):
    """A claim was filed."""

    ticket_id: str
    claim_id: str


def add_claims(
    app: FastAPI, desk: Callable[[], Desk], settings: ProtocolSettings, clock: Callable[[], datetime], rates: Rates
) -> None:
    """Add the routes."""

    @app.post(
        "/v1/tickets/{ticket_id}/claims",
        status_code=201,
        response_model=ClaimFiled,
        responses={200: {"model": ClaimFiled, "description": "Filed before, the same."}, **ERRORS},
        tags=["claims"],
    )
    @requires("tickets:submit")
    def file(ticket_id: str, body: ClaimBody, who: Who, response: Response) -> ClaimFiled:
        """File a regurgitation claim: the ticket's run asks the model the same again."""
        rates.take(f"key/{who.actor}", settings.sender_per_minute)
        the_desk, now = desk(), clock()
        said = body.model_dump()
        said["seen_at"] = "" if body.seen_at is None else body.seen_at.isoformat()
        with the_desk.store.write() as session:
            regime = get_ticket(session, ticket_id).regime
            months = the_desk.packs.get(regime).data.retention.register_months
            until = now + relativedelta(months=months)
            new = add_claim(session, ticket_id, Claim(**said), actor=who.actor, expires_at=until, at=now)
        response.status_code = 201 if new else 200
        return ClaimFiled(ticket_id=ticket_id, claim_id=body.claim_id)

    @app.get("/v1/tickets/{ticket_id}/claims", response_model=list[dict[str, str]], responses=ERRORS, tags=["claims"])
    @requires("tickets:identity")
    def show(ticket_id: str) -> list[dict[str, str]]:
        """The claims of a ticket, in words."""
        with desk().store.read() as session:
            get_ticket(session, ticket_id)
            return [asdict(one) for one in claims_of(session, ticket_id)]
