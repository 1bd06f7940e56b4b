"""What a figure was measured on, and what processes used of it (Linux)."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, Any]:
    """The machine in a few words, with its load: other work on it makes figures worse."""
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": model[0] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory[0] / 2**20) if memory else 0,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def in_words(machine: dict[str, Any]) -> str:
    """One line."""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, load {machine['load']} at the start"
    )


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that living processes have used, user and system, in steps of 10 ms."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Keep every thread of some processes on some cores; what they start later inherits it."""
    wanted = set(cores)
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            os.sched_setaffinity(int(task.name), wanted)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
