"""No orphans: a process that ends itself when its parent or its supervisor is gone.

BentoML restarts a killed worker but leaves the worker of a killed `bentoml serve` answering; a thread that looks
at the parent's and the supervisor's pid twice a second closes that gap, also after `kill -9`.
"""

import os
import threading
import time
from pathlib import Path

SUPERVISOR_VARIABLE = "LETHE_SUPERVISOR"  # "<pid>:<start time>", set by `lethe up` for everything it starts
_PERIOD_S = 0.5


def start_time(pid: int) -> str | None:
    """The kernel's start time of a process in ticks since boot; None if there is no such process.

    A pid alone can be reused; together with its start time it is not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def identity(pid: int) -> str:
    """``"<pid>:<start time>"`` of a running process."""
    return f"{pid}:{start_time(pid)}"


def alive(process: str) -> bool:
    """Whether the process of an ``identity`` string still runs."""
    pid, _, started = process.partition(":")
    return start_time(int(pid)) == started


def hold() -> None:
    """Start watching, if this process was started by `lethe up`; otherwise do nothing."""
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if supervisor is None:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and alive(supervisor):
            time.sleep(_PERIOD_S)
        # A clean shutdown could wait for requests without limit; the jobs are durable, so leaving at once is safe.
        os._exit(70)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
