"""Ports for services that tests start: one that was free a moment ago must still be free seconds later."""

import itertools
import os
import socket

_LOWEST, _SPAN = 20_000, 4_000  # below the range that the kernel takes ports of outgoing connections from
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))  # workers side by side share none
_OFFERED = itertools.count(os.getpid() % _SPAN)


def free_port() -> int:
    """A TCP port of loopback on which nobody listens, offered once."""
    while True:
        port = _LOWEST + (_WORKER % 3) * _SPAN + next(_OFFERED) % _SPAN
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
