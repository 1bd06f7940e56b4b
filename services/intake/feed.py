"""The stream of a ticket's events and of its run's progress (server-sent events)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from policies.lifecycle import CLOSED_TICKET
from services.intake.views import events, run_view
from services.store.engine import Store
from services.store.runs import runs_of
from services.store.tickets import get_ticket

_KEEP_ALIVE_S = 10.0


async def feed(store: Store, ticket_id: str, *, after: int, every_s: float) -> AsyncIterator[bytes]:
    """Events as they happen, progress as it changes, then ``end``; ``Last-Event-ID`` resumes where it broke off.

    The store is asked again and again: the process that changes a ticket may be another one, on another host.
    """
    seen_runs: dict[str, str] = {}
    quiet_since = time.monotonic()
    while True:
        happened, runs, closed = await run_in_threadpool(_look, store, ticket_id, after)
        out = b""
        for event in happened:
            after = event["event_id"]
            out += _message("ticket", event, after)
        for run in runs:
            text = json.dumps(run, sort_keys=True)
            if seen_runs.get(run["run_id"]) != text:
                seen_runs[run["run_id"]] = text
                out += _message("run", run)
        if closed:
            yield out + _message("end", {"ticket_id": ticket_id})
            return
        if out or time.monotonic() - quiet_since > _KEEP_ALIVE_S:
            quiet_since = time.monotonic()
            yield out or b": still here\n\n"
        await asyncio.sleep(every_s)


def _look(store: Store, ticket_id: str, after: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    with store.read() as session:
        ticket = get_ticket(session, ticket_id)
        happened = events(session, ticket, after=after, with_identity=False)
        runs = [run_view(run) for run in runs_of(session, ticket_id)]
        closed = ticket.status in CLOSED_TICKET
    return [e.model_dump(mode="json") for e in happened], [r.model_dump(mode="json") for r in runs], closed


def _message(kind: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
