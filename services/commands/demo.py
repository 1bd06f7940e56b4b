"""`lethe demo`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=6, help="Invented people in the corpus.")] = 12,
    erase: Annotated[int, typer.Option(min=1, help="Tickets, one after another.")] = 1,
    seed: Annotated[int, typer.Option(help="Of people, base and training.")] = 0,
    method: Annotated[
        str | None, typer.Option(help="Any of docs/unlearning.md (relearn, ga …); without it, the default.")
    ] = None,
    home: Annotated[Path, typer.Option(help="Where everything is kept for the next demo.")] = Path(".lethe/demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again from release 0.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the story.")] = False,
) -> None:
    """Erase invented people from a small model, end to end, and show every step.

    Exits with 1 if a ticket did not end with a verified adapter that is live.
    """
    import os
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave through the supervisor, which stops the services
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from services.demo import DemoOptions, Narrator, run_demo
    from services.settings import DEFAULT_METHOD

    live = sys.stderr.isatty()

    def say(text: str) -> None:
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    def show_progress(text: str) -> None:
        if live:
            print(f"\r\033[K  … {text}", end="", file=sys.stderr, flush=True)

    options = DemoOptions(
        home=home.absolute(), people=people, erase=erase, seed=seed, method=method or DEFAULT_METHOD, fresh=fresh
    )
    result = run_demo(options, Narrator(say, show_progress))
    if as_json:
        print(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)
