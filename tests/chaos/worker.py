"""One worker process for chaos tests: ``python -m tests.chaos.worker ROLE [VERSION]``; prints READY once it works.

The control loop, the jobs, the way of a run and all that they call are the real ones; only the run's child is that of
``tests.chaos.runner``. Around every step, and in the middle of each, the process can be made to wait (``stalls``).
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from services import control, jobs
from services import run as way
from services.installation import Installation
from services.jobs import queue, worker
from services.settings import load_settings
from services.unlearning.protocol import RunnerClient
from services.unlearning.runners import Runners
from tests.chaos.stalls import stall

# In the middle of a step that needs no child: the module, and the name in it that the step calls half way.
HALF_WAY = {
    "begin": ("services.run", "transition_run"),  # inside the transaction
    "look_up": ("services.ticket", "build_forget_set"),
    "swap": ("services.serving.swap", "record_statement"),  # committed, not yet confirmed
    "probe": ("services.after_swap", "ask_all"),
    "close": ("services.publication", "report_ticket"),
}
settings = load_settings()


class ChaosRunners(Runners):
    def _start(self) -> RunnerClient:
        argv = (sys.executable, "-m", "tests.chaos.runner")
        return RunnerClient(argv, self._installation.path("logs", "runner.log"), dict(os.environ))


def stalling(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def waits_first(*args: Any, **kwargs: Any) -> Any:
        stall(settings.home, point)
        return function(*args, **kwargs)

    return waits_first


def make_it_wait() -> None:
    """Before each step, after it and before that is recorded, after it is recorded; and half way."""
    step = jobs.step

    def stalling_step(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def work() -> Any:
            found = function(*args, **kwargs)
            stall(settings.home, f"done-{name}")
            return found

        stall(settings.home, f"before-{name}")
        found = step(name, work)
        stall(settings.home, f"recorded-{name}")
        return found

    jobs.step = stalling_step
    for name, (module, attribute) in HALF_WAY.items():
        place = importlib.import_module(module)
        setattr(place, attribute, stalling(f"inside-{name}", getattr(place, attribute)))


def serve_intake() -> None:
    control.start(settings, Installation(settings).open_store())


def serve_unlearning() -> None:
    installation = Installation(settings)
    store = installation.open_store()
    shop = way.Workshop(installation, store, ChaosRunners(installation))

    @jobs.workflow("run")
    def run(run_id: str) -> str:
        return way.carry_out(shop, run_id)

    jobs.launch(settings, "unlearning", store)


def main(role: str, version: str = queue.VERSION) -> None:
    for module in (queue, worker):
        vars(module)["VERSION"] = version  # as a release with another order of steps would
    make_it_wait()
    serve_intake() if role == "intake" else serve_unlearning()
    print("READY", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
