"""``POST /v1/batches``: many requests in one CSV file, each row filed like a message of its own.

The file is read as it arrives and every row is its own transaction, so a broken upload loses nothing: sent again, the
rows that were filed are known. What became of each row stays as a result file without identities.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from policies.errors import LetheError
from services import audit
from services.auth import Identity, identity_of, requires
from services.intake.desk import Desk
from services.intake.protocols.csv_rows import rows, shape
from services.intake.protocols.error_responses import ERRORS
from services.intake.protocols.front import file_shaped
from services.intake.protocols.rates import Rates
from services.intake.protocols.senders import SCOPE, sender_of_key
from services.settings import ProtocolSettings
from services.store.engine import Store
from services.store.protocol_tables import Batch, BatchRow, Sender
from services.store.types import new_id

BATCHES = "/v1/batches"
_PAGE = 500
_AREAS = frozenset({"batch", "callback", "policy", "protocol", "sender", "ticket"})  # faults of a row, not of the house
Who = Annotated[Identity, Depends(identity_of)]


class BatchView(BaseModel):
    """A file of requests and what became of its rows."""

    batch_id: str
    rows: int
    counts: dict[str, int] = Field(description="Rows by outcome: filed, known (sent before), refused.")


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    outcome: str
    ticket_id: str | None = None
    code: str | None = None
    fields: tuple[str, ...] = ()


def file_batch(
    desk: Desk, sender: Sender, chunks: Iterator[bytes], *, max_rows: int, now: datetime
) -> tuple[str, Counter[str]]:
    """File every row; the batch's id, and how many rows had which outcome.

    Raises:
        LetheError: ``batch.malformed``; rows before the fault are filed, and the batch says which.
    """
    batch_id = new_id("b")
    with desk.store.write() as session:
        session.add(Batch(batch_id=batch_id, sender_id=sender.sender_id, rows=0, counts={}, filed_at=now))
    counts: Counter[str] = Counter()
    done: list[_Row] = []
    try:
        for number, row in rows(chunks):
            if number > max_rows:
                raise LetheError(
                    "batch.malformed", "The file of requests has a fault.", (f"more than {max_rows} rows",)
                )
            done.append(_file_row(desk, sender, number, row, now))
            counts[done[-1].outcome] += 1
            if len(done) == _PAGE:
                _keep(desk.store, batch_id, done, counts)
                done = []
    finally:
        _keep(desk.store, batch_id, done, counts)
        facts = {"batch_id": batch_id, "sender": sender.sender_id, **counts}
        with desk.store.write() as session:
            audit.append(session, kind="batch.filed", payload=facts, at=now)
    return batch_id, counts


def result_lines(store: Store, sender: Sender, batch_id: str) -> Iterator[str]:
    """The result file of a batch, line by line: row, outcome, ticket, code and the fields at fault.

    Raises:
        LetheError: ``batch.not_found``.
    """
    with store.read() as session:
        batch = session.get(Batch, batch_id)
        if batch is None or batch.sender_id != sender.sender_id:
            raise LetheError("batch.not_found", "There is no such batch.")

    def lines() -> Iterator[str]:
        yield "row,outcome,ticket_id,code,fields\r\n"
        after = 0
        while True:
            with store.read() as session:
                query = select(BatchRow).where(BatchRow.batch_id == batch_id, BatchRow.row > after)
                page = list(session.scalars(query.order_by(BatchRow.row).limit(_PAGE)))
            if not page:
                return
            after = page[-1].row
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerows(
                (one.row, one.outcome, one.ticket_id or "", one.code or "", "; ".join(one.fields)) for one in page
            )
            yield text.getvalue()

    return lines()


def add_batches(
    app: FastAPI, desk: Callable[[], Desk], settings: ProtocolSettings, clock: Callable[[], datetime], rates: Rates
) -> None:
    """Add the routes."""
    body = {"content": {"text/csv": {"schema": {"type": "string"}}}, "required": True}

    @app.post(
        BATCHES,
        status_code=201,
        response_model=BatchView,
        responses=ERRORS,
        openapi_extra={"requestBody": body},
        tags=["protocols"],
    )
    @requires(SCOPE)
    async def submit(request: Request, who: Who) -> BatchView:
        """File the rows of a CSV file; `reference` is the sender's own id of a row."""
        stream = request.stream()

        async def piece() -> bytes | None:
            return await anext(stream, None)

        def chunks() -> Iterator[bytes]:
            while (found := anyio.from_thread.run(piece)) is not None:
                yield found

        def file() -> BatchView:
            the_desk = desk()
            with the_desk.store.read() as session:
                sender = sender_of_key(session, who, "csv")
            rates.take(f"sender/{sender.sender_id}", settings.sender_per_minute)
            batch_id, counts = file_batch(the_desk, sender, chunks(), max_rows=settings.batch_max_rows, now=clock())
            return BatchView(batch_id=batch_id, rows=counts.total(), counts=dict(counts))

        return await run_in_threadpool(file)

    @app.get(f"{BATCHES}/{{batch_id}}", response_class=StreamingResponse, responses=ERRORS, tags=["protocols"])
    @requires(SCOPE)
    def result(batch_id: str, who: Who) -> StreamingResponse:
        """The result file: what became of each row, without identities."""
        store = desk().store
        with store.read() as session:
            sender = sender_of_key(session, who, "csv")
        return StreamingResponse(result_lines(store, sender, batch_id), media_type="text/csv")


def _file_row(desk: Desk, sender: Sender, number: int, row: dict[str, str], now: datetime) -> _Row:
    try:
        ticket_id, new = file_shaped(desk, sender, shape(row), dict(row), channel="csv", now=now)
    except LetheError as error:
        if error.code.partition(".")[0] not in _AREAS:
            raise
        return _Row(number, "refused", code=error.code, fields=error.details[:20])
    return _Row(number, "filed" if new else "known", ticket_id)


def _keep(store: Store, batch_id: str, done: list[_Row], counts: Counter[str]) -> None:
    with store.write() as session:
        batch = session.get_one(Batch, batch_id)
        batch.rows, batch.counts = counts.total(), dict(counts)
        for one in done:
            session.add(
                BatchRow(
                    batch_id=batch_id,
                    row=one.number,
                    outcome=one.outcome,
                    ticket_id=one.ticket_id,
                    code=one.code,
                    fields=list(one.fields),
                )
            )
