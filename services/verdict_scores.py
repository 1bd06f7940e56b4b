"""The scores behind a ticket's verdict, opened from their seal to be reckoned again; that it was opened is recorded."""

import json
from typing import Any

from policies.errors import LetheError
from services import audit, sealed_items
from services.store.engine import Store
from services.store.runs import runs_of
from services.store.steps import steps_of
from services.store.tickets import get_ticket


def open_scores(store: Store, ticket_id: str, *, actor: str) -> tuple[bytes, str]:
    """The scores as JSON, and the digest that the last verification stated of them.

    Raises:
        LetheError: ``ticket.not_found``; ``seal.item_missing``, ``seal.key_destroyed``, ``seal.corrupt``;
            ``run.not_found``: no verification of the ticket stated a digest.
    """
    with store.write() as session:
        ticket = get_ticket(session, ticket_id)
        found: dict[str, Any] = sealed_items.get(session, ticket_id, sealed_items.SCORES)
        steps = [steps_of(session, run.run_id).get("verify") for run in runs_of(session, ticket_id)]
        stated = [((one and one.result) or {}).get("scores", {}).get(ticket.subject_ref) for one in steps]
        if not any(stated):
            raise LetheError("run.not_found", "No verification of the ticket stated a digest of its scores.")
        payload = {"ticket_id": ticket_id, "actor": actor}
        audit.append(session, kind="verify.scores_opened", payload=payload, subject_ref=ticket.subject_ref)
    return json.dumps(found).encode(), [digest for digest in stated if digest][-1]
