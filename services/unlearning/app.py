"""The unlearning service's own routes: runs, their progress, and a cancel."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from services import telemetry
from services.auth import requires
from services.intake.views import RunView, run_view
from services.store.engine import Store
from services.store.runs import get_run, list_runs, request_cancel
from services.store.steps import steps_of
from services.web import protect

_MAX_BODY_BYTES = 64 * 1024


def create_app(*, open_store: Callable[[], Store]) -> FastAPI:
    """The app; every route declares its scope."""
    app = FastAPI(
        title="Lethe unlearning",
        version="1",
        description="Runs: from augmentation to release.",
        telemetry=telemetry.NO_FASTAPI_TELEMETRY,
    )

    @app.get("/v1/runs", tags=["runs"])
    @requires("ops:read")
    def runs() -> list[RunView]:
        """Every run, in the order of planning."""
        with open_store().read() as session:
            return [run_view(run) for run in list_runs(session)]

    @app.get("/v1/runs/{run_id}", tags=["runs"])
    @requires("ops:read")
    def run(run_id: str) -> dict[str, Any]:
        """One run with its steps: when they began and ended, and what they found."""
        with open_store().read() as session:
            view = run_view(get_run(session, run_id)).model_dump(mode="json")
            steps = {
                name: {
                    "attempt": step.attempt,
                    "started_at": step.started_at.isoformat(),
                    "ended_at": step.ended_at.isoformat() if step.ended_at else None,
                    "result": step.result,
                }
                for name, step in steps_of(session, run_id).items()
            }
            return {**view, "steps": steps}

    @app.post("/v1/runs/{run_id}/cancel", status_code=202, tags=["runs"])
    @requires("ops:run")
    def cancel(run_id: str) -> RunView:
        """Ask the worker to stop; its tickets become ready for the next run."""
        with open_store().write() as session:
            request_cancel(session, run_id)
            return run_view(get_run(session, run_id))

    protect(app, open_store=open_store, max_body_bytes=_MAX_BODY_BYTES)
    return app
