"""The unlearning service: takes runs from the queue, one at a time, from augmentation to release.

``bentoml serve services.unlearning.service:Unlearning``. The job is DBOS's, and training runs in a child of its own;
BentoML gives the process its port, health and metrics. torch is never imported here.
"""

from collections.abc import Iterable
from typing import Any

import bentoml

from pipelines.gates.gate import NAMES
from services import jobs, lifeline, telemetry
from services import run as way
from services.guard import Guard
from services.installation import Installation
from services.process import Running, Stop, TheStore
from services.settings import load_settings
from services.unlearning.app import create_app
from services.unlearning.runners import Runners

lifeline.hold()  # at import: BentoML's own supervisor imports this module too, and must not outlive ours
settings = load_settings()
the_store = TheStore(settings)
_workshop: list[way.Workshop] = []


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
    metrics=telemetry.NO_BENTOML_METRICS,
    traffic={"timeout": 600},
    http={"host": settings.unlearning.host, "port": settings.unlearning.port},
)
class Unlearning:
    """Runs that make a base forget."""

    def __init__(self) -> None:
        self._running = Running("unlearning", settings)
        self._running.begin(self._start)

    def _start(self) -> Iterable[Stop]:
        store = the_store()
        installation = Installation(settings)
        telemetry.begin_counts("lethe.gate.rejections", NAMES)
        runners = Runners(installation)
        _workshop.append(way.Workshop(installation, store, runners))
        worker = jobs.launch(settings, "unlearning", store)
        return [runners.end, worker.stop]

    async def __is_ready__(self) -> bool:
        """Ready once it takes jobs."""
        return self._running.ready

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Let go of jobs and the runner; what is unfinished is resumed by whoever comes next."""
        self._running.stop()


_service: Any = Unlearning
_service.add_asgi_middleware(telemetry.HttpMetrics)
_service.add_asgi_middleware(Guard, routes=lambda: api.routes, open_store=the_store)
_service.add_asgi_middleware(telemetry.MetricsPage)
