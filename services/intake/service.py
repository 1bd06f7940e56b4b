"""The intake as a BentoML service: ``bentoml serve services.intake.service:Intake --host 127.0.0.1 --port 8700``.

BentoML imports this module in its supervisor and again in the worker; only the worker makes an ``Intake``. torch is
never imported here.
"""

import logging
import os
import threading
from collections.abc import Callable

import bentoml

from services import lifeline, telemetry
from services.auth import Guard
from services.control import Control
from services.control import start as start_control
from services.installation import open_installation
from services.intake.app import create_app
from services.settings import load_settings
from services.store.engine import Store

_LOG = logging.getLogger(__name__)
lifeline.hold()  # at import: BentoML's own supervisor imports this module too, and must not outlive ours
settings = load_settings()
_control: list[Control] = []


def _tell(ticket_id: str, status: str) -> None:
    """An act on a ticket is committed: what it makes due is looked at now, not at the next tick."""
    for control in _control:
        control.wake()


_stores: list[Store] = []
_opening = threading.Lock()


def the_store() -> Store:
    """The worker's store, opened once."""
    with _opening:
        if not _stores:
            _stores.append(open_installation(settings).open_store())
        return _stores[0]


api = create_app(settings, open_store=the_store, on_change=_tell)


@bentoml.asgi_app(api, path="/")
@bentoml.service(
    name="lethe-intake",
    workers=1,  # state is per process: scale by replicas
    tracing=telemetry.BENTOML_TRACING,
    traffic={"timeout": 600},  # above the longest answer: it also cuts mounted apps off
    http={"host": settings.intake.host, "port": settings.intake.port},
)
class Intake:
    """Tickets come in, are decided, and people act on them."""

    def __init__(self) -> None:
        # First: until then BentoML prints callers and paths in a log of its own.
        self._stops: list[Callable[[], object]] = [telemetry.setup("lethe-intake", settings).shutdown]
        self._ready = threading.Event()
        # BentoML makes the service inside a running event loop, where durable jobs refuse to start: hence a thread.
        threading.Thread(target=self._start, name="intake-start", daemon=True).start()

    def _start(self) -> None:
        try:
            control, stop = start_control(settings, the_store())
            _control.append(control)
            self._stops.append(stop)
            self._ready.set()
        except Exception as error:  # without it the process would answer /livez and never be ready
            details = "; ".join(getattr(error, "details", ()))
            _LOG.error("the intake cannot start: %s %s", getattr(error, "code", type(error).__name__), details)
            os._exit(71)

    async def __is_ready__(self) -> bool:
        """Ready once the store is open and everything has started."""
        return self._ready.is_set()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Ends what was started, the last first."""
        for stop in reversed(self._stops):
            stop()


# In front of BentoML's own routes too: /metrics and /docs.json need a key, the liveness paths do not.
Intake.add_asgi_middleware(Guard, routes=lambda: api.routes, open_store=the_store)  # type: ignore[attr-defined]
