"""What holds of a store however its processes died."""

from collections import Counter
from pathlib import Path

from sqlalchemy import select

from policies.lifecycle import CLOSED_RUN
from services import audit, keys
from services.store.engine import Store
from services.store.releases import list_desired, list_releases
from services.store.runs import list_runs, runs_of, tickets_of
from services.store.tables import SealedIdentity, Ticket
from services.store.tickets import get_ticket, history

STANDS = frozenset({"failed", "rejected", "quarantined"})


def check_ticket(store: Store, ticket_id: str) -> None:
    """It completed exactly once, or stands with a reason and can be tried again."""
    with store.read() as session:
        ticket = get_ticket(session, ticket_id)
        events = Counter(row.event for row in history(session, ticket_id))
        runs = runs_of(session, ticket_id)
        identity = session.get(SealedIdentity, ticket.subject_ref)
    if ticket.status in STANDS:
        assert ticket.reason_code
        return
    assert ticket.status == "completed", (ticket.status, ticket.reason_code)
    assert events["swap_confirmed"] == 1
    assert [run.status for run in runs].count("completed") == 1
    assert identity is None


def check_store(store: Store, settings_home: Path, scratch: Path) -> None:
    """Of everything together: who is in the watermark, what was released, and the log."""
    from services.settings import load_settings

    settings = load_settings(settings_home)
    with store.read() as session:
        [desired] = list_desired(session)
        completed = {row.ticket_id for row in session.scalars(select(Ticket).where(Ticket.status == "completed"))}
        runs = list_runs(session)
        served = {run.run_id: [one.ticket_id for one in tickets_of(session, run.run_id)] for run in runs}
        listed = list_releases(session)
    releases = {one.digest for one in listed}
    assert set(Counter(one.run_id for one in listed if one.run_id is not None).values()) <= {1}  # each run's is one
    assert set(desired.watermark) == completed
    assert len(desired.watermark) == len(set(desired.watermark))
    done = [run for run in runs if run.status == "completed"]
    assert all(run.status in CLOSED_RUN for run in runs)
    assert Counter(ticket for run in done for ticket in served[run.run_id]) == Counter(completed)
    assert {run.release_digest for run in done} <= releases
    assert desired.generation == len(done)
    bundle = scratch / "log.jsonl"
    audit.export(store, bundle, keys.load_private(settings, "audit"))
    found = audit.verify(bundle, keys.load_trust(keys.trust_path(settings)))
    assert found.ok, found.faults
