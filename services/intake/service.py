"""The intake as a BentoML service: ``bentoml serve services.intake.service:Intake --host 127.0.0.1 --port 8700``.

BentoML imports this module in its supervisor and again in the worker; only the worker makes an ``Intake``. torch is
never imported here.
"""

from collections.abc import Iterable
from typing import Any

import bentoml

from services import lifeline, telemetry
from services.console.app import add_console
from services.console.door import ConsoleDoor
from services.control import Control
from services.control import start as start_control
from services.due import observe_due
from services.guard import Guard
from services.intake.app import create_app
from services.process import Running, Stop, TheStore
from services.rechecks.judge import OUTCOMES
from services.serving.figures import observe_fleet
from services.settings import load_settings
from services.web import credentials_of

lifeline.hold()  # at import: BentoML's own supervisor imports this module too, and must not outlive ours
settings = load_settings()
_control: list[Control] = []


def _tell(ticket_id: str, status: str) -> None:
    """An act on a ticket is committed: what it makes due is looked at now, not at the next tick."""
    for control in _control:
        control.wake()


the_store = TheStore(settings)
api = create_app(settings, open_store=the_store, on_change=_tell)
add_console(api, settings, open_store=the_store, on_change=_tell)


@bentoml.asgi_app(api, path="/")
@bentoml.service(
    name="lethe-intake",
    workers=1,  # state is per process: scale by replicas
    tracing=telemetry.BENTOML_TRACING,
    metrics=telemetry.NO_BENTOML_METRICS,
    traffic={"timeout": 600},  # above the longest answer: it also cuts mounted apps off
    http={"host": settings.intake.host, "port": settings.intake.port},
)
class Intake:
    """Tickets come in, are decided, and people act on them."""

    def __init__(self) -> None:
        self._running = Running("intake", settings)
        self._running.begin(self._start)

    def _start(self) -> Iterable[Stop]:
        control, stop = start_control(settings, the_store())
        observe_fleet(the_store())
        observe_due(the_store(), settings)
        telemetry.begin_counts("lethe.rechecks", OUTCOMES)
        _control.append(control)
        return [stop]

    async def __is_ready__(self) -> bool:
        """Ready once the store is open and everything has started."""
        return self._running.ready

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Ends what was started, the last first."""
        self._running.stop()


# In front of BentoML's own routes too: /metrics and /docs.json need a key, the liveness paths do not.
_service: Any = Intake
_service.add_asgi_middleware(telemetry.HttpMetrics)
_service.add_asgi_middleware(ConsoleDoor, routes=lambda: api.routes, open_store=the_store, settings=settings.console)
_service.add_asgi_middleware(
    Guard, routes=lambda: api.routes, open_store=the_store, credentials=lambda: credentials_of(api)
)
_service.add_asgi_middleware(telemetry.MetricsPage)
