"""Who is suppressed in answers now, why, since when, and whether every replica does it."""

from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy import func, select
from starlette.responses import Response

from services.auth import requires
from services.console.place import Console
from services.store.tables import Suppression

_PAGE = 200


def add_suppressions(app: FastAPI, console: Console) -> None:
    """Adds ``/suppressions``."""

    @app.get("/suppressions")
    @requires("tickets:read")
    def show(request: Request, ended: int = 0, before: str = "") -> Response:
        """Rows in force, the newest first; with ``ended`` those that were lifted too."""
        query = select(Suppression).order_by(Suppression.since.desc(), Suppression.suppression_id.desc())
        if not ended:
            query = query.where(Suppression.lifted_at.is_(None))
        with console.store().read() as session:
            last = session.get(Suppression, before) if before else None
            if last is not None:
                earlier = (Suppression.since == last.since) & (Suppression.suppression_id < last.suppression_id)
                query = query.where((Suppression.since < last.since) | earlier)
            rows = list(session.scalars(query.limit(_PAGE + 1)))
            counts = session.execute(
                select(func.count(), func.count(Suppression.confirmed_at)).where(Suppression.lifted_at.is_(None))
            ).one()
        values: dict[str, Any] = {
            "rows": rows[:_PAGE],
            "next": rows[_PAGE - 1].suppression_id if len(rows) > _PAGE else None,
            "ended": bool(ended),
            "active": counts[0],
            "pending": counts[0] - counts[1],
            "enabled": console.settings.serving.suppression,
        }
        return console.page(request, "suppressions.html.jinja", values, here="suppressions")
