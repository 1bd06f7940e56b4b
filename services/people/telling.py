"""Notices that go out by themselves, as a durable job of the control loop; and the report, which says who was told."""

from policies.errors import LetheError
from services.installation import Installation
from services.people import sending
from services.reports.collect import report_ticket
from services.store.engine import Store
from services.store.tables import Report
from services.store.types import utc_now

ACTOR = "system:control"


def tell(installation: Installation, store: Store, notice_id: str) -> str:
    """Send a notice that is due: its status, or the code of what stood in the way, which the notice keeps too."""
    try:
        row = sending.send(store, installation.settings.mail, notice_id, actor=ACTOR, at=utc_now())
    except LetheError as error:
        if not error.code.startswith(("mail.", "letter.", "notice.", "seal.")):
            raise  # the store's troubles are the job's
        return error.code
    report_anew(installation, store, row.ticket_id)
    return row.status


def report_anew(installation: Installation, store: Store, ticket_id: str) -> None:
    """A report that was written already is written again: somebody was told."""
    with store.read() as session:
        reported = session.get(Report, ticket_id) is not None
    if reported:
        report_ticket(installation, store, ticket_id)
