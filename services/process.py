"""What a BentoML worker process of ours does besides answering: one store, a start beside the event loop, an end."""

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterable

from services import telemetry
from services.installation import open_installation
from services.settings import Settings
from services.store.engine import Store

_LOG = logging.getLogger(__name__)
_CANNOT_START = 71
Stop = Callable[[], object]


class TheStore:
    """The store of this process, opened by whoever asks first.

    Args:
        settings: Of the installation.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: Store | None = None

    def __call__(self) -> Store:
        """The store; the same one for every caller.

        Raises:
            LetheError: As ``Installation.open_store``.
        """
        with self._lock:
            if self._store is None:
                self._store = open_installation(self._settings).open_store()
            return self._store


class Running:
    """What a service has started; ends it again, the last first.

    Args:
        name: Of the service: ``intake``.
        settings: Of the installation.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        # First: until then BentoML prints callers and paths in a log of its own.
        self._stops: list[Stop] = [telemetry.setup(f"lethe-{name}", settings).shutdown]
        self._ready = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether everything has started."""
        return self._ready.is_set()

    def begin(self, start: Callable[[], Iterable[Stop]]) -> None:
        """Start in a thread: BentoML makes a service inside a running event loop, where DBOS refuses to start.

        Args:
            start: Starts everything; gives what stops it, in the order of starting.
        """
        threading.Thread(target=self._begin, args=(start,), name=f"{self._name}-start", daemon=True).start()

    def _begin(self, start: Callable[[], Iterable[Stop]]) -> None:
        try:
            self._stops += start()
            gc.collect()
            gc.freeze()  # what is there now stays: looking through all of it again stops every answer for 0.2 s
            self._ready.set()
        except Exception as error:  # without it the process would answer /livez and never be ready
            details = "; ".join(getattr(error, "details", ()))
            code = getattr(error, "code", type(error).__name__)
            _LOG.error("the %s service cannot start: %s %s", self._name, code, details)
            os._exit(_CANNOT_START)

    def stop(self) -> None:
        """End everything; what is unfinished is resumed by whoever comes next."""
        for stop in reversed(self._stops):
            stop()
