"""``python -m pipelines.follower``: a rank other than the first. It does what rank 0 tells it, and ends with it."""

import os
import sys
import threading
import traceback
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.ranks import Group

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

_FAILED = 70
_NOTHING: tuple[str, str, tuple[Any, ...], dict[str, Any]] = ("", "", (), {})


def follow(loaded: "LoadedModel", ranks: Group) -> None:
    """Do what rank 0 says, for ever."""
    from pipelines.shared import function_named

    within: list[tuple[AbstractContextManager[Any], LoadedModel]] = []
    while True:
        what, name, args, kwargs = ranks.first(_NOTHING)
        now = within[-1][1] if within else loaded
        if what == "enter":
            context = _context(now, name, args)
            within.append((context, context.__enter__()))
        elif what == "leave":
            within.pop()[0].__exit__(None, None, None)
        else:
            try:
                function_named(name)(now, *args, **kwargs)
            except Exception as error:
                if error is not ranks.agreed:
                    raise


def _context(loaded: "LoadedModel", name: str, args: tuple[Any, ...]) -> "AbstractContextManager[LoadedModel]":
    from pipelines.model import with_adapter

    return with_adapter(loaded, *args) if name == "with_adapter" else loaded.adapter_disabled()


def main(rendezvous: str, number: int, count: int, *, cuda: bool) -> None:
    """Join the others, load the base, follow."""
    threading.Thread(target=_end_with_rank_0, name="rank-input", daemon=True).start()
    import torch

    from pipelines.model import load_model

    ranks = Group(number, count, Path(rendezvous), cuda=cuda)
    hello = ranks.first(None)[number]  # type: ignore[index]
    torch.set_num_threads(hello.threads)
    if cuda:
        torch.cuda.set_device(hello.device)
    loaded = load_model(Path(hello.path), device=hello.device, dtype=hello.dtype)
    follow(replace(loaded, ranks=ranks), ranks)


def _end_with_rank_0() -> None:
    """Rank 0 holds the other end of the input: it closes when that process ends, however it ends."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), cuda="cuda" in sys.argv[4:])
    except Exception as error:  # the message of an exception may quote data: only its type and place are told
        frames = "".join(traceback.format_tb(error.__traceback__))
        print(f"{frames}{type(error).__name__}", file=sys.stderr)  # noqa: T201
        os._exit(_FAILED)
