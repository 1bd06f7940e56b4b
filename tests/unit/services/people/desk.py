"""A desk without a corpus: what the tests about people's acts need."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.auth import Identity
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.settings import PolicySettings
from services.store.engine import Store
from services.store.tables import Ticket
from services.store.tickets import get_ticket

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
OFFICER = Identity("k-officer", frozenset(), "privacy_officer")
APPROVER = Identity("k-approver", frozenset(), "approver")
CLERK = Identity("k-clerk", frozenset(), "intake")
VERIFIED = {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": "2026-03-10T08:00:00Z"}


class Moment:
    """The present, moved by hand."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


class People:
    """A desk with its clock."""

    def __init__(self, store: Store, settings: PolicySettings | None = None) -> None:
        self.store, self.clock = store, Moment()
        self.desk = Desk(store, Packs(settings or PolicySettings(pack_path=None, zone="")), clock=self.clock)

    def file(self, external_id: str = "e-1", **more: Any) -> str:
        body = {
            "external_id": external_id,
            "regime": "gdpr",
            "base": "demo",
            "subject": [{"kind": "email", "value": "mara.canary@example.org"}],
            "identity": VERIFIED,
            "ground": "withdrawn_consent",
            **more,
        }
        return self.desk.file(json.dumps(body).encode(), CLERK)[0]

    def ask(self, ticket_id: str, what: Callable[[Ticket], Any]) -> Any:
        with self.store.read() as session:
            return what(get_ticket(session, ticket_id))

    def status(self, ticket_id: str) -> str:
        return str(self.ask(ticket_id, lambda ticket: ticket.status))
