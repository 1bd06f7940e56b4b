"""The deadlines of a month, day by day."""

import calendar
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from starlette.responses import Response

from services.auth import requires
from services.console import words
from services.console.place import Console
from services.store.board import due_days

_FIRST, _LAST = date(2000, 1, 1), date(2199, 12, 1)


def add_calendar(app: FastAPI, console: Console) -> None:
    """Adds ``/calendar``."""

    @app.get("/calendar")
    @requires("tickets:read")
    def show(request: Request, month: str = "") -> Response:
        """How many open tickets are due on which day of a month, each in the zone of its own deadline."""
        now = console.clock()
        today = now.astimezone(ZoneInfo(console.zone)).date()
        first = _month(month) or today.replace(day=1)
        weeks = calendar.Calendar().monthdatescalendar(first.year, first.month)
        with console.store().read() as session:
            days = {"first": weeks[0][0], "last": weeks[-1][-1]}
            found = due_days(session, words.OPEN_STATUSES, **days, zone=console.zone)
        due: Counter[date] = Counter()
        late: set[date] = set()
        for day, moment, number in found:
            due[day] += number
            if now > moment:
                late.add(day)
        values: dict[str, Any] = {
            "month": first,
            "weeks": [[_day(day, first, today, due[day], day in late) for day in week] for week in weeks],
            "days": list(calendar.day_name),
            "total": sum(number for day, number in due.items() if day.month == first.month),
            "previous": (first - timedelta(days=1)).strftime("%Y-%m") if first > _FIRST else None,
            "next": (first + timedelta(days=32)).strftime("%Y-%m") if first < _LAST else None,
        }
        return console.page(request, "calendar.html.jinja", values, here="calendar")


def _day(day: date, first: date, today: date, number: int, late: bool) -> dict[str, Any]:
    soon = today <= day <= today + timedelta(days=7)
    return {
        "day": day,
        "inside": day.month == first.month,
        "today": day == today,
        "number": number,
        "tone": "bad" if late else "person" if soon else "",
        "said": "late" if late else "soon" if soon else "due",
        "shape": "✕" if late else "▲" if soon else "",
    }


def _month(text: str) -> date | None:
    try:
        found = datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        return None
    return found if _FIRST <= found <= _LAST else None
