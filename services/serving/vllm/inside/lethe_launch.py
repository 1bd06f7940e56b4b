"""``python -P lethe_launch.py MODULE ARGUMENTS``: runs a module so that it ends with whoever started it.

The module takes this process's place. A watcher beside it waits for the end of stdin, which comes even when the starter
is killed with ``kill -9``, and for the end of the module; either way it ends the whole process group, because vLLM's
EngineCore does not notice that its API server is gone and would keep the GPU.
"""

import os
import select
import signal
import sys
import time

_PERIOD_S = 0.2
_GRACE_S = 5.0


def main() -> None:
    """Start the watcher, then become the module."""
    os.umask(0o077)  # the socket is for this user alone
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    starter = os.getpid()
    if os.fork() == 0:
        watch(starter)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.execv(sys.executable, [sys.executable, "-P", "-m", *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def watch(leader: int) -> None:
    """Wait for the end of stdin or of the leader, then end its group; never returns."""
    os.setsid()  # out of the group that it is going to end
    while os.getppid() == leader:
        ready, _, _ = select.select([0], [], [], _PERIOD_S)
        if ready and not os.read(0, 4096):
            _end(leader, signal.SIGTERM)
            break
    deadline = time.monotonic() + _GRACE_S
    while os.getppid() == leader and time.monotonic() < deadline:
        time.sleep(_PERIOD_S / 4)
    _end(leader, signal.SIGKILL)
    os._exit(0)


def _end(group: int, how: signal.Signals) -> None:
    try:
        os.killpg(group, how)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
