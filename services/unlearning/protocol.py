"""The line protocol between the unlearning service and its runner, the child that alone imports torch.

One JSON object a line. To the child: ``{"id", "op", "args"}`` or ``{"op": "cancel"}``. From it, for an id:
any number of ``{"id", "event": "progress", "data"}``, then one ``{"id", "event": "result", "data"}`` or
``{"id", "event": "error", "code", "message", "details"}``. Only ids, digests, settings and figures travel.
The child ends itself when its input ends, so that no orphan keeps the GPU.
"""

import contextlib
import errno
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from policies.errors import ERRORS, LetheError

Progress = Callable[[Mapping[str, Any]], None]


class RunnerClient:
    """The parent's end: one child, one call at a time.

    Args:
        argv: Command line of the child.
        log: File that takes the child's stderr.
        environment: Its whole environment; None inherits ours.
    """

    def __init__(self, argv: tuple[str, ...], log: Path, environment: dict[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True
            )
        self._log = log
        self._calls = 0

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def call(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        progress: Progress = lambda _: None,
        should_cancel: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Run one operation to its end.

        Args:
            op: Name of the operation.
            args: JSON object; ids, digests and settings only.
            progress: Called with every progress event's data.
            should_cancel: Asked at every progress event; once true, the child is told to cancel.

        Raises:
            LetheError: What the child reported, or ``runner.died`` if it ended without an answer.
        """
        self._calls += 1
        self._send({"id": self._calls, "op": op, "args": dict(args)})
        cancelled = False
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message["event"] == "progress":
                progress(message["data"])
                if not cancelled and should_cancel():
                    cancelled = True
                    self._send({"op": "cancel"})
            elif message["event"] == "result":
                return dict(message["data"])
            else:
                code = message["code"] if message["code"] in ERRORS else "internal"
                raise LetheError(code, message["message"], tuple(message["details"]))
        raise LetheError("runner.died", f"the runner ended with status {self._process.wait()} during {op}")

    def close(self) -> None:
        """End the child by ending its input; kill it if it does not follow."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LetheError("runner.died", f"the runner ended with status {self._process.wait()}") from None


class Session:
    """The child's end of one call: report progress, look at the cancel flag."""

    def __init__(self, call_id: int, emit: Callable[[dict[str, Any]], None], cancelled: threading.Event) -> None:
        self._id = call_id
        self._emit = emit
        self._cancelled = cancelled

    def progress(self, data: Mapping[str, Any]) -> None:
        """Send a progress event."""
        self._emit({"id": self._id, "event": "progress", "data": dict(data)})

    def should_cancel(self) -> bool:
        """Whether the parent has asked to stop."""
        return self._cancelled.is_set()


Operation = Callable[[Session, dict[str, Any]], dict[str, Any]]


def serve(operations: Mapping[str, Operation], stdin: IO[str], stdout: IO[str]) -> None:
    """Answer calls until the input ends.

    The input is read in a thread of its own, so that a cancel is seen while an operation runs and the process
    ends at once when its parent is gone, whatever the operation is doing.
    """
    calls: queue.Queue[dict[str, Any]] = queue.Queue()
    cancelled = threading.Event()
    lock = threading.Lock()

    def read() -> None:
        for line in stdin:
            message = json.loads(line)
            if message["op"] == "cancel":
                cancelled.set()
            else:
                calls.put(message)
        os._exit(0)

    def emit(message: dict[str, Any]) -> None:
        with lock:
            stdout.write(json.dumps(message) + "\n")
            stdout.flush()

    threading.Thread(target=read, name="runner-input", daemon=True).start()
    while True:
        call = calls.get()
        cancelled.clear()
        emit(_answer(operations, call, Session(call["id"], emit, cancelled)))


def _answer(operations: Mapping[str, Operation], call: dict[str, Any], session: Session) -> dict[str, Any]:
    try:
        return {"id": call["id"], "event": "result", "data": operations[call["op"]](session, call["args"])}
    except LetheError as error:
        code, message, details = error.code, error.message, list(error.details)
    except OSError as error:
        code, details = ("storage.full" if error.errno == errno.ENOSPC else "internal"), []
        message = f"{type(error).__name__} errno {error.errno} in {call['op']}"
    except Exception as error:  # the message of a foreign exception may quote data: only its type and place leave
        frame = traceback.extract_tb(error.__traceback__)[-1]
        code, details = "internal", []
        message = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {call['op']}"
        print("".join(traceback.format_tb(error.__traceback__)), file=sys.stderr)  # noqa: T201 - frames, no values
    return {"id": call["id"], "event": "error", "code": code, "message": message, "details": details}
