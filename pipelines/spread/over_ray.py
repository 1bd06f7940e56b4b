"""The port on a Ray cluster, by Ray Data."""

import logging
import os
import pickle
import secrets
import shutil
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from policies.errors import LetheError

_P = TypeVar("_P")
_R = TypeVar("_R")
LOCAL = "local"
_ANSWER_S = 10.0
# Ray reads them when it is imported.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@contextmanager
def over_ray(address: str, *, cpus: int | None = None) -> Iterator["OverRay"]:
    """A cluster, left again afterwards; one that was started here is ended.

    Args:
        address: ``local`` starts one on this host, on loopback; else that of a cluster that is there.
        cpus: Of a local one; by default all.

    Raises:
        LetheError: ``ray.not_installed``, ``ray.unavailable``.
    """
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # by its name no one would guess it: loopback, not eth0
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in the home directory
    ray = _imported()
    _look_for(address)
    place = Path(tempfile.mkdtemp(prefix="lethe-ray-")) if address == LOCAL else None
    try:
        try:
            options = _local(place, cpus) if place else {}
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:  # Ray raises a plain one where a node does not come up in half a minute
            raise LetheError("ray.unavailable", f"There is no Ray cluster ({type(error).__name__}).") from error
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        yield OverRay(ray)
    finally:
        ray.shutdown()
        if place:
            shutil.rmtree(place, ignore_errors=True)


class OverRay:
    """A cluster that is connected.

    Args:
        ray: The module.
    """

    elsewhere = True

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def over(self, parts: Iterable[_P], work: Callable[[_P], _R]) -> Iterator[_R]:
        """As the port has it; Ray Data keeps as many results waiting as fit its memory."""
        rows = [{"part": pickle.dumps(part)} for part in parts]
        if not rows:
            return
        data = self._ray.data.from_items(rows, override_num_blocks=len(rows)).map(_Guarded(work))
        for row in data.iter_rows():
            found = pickle.loads(row["found"])  # noqa: S301 - from our own function
            if isinstance(found, LetheError):
                raise found
            yield found


class _Guarded:
    """The work on one row of Ray Data; what it raises comes back as a value, in our own words."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        found: Any
        try:
            found = self._work(pickle.loads(row["part"]))  # noqa: S301 - from our own process
        except LetheError as error:
            found = error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            found = LetheError("internal", f"{type(error).__name__} at {place} on the cluster")
        return {"found": pickle.dumps(found)}


def _imported() -> Any:
    os.environ.update(_ENVIRONMENT)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise LetheError("ray.not_installed", "The settings name a Ray cluster, and Ray is not installed.") from error
    return ray


def _look_for(address: str) -> None:
    """Ray itself goes on trying for many minutes where nobody answers."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise LetheError("ray.unavailable", f"Nobody answers at ray.address ({type(error).__name__}).") from error


def _local(place: Path, cpus: int | None) -> dict[str, Any]:
    """Loopback, no dashboard, and a directory of its own: what spills to disk is deleted with it."""
    return {
        "num_cpus": cpus or os.cpu_count(),
        "include_dashboard": False,
        "_temp_dir": str(place),
    }
