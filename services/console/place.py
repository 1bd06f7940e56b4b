"""What every page of the console works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from services.auth import Identity
from services.console import render
from services.console.door import FORM, HELD
from services.console.sessions import Held
from services.intake.acting import Changed
from services.intake.desk import Desk
from services.settings import Settings
from services.store.engine import Store


@dataclass(frozen=True, slots=True)
class Console:
    """The installation behind the pages.

    Attributes:
        settings: Of the installation.
        store: Opened with keys, from the first request on.
        desk: The acts on tickets: the very ones of the API.
        on_change: Told (id, status) after an order was given.
        clock: The present moment.
    """

    settings: Settings
    store: Callable[[], Store]
    desk: Callable[[], Desk]
    on_change: Changed | None
    clock: Callable[[], datetime]

    @property
    def zone(self) -> str:
        """The controller's time zone."""
        return self.settings.policy.zone or "UTC"

    def page(
        self, request: Request, template: str, values: Mapping[str, Any], *, here: str = "", status: int = 200
    ) -> HTMLResponse:
        """A page for whoever asks; ``here`` is the entry of the menu that it belongs to."""
        shared = {"here": here, "now": self.clock()}
        return render.page(template, held_by(request), {**shared, **values}, zone=self.zone, status=status)


def held_by(request: Request) -> Held | None:
    """The session of whoever asks; None on the log-in page."""
    found = request.scope.get(HELD)
    return found if isinstance(found, Held) else None


def who(request: Request) -> Identity:
    """Who asks; behind the door."""
    held = held_by(request)
    assert held is not None
    return held.identity


def field(request: Request, name: str) -> str:
    """A field of the form that was sent, without blanks at its ends; "" where there is none."""
    return (fields(request, name) or [""])[0].strip()


def fields(request: Request, name: str) -> list[str]:
    """All values of a field of the form that was sent."""
    found: list[str] = request.scope.get(FORM, {}).get(name, [])
    return found
