"""One runner at a time: the child that holds the base in memory for the length of a run."""

import os
import sys
import threading

from services.installation import Installation
from services.unlearning.protocol import RunnerClient


class Runners:
    """Hands out the child of a run; another run's child is ended first, because there is one GPU.

    Args:
        installation: Whose home the child opens.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lock = threading.Lock()
        self._held: tuple[str, RunnerClient] | None = None

    def of(self, run_id: str) -> RunnerClient:
        """The child of a run, started if there is none (a child that died was dropped by ``end``)."""
        with self._lock:
            if self._held is not None and self._held[0] != run_id:
                self._close()
            if self._held is None:
                self._held = (run_id, self._start())
            return self._held[1]

    def end(self) -> None:
        """End the child, if there is one; its memory is the GPU's."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._held is not None:
            client, self._held = self._held[1], None
            client.close()

    def _start(self) -> RunnerClient:
        settings = self._installation.settings
        environment = {**os.environ, "LETHE_HOME": str(settings.home), "OMP_WAIT_POLICY": "PASSIVE"}
        if settings.unlearning.threads:
            environment["OMP_NUM_THREADS"] = str(settings.unlearning.threads)
        argv = (sys.executable, "-m", "services.unlearning.runner")
        return RunnerClient(argv, self._installation.path("logs", "runner.log"), environment)
