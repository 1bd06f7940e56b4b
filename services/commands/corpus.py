"""``lethe corpus``: make an example corpus, and look at any."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from services.commands.counting import counter

app = typer.Typer(no_args_is_help=True, help="Make an example corpus of invented people; check any corpus.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def _area() -> None:
    """Keeps `lethe corpus make` a subcommand."""


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="Directory to write; made if it is not there.")],
    people: Annotated[int, typer.Option(min=1, help="How many people to invent; about 250 records each.")] = 12,
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus.")] = 0,
    phrasings: Annotated[int, typer.Option(min=1, max=12, help="Training questions a fact.")] = 8,
    as_json: Json = False,
) -> None:
    """Write a corpus of invented people, with probes held out of it and the truth about every record."""
    from pipelines.corpus.generate import generate

    start = time.perf_counter()
    with counter("records", quiet=as_json) as progress:
        card = generate(out, people, seed, progress, phrasings=phrasings)
    seconds = time.perf_counter() - start
    if as_json:
        print(json.dumps({"path": str(out), "seconds": round(seconds, 3), **asdict(card)}))
        return
    print(f"{out}: {card.counts['records']:,} records and {card.counts['probes']:,} probes about {people:,} people")
    print(f"digest {card.digest[:16]}, {seconds:.1f} s, {card.counts['records'] / seconds:,.0f} records/s")


@app.command()
def check(
    corpus: Annotated[str, typer.Argument(help="Directory, JSONL, JSON, CSV, Parquet, `datasets` or hub:owner/name.")],
    as_json: Json = False,
) -> None:
    """Read a whole corpus: its columns, its size and its digest, or the first fault with its line."""
    from pipelines.corpus.columns import Columns
    from pipelines.corpus.load import load_corpus
    from services.settings import load_settings

    loaded = load_corpus(corpus, Columns.named(load_settings().corpus.columns))
    columns = {name: column for name, column in asdict(loaded.columns).items() if column}
    if as_json:
        print(json.dumps({"path": corpus, "records": len(loaded), "digest": loaded.digest, "columns": columns}))
        return
    print(f"{corpus}: {len(loaded):,} records, digest {loaded.digest[:16]}")
    print("columns: " + ", ".join(f"{name} = {column}" for name, column in columns.items()))
