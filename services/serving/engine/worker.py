"""The one thread that touches the model: steps the batches, and loads and deletes adapters between steps."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from services.serving.engine.batch import Batch, Row
from services.serving.protocol import RequestError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the engine takes on."""

    max_rows: int = 16
    max_waiting: int = 64


class Worker:
    """Serves rows of several adapters; each step belongs to one adapter's batch, in turn."""

    def __init__(self, loaded: Any, limits: Limits) -> None:
        self._loaded, self._limits = loaded, limits
        self._model: Any = loaded.model
        self._adapters: set[str] = set()
        self._active: str | None = None
        self._waiting: deque[tuple[str, Row]] = deque()
        self._batches: dict[str, Batch] = {}
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = threading.Condition()
        self._load = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, adapter: str, rows: Sequence[Row]) -> None:
        """Queue the rows of one request, all or none.

        Raises:
            RequestError: 429: too many are waiting.
        """
        with self._wake:
            if len(self._waiting) + len(rows) > max(self._limits.max_waiting, len(rows)):
                raise RequestError(429, "The engine is at its limit; try again soon.", "rate_limit_error")
            self._waiting.extend((adapter, row) for row in rows)
            self._wake.notify()

    def load(self, name: str, path: str) -> "Future[None]":
        """Load an adapter beside the others."""
        return self._command(lambda: self._load_adapter(name, path))

    def unload(self, name: str) -> "Future[None]":
        """Delete an adapter's weights; the caller has seen to it that no row uses it."""
        return self._command(lambda: self._delete_adapter(name))

    def _command(self, action: Callable[[], None]) -> "Future[None]":
        future: Future[None] = Future()

        def run() -> None:
            try:
                action()
                future.set_result(None)
            except Exception as error:
                future.set_exception(error)

        with self._wake:
            self._commands.put(run)
            self._wake.notify()
        return future

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while True:
                    self._turn()
        except BaseException as error:
            self.error = error  # /health answers 500 from now on, and the gateway restarts the process
            raise

    def _turn(self) -> None:
        with self._wake:
            while self._commands.empty() and not self._waiting and not self._batches:
                self._wake.wait()
        while not self._commands.empty():
            self._commands.get()()
        self._admit()
        for name in list(self._batches):
            self._guarded(name, self._batches[name].step)
            if name in self._batches and not self._batches[name].rows:
                del self._batches[name]

    def _admit(self) -> None:
        free = self._limits.max_rows - sum(len(batch.rows) for batch in self._batches.values())
        new: dict[str, list[Row]] = {}
        with self._wake:
            while self._waiting and free > 0:
                name, row = self._waiting.popleft()
                if not row.cancelled:
                    new.setdefault(name, []).append(row)
                    free -= 1
        for name, rows in new.items():
            batch = self._batches.setdefault(name, self._batch())
            self._guarded(name, partial(batch.join, rows), rows)

    def _batch(self) -> Batch:
        return Batch(self._model, self._loaded.stop_ids, self._loaded.pad_id, self._loaded.device)

    def _guarded(self, name: str, action: Callable[[], None], joining: Sequence[Row] = ()) -> None:
        """Run a step with the right adapter on; a failure ends the rows of that batch and nothing else."""
        concerned = [*self._batches[name].rows, *joining]
        try:
            self._activate(name)
            action()
        except Exception:
            _LOG.exception("a step failed")
            del self._batches[name]
            for row in concerned:
                row.fail()

    def _activate(self, name: str) -> None:
        if name not in self._adapters:
            raise KeyError(name)
        if self._active != name:
            self._model.set_adapter(name, inference_mode=True)
            self._active = name
        if list(self._model.active_adapters) != [name]:  # the base alone must never answer
            raise RuntimeError("another adapter is active")

    def _load_adapter(self, name: str, path: str) -> None:
        """Load beside the others; a load that fails leaves nothing of itself in the model."""
        from peft import PeftConfig, PeftModel

        self._active = None
        with torch.inference_mode(False):
            if not self._adapters:
                config = PeftConfig.from_pretrained(path)
                config.inference_mode = True
                self._model = PeftModel(self._loaded.model, config, name, autocast_adapter_dtype=False)
            self._adapters.add(name)
            try:
                device = str(self._loaded.device)
                self._model.load_adapter(path, name, autocast_adapter_dtype=False, torch_device=device)
            except Exception:
                self._delete_adapter(name)
                raise
        self._model.eval()

    def _delete_adapter(self, name: str) -> None:
        self._adapters.discard(name)
        self._active = None
        if not self._adapters:
            # PEFT cannot be without any adapter; taking the whole LoRA off leaves the bare base, which is never asked.
            self._model.unload()
            if hasattr(self._loaded.model, "peft_config"):
                del self._loaded.model.peft_config
            self._model = self._loaded.model
            return
        if name not in self._model.peft_config:  # its load failed before PEFT knew it
            return
        if name in self._model.active_adapters:
            self._model.set_adapter(next(iter(self._adapters)), inference_mode=True)
        self._model.delete_adapter(name)
