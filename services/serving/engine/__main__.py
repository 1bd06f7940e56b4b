"""``python -m services.serving.engine --base DIR --socket PATH``."""

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from services.telemetry import logs


def main() -> None:
    """Load the base, listen, and end when the parent does."""
    arguments = _arguments()
    # A trace could quote what was asked.
    logs.configure("lethe-engine", "info", None)
    if not arguments.stay:
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    from services.serving.engine.app import Engine, serve
    from services.serving.engine.worker import Limits, Worker

    loaded = _load(arguments.base, arguments.device, arguments.dtype)
    worker = Worker(loaded, Limits(max_rows=arguments.max_rows, max_waiting=arguments.max_waiting))
    worker.start()
    engine = Engine(loaded, worker)

    async def run() -> None:
        stopped = asyncio.Event()
        # The first process of a container gets no signal that it has not asked for.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        async with serve(engine.app(), arguments.socket):
            await stopped.wait()

    asyncio.run(run())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="services.serving.engine", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face directory of the base")
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--device", default=None, help="torch device; CUDA where there is one, else CPU")
    parser.add_argument("--dtype", default=None, choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--max-rows", type=int, default=16, help="answers generated at the same time")
    parser.add_argument("--max-waiting", type=int, default=64, help="answers waiting; beyond it 429")
    parser.add_argument("--stay", action="store_true", help="do not end with stdin (a sidecar has none)")
    return parser.parse_args()


def _load(base: Path, device: str | None, dtype: str | None) -> object:
    import torch

    from pipelines.model import load_model

    return load_model(base, device=device, dtype=None if dtype is None else getattr(torch, dtype))


def _end_with_stdin() -> None:
    """An engine whose gateway is gone must not keep the GPU: the pipe closes even after ``kill -9``."""
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    main()
