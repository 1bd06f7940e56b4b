"""The unlearning service: takes runs from the queue, one at a time, from augmentation to release.

``bentoml serve services.unlearning.service:Unlearning``. The job is DBOS's, and training runs in a child of its own;
BentoML gives the process its port, health and metrics. torch is never imported here.
"""

import logging
import os
import threading
from collections.abc import Callable

import bentoml

from services import jobs, lifeline, telemetry
from services import run as way
from services.auth import Guard
from services.installation import Installation, open_installation
from services.settings import load_settings
from services.store.engine import Store
from services.unlearning.app import create_app
from services.unlearning.runners import Runners

_LOG = logging.getLogger(__name__)
lifeline.hold()  # at import: BentoML's own supervisor imports this module too, and must not outlive ours
settings = load_settings()
_stores: list[Store] = []
_opening = threading.Lock()
_workshop: list[way.Workshop] = []


def the_store() -> Store:
    """The worker's store, opened once."""
    with _opening:
        if not _stores:
            _stores.append(open_installation(settings).open_store())
        return _stores[0]


@jobs.workflow("run")
def run(run_id: str) -> str:
    """One run, from augmentation to release."""
    return way.carry_out(_workshop[-1], run_id)


api = create_app(open_store=the_store)


@bentoml.asgi_app(api, path="/")
@bentoml.service(
    name="lethe-unlearning",
    workers=1,  # one GPU, one run at a time
    tracing=telemetry.BENTOML_TRACING,
    traffic={"timeout": 600},
    http={"host": settings.unlearning.host, "port": settings.unlearning.port},
)
class Unlearning:
    """Runs that make a base forget."""

    def __init__(self) -> None:
        # First: until then BentoML prints callers and paths in a log of its own.
        self._stops: list[Callable[[], object]] = [telemetry.setup("lethe-unlearning", settings).shutdown]
        self._ready = threading.Event()
        threading.Thread(target=self._start, name="unlearning-start", daemon=True).start()

    def _start(self) -> None:
        """In a thread: BentoML makes the service inside a running event loop, where DBOS refuses to start."""
        try:
            store = the_store()
            installation = Installation(settings)
            runners = Runners(installation)
            _workshop.append(way.Workshop(installation, store, runners))
            worker = jobs.launch(settings, "unlearning", store)
            self._stops += [runners.end, worker.stop]
            self._ready.set()
        except Exception as error:  # without it the process would answer /livez and never be ready
            details = "; ".join(getattr(error, "details", ()))
            _LOG.error("the unlearning cannot start: %s %s", getattr(error, "code", type(error).__name__), details)
            os._exit(71)

    async def __is_ready__(self) -> bool:
        """Ready once it takes jobs."""
        return self._ready.is_set()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Let go of jobs and the runner; what is unfinished is resumed by whoever comes next."""
        for stop in reversed(self._stops):
            stop()


Unlearning.add_asgi_middleware(Guard, routes=lambda: api.routes, open_store=the_store)  # type: ignore[attr-defined]
