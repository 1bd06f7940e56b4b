"""Tasks worked off, here or in several processes: small models keep one core busy and hardly more, so two do two."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait as wait_for
from typing import NamedTuple, Protocol

from pipelines.bench.tasks import Task
from pipelines.bench.units import Finished
from policies.errors import LetheError


class Doing(Protocol):
    """Whoever does tasks; it travels to other processes."""

    @property
    def device(self) -> str:
        """Where it computes."""

    def do(self, task: Task) -> Finished:
        """Work out one task."""


Ready = Callable[[Task], Task | None]
Shown = Callable[[Sequence[Task]], None]
_AT_ONCE = 1.0  # seconds


class _Refusal(NamedTuple):
    code: str
    message: str
    details: tuple[str, ...]


def default_jobs(device: str) -> int:
    """A process for each core; one on a GPU."""
    return (os.cpu_count() or 1) if device == "cpu" else 1


def work_off(
    tasks: Sequence[Task], session: Doing, jobs: int, *, ready: Ready, shown: Shown | None = None
) -> Iterator[tuple[Task, Finished | None]]:
    """Each task with its result, as they come to an end; of those that may begin the earliest first.

    Args:
        tasks: All of them, each after those that it needs.
        session: Does them; with several processes each has a copy.
        jobs: Tasks at a time.
        ready: What is done for a task whose needs are there; None: nothing is to be done.
        shown: Told what runs, whenever that has changed.

    Raises:
        ValueError: A task waits for one that is not there.
    """
    waiting, there = list(tasks), set[str]()
    running: dict[Future[Finished | _Refusal], Task] = {}
    with _submitting(session, jobs) as submit:
        while waiting or running:
            able = [task for task in waiting if there.issuperset(task.needs)]
            if not able and not running:
                raise ValueError(f"{waiting[0].unit} waits for what nobody does")
            for task in able[: jobs - len(running)]:
                waiting.remove(task)
                given = ready(task)
                if given is None:
                    there.add(task.unit)
                    yield task, None
                    continue
                if jobs == 1 and shown:
                    shown([given])
                running[submit(given)] = given
            done = wait(running, _AT_ONCE, FIRST_COMPLETED).done
            if running and not done:  # what was kept is read faster than this, and needs no line of its own
                if shown:
                    shown(list(running.values()))
                done = wait(running, return_when=FIRST_COMPLETED).done
            for future in done:
                task = running.pop(future)
                there.add(task.unit)
                finished = future.result()
                if isinstance(finished, _Refusal):
                    raise LetheError(*finished)
                yield task, finished


@contextmanager
def _submitting(session: Doing, jobs: int) -> Iterator[Callable[[Task], "Future[Finished | _Refusal]"]]:
    if jobs == 1:
        with _one_thread(session.device):
            yield lambda task: _here(session, task)
        return
    before = set(active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(session,))
    try:
        yield lambda task: pool.submit(_do, task)
    except BaseException:
        # Nobody waits for what they are at: finished units lie on the disk.
        for child in set(active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _here(session: Doing, task: Task) -> "Future[Finished | _Refusal]":
    done: Future[Finished | _Refusal] = Future()
    done.set_result(session.do(task))
    return done


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """One core for each task, whatever the number of tasks: sums in another order would be other figures."""
    if device != "cpu":
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_mine: list[Doing] = []  # of a worker: its copy


def _begin(session: Doing) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _mine[:] = [session]


def _do(task: Task) -> Finished | _Refusal:
    """In a worker; an error with a code of its own has more to it than what a pickled exception keeps."""
    try:
        with _one_thread(_mine[0].device):
            return _mine[0].do(task)
    except LetheError as error:
        return _Refusal(error.code, error.message, error.details)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
