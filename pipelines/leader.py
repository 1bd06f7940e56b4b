"""Rank 0: starts the other ranks when they are first needed, tells them what to do, and ends them."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from pipelines.ranks import Group, Ranks, Share
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

_T = TypeVar("_T")
_G = TypeVar("_G")
_GRACE_S = 10.0
_LOST = 74  # exit status of rank 0 when it waits for a rank that is gone


@dataclass(frozen=True)
class Hello:
    """What a rank is told first.

    Attributes:
        path: Of the base.
        device: Where this rank computes.
        dtype: Of the weights.
        threads: CPU threads; each rank has its part of rank 0's.
    """

    path: str
    device: str
    dtype: torch.dtype
    threads: int


def led(loaded: "LoadedModel", processes: int) -> "LoadedModel":
    """The model, held by so many processes of this host together; this one is rank 0, the others start when needed.

    Raises:
        LetheError: ``unlearn.too_many_processes``: there are fewer GPUs.
    """
    if processes == 1:
        return loaded
    if loaded.device.type == "cuda" and processes > torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise LetheError(
            "unlearn.too_many_processes", f"The settings want {processes} processes, and there are {there} GPUs."
        )
    return replace(loaded, ranks=Leader(loaded, processes))


class Leader(Ranks):
    """Rank 0 of several.

    Args:
        loaded: The base; every other rank loads it too.
        count: Processes in all.
    """

    def __init__(self, loaded: "LoadedModel", count: int) -> None:
        self.count = count
        self._loaded = loaded
        self._threads = max(1, torch.get_num_threads() // count)
        self._others: list[subprocess.Popen[bytes]] = []
        self._group: Group | None = None
        self._lost = False
        self._contexts: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def pids(self) -> list[int]:
        """The other ranks' process ids."""
        return [process.pid for process in self._others]

    def split(self, items: Sequence[_T]) -> tuple[list[_T], Share]:
        """As ``Group``."""
        return self._started().split(items)

    def deal(
        self, groups: Sequence[_G], work: Callable[[_G], _T], told: Callable[[int], None] = lambda _: None
    ) -> list[_T]:
        """As ``Group``."""
        return self._started().deal(groups, work, told)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """As ``Group``."""
        self._started().add(tensors)

    def totals(self, figures: Mapping[str, float]) -> dict[str, float]:
        """As ``Group``."""
        return self._started().totals(figures)

    def first(self, value: _T) -> _T:
        """As ``Group``."""
        return self._started().first(value)

    def equal(self, tensors: Sequence[Tensor]) -> None:
        """As ``Group``."""
        self._started().equal(tensors)

    def tell(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Send a call."""
        self._started().first(("call", name, args, kwargs))

    def entering(self, name: str, *args: Any) -> AbstractContextManager[None]:
        """Send a context and its end, to ranks that are there or come while it lasts."""
        return self._entering(name, args)

    def failed(self, error: BaseException) -> None:
        """End the other ranks, unless all have raised it: whoever is within the call would wait for ever.

        Raises:
            LetheError: ``runner.died``: another rank died, and what was raised here came of it.
        """
        if self._group is not None and error is self._group.agreed:
            return
        if self._end() and not isinstance(error, LetheError):
            self._lost = True
            raise LetheError("runner.died", "Another process of the run has ended.") from error

    def end(self) -> None:
        """End the other ranks; the next call starts new ones."""
        self._end()

    @contextmanager
    def _entering(self, name: str, args: tuple[Any, ...]) -> Iterator[None]:
        self._contexts.append((name, args))
        if self._group is not None:
            self._group.first(("enter", name, args, {}))
        try:
            yield
        finally:
            self._contexts.pop()
            if self._group is not None:
                self._group.first(("leave", "", (), {}))

    def _started(self) -> Group:
        if self._lost:
            raise LetheError("runner.died", "Another process of the run has ended.")
        if self._group is None:
            self._group = self._start()
        return self._group

    def _start(self) -> Group:
        loaded = self._loaded
        cuda = loaded.device.type == "cuda"
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
        os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
        place = Path(tempfile.mkdtemp(prefix="lethe-ranks-"))
        try:
            for number in range(1, self.count):
                argv = [sys.executable, "-m", "pipelines.follower", str(place / "meet"), str(number), str(self.count)]
                argv += ["cuda"] * cuda
                self._others.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=2, env=environment))
            self._watch(list(self._others))
            group = Group(0, self.count, place / "meet", cuda=cuda)
            group.first([self._hello(number) for number in range(self.count)])
            for name, args in self._contexts:
                group.first(("enter", name, args, {}))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if not cuda:
            torch.set_num_threads(self._threads)
        return group

    def _hello(self, number: int) -> Hello:
        loaded = self._loaded
        device = f"cuda:{number}" if loaded.device.type == "cuda" else loaded.device.type
        return Hello(path=str(loaded.path), device=device, dtype=loaded.dtype, threads=self._threads)

    def _watch(self, others: "list[subprocess.Popen[bytes]]") -> None:
        """A collective operation between GPUs waits for ever for a rank that died: then this process ends too."""

        def watch(process: "subprocess.Popen[bytes]") -> None:
            process.wait()
            time.sleep(_GRACE_S)  # between CPUs the operation fails, and the run hears why
            if process in self._others:
                os._exit(_LOST)

        for process in others:
            threading.Thread(target=watch, args=(process,), name="rank-watch", daemon=True).start()

    def _end(self) -> bool:
        """End the other ranks; whether one of them had ended before."""
        others, self._others = self._others, []
        group, self._group = self._group, None
        for process in others:  # one that breaks the connection is about to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        lost = any(process.poll() is not None for process in others)
        for process in others:
            assert process.stdin is not None
            process.stdin.close()
        for process in others:
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if group is not None:
            group.leave()
        return lost
