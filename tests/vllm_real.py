"""A real vLLM for tests: its environment is made by `make vllm` when it is not there yet."""

import fcntl
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
KV_CACHE_BYTES = 64 << 20
EXTRA_ARGS = ("--max-num-seqs=16", "--enforce-eager", "--distributed-executor-backend=uni", "--disable-log-stats")
# One engine process instead of two: half the memory and a third of the start.
# It looks into every class of model once, for ten seconds, and remembers it in its cache.
LEAN = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CACHE_ROOT": str(ROOT / ".venv-vllm" / "cache"),
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def make_vllm_python() -> Path:
    """The Python that has vLLM; two test sessions at once make it once."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "vllm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["make", "-s", "vllm"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"make vllm failed: {done.stderr[-2000:]}"
    return ROOT / ".venv-vllm" / "bin" / "python"


def vllm_environment(python: Path) -> dict[str, str]:
    """The settings of a serving process whose engine is vLLM, as environment variables."""
    return {
        **LEAN,
        "LETHE_SERVING__ENGINE": "vllm",
        "LETHE_SERVING__VLLM__PYTHON": str(python),
        "LETHE_SERVING__VLLM__KV_CACHE_BYTES": str(KV_CACHE_BYTES),
        "LETHE_SERVING__VLLM__EXTRA_ARGS": json.dumps(EXTRA_ARGS),
    }


def group_members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgid) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found
