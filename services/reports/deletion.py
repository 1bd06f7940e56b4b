"""Point 5 of a report, the source records: what was searched, what was deleted, and by which readings that is shown."""

from sqlalchemy.orm import Session

from services.reports.data import DeletedPart, DeletionPart
from services.store import deletions
from services.store.evidence_tables import Deletion
from services.store.tables import Ticket

NOT_SEARCHED = (
    "Backups, snapshots and replicas of the sources.",
    "The blocks of a disk that a rewritten file lay on, until they are overwritten.",
    "Copies outside the sources named: other files, exports, vendors.",
)
_WHY = {
    deletions.PLANNED: "The sources are being looked through.",
    deletions.TRIED: "Only looked for (dry run): an order with `lethe deletion run` is what is missing.",
    deletions.ORDERED: "Ordered; the job that deletes has not ended.",
    deletions.HELD: "A legal hold keeps the records.",
    deletions.FAILED: "The deletion failed; the table of the sources names the reason.",
}


def deletion_of(session: Session, ticket: Ticket) -> DeletionPart | None:
    """What became of the ticket's source records; None where nothing was planned."""
    rows = deletions.of_ticket(session, ticket.ticket_id)
    if not rows:
        return None
    gone = [row for row in rows if row.found_after is not None and row.found_before is not None]
    last = max((row.ended_at for row in gone if row.ended_at is not None), default=None)
    deleted = sum((row.found_before or 0) - (row.found_after or 0) for row in gone)
    complete = all(row.status == deletions.DONE for row in rows)
    return DeletionPart(
        records=deleted if deleted or complete else None,
        at=last,
        proof_digest=next((row.content_digest for row in gone if row.content_digest), None),
        sources=tuple(_source(row) for row in rows),
        not_searched=NOT_SEARCHED,
    )


def why_not_deleted(session: Session, ticket: Ticket) -> str | None:
    """Why the source records are not all deleted; None where they are, or where nothing was planned."""
    open_ones = [row.status for row in deletions.of_ticket(session, ticket.ticket_id) if row.status != deletions.DONE]
    return _WHY[open_ones[0]] if open_ones else None


def _source(row: Deletion) -> DeletedPart:
    same = None if row.rest_after is None or row.rest_before is None else row.rest_after == row.rest_before
    return DeletedPart(
        source=row.source,
        kind=row.kind,
        status=row.status,
        rows_before=row.rows_before,
        found_before=row.found_before,
        rows_after=row.rows_after,
        found_after=row.found_after,
        others_unchanged=same,
        held=row.held,
        reason=row.reason_code,
        at=row.ended_at or row.tried_at,
    )
