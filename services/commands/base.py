"""``lethe base``: train the example base, and measure what a base knows of a corpus."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from services.commands.training import quiet_threads, show_step

app = typer.Typer(no_args_is_help=True, help="Train the example base, and measure what a base knows.")

Corpus = Annotated[Path, typer.Option(help="Directory of a generated corpus (lethe corpus make).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def train(
    corpus: Corpus,
    out: Annotated[Path | None, typer.Option(help="Where bases lie; default: bases/ in LETHE_HOME.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the corpus.")] = None,
    hidden: Annotated[int | None, typer.Option(min=32, help="Width; a multiple of 32.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Depth.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a small model until it has memorised the corpus; the same corpus and recipe are trained once."""
    quiet_threads()
    from pipelines.base.settings import BaseSettings
    from pipelines.base.train import train_base

    chosen = {"epochs": epochs, "hidden": hidden, "layers": layers, "heads": hidden // 32 if hidden else None}
    settings = BaseSettings(seed=seed, **{name: value for name, value in chosen.items() if value is not None})
    card = train_base(corpus, out or _bases(), settings, None if as_json else show_step)
    if as_json:
        print(json.dumps(card.to_json()))
        return
    print(f"{'kept from before' if card.cached else f'trained in {card.seconds:.0f} s'}: {card.path}")
    print(f"right values: {card.combination:.3f} of unseen combinations, {card.frame:.3f} of frames never trained")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="Directory or hub name of a causal language model.")],
    as_json: Json = False,
) -> None:
    """Take a base into the installation: its directory, and release 0, which is what is served before any erasure."""
    quiet_threads()
    from pipelines.model import resolve
    from services import jobs
    from services.bases import begin_lineage, take_in
    from services.installation import create_installation
    from services.settings import load_settings

    installation = create_installation(load_settings(), also=jobs.migrate)
    directory = take_in(installation, resolve(source))
    store = installation.open_store()
    try:
        digest = begin_lineage(installation, store)
    finally:
        store.close()
    told = {"base": str(directory), "digest": digest}
    print(json.dumps(told) if as_json else f"taken in: {directory}; release 0 of {digest[:12]} is signed")


@app.command()
def begin(as_json: Json = False) -> None:
    """Sign release 0 of the base that the settings name, in an installation that is there; safe to repeat."""
    quiet_threads()
    from services.bases import begin_lineage
    from services.installation import open_installation
    from services.settings import load_settings

    installation = open_installation(load_settings())
    store = installation.open_store()
    try:
        digest = begin_lineage(installation, store)
    finally:
        store.close()
    print(json.dumps({"digest": digest}) if as_json else f"release 0 of {digest[:12]} is signed")


@app.command("eval")
def evaluate(
    base: Annotated[str, typer.Argument(help="Directory or hub name of a causal language model.")],
    corpus: Corpus,
    as_json: Json = False,
) -> None:
    """Ask a base the held-out questions of a corpus and count the right values."""
    quiet_threads()
    from pipelines.base.evaluate import known_shares
    from pipelines.corpus.load import load_probes
    from pipelines.model import load_model

    loaded = load_model(base)
    probes = load_probes(corpus)
    shares = known_shares(loaded, probes)
    if as_json:
        print(json.dumps({"base": base, "digest": loaded.digest, "probes": len(probes), "right": shares}))
        return
    for phrasing, share in shares.items():
        print(f"{phrasing:12} {share:.3f}")


def _bases() -> Path:
    return Path(os.environ.get("LETHE_HOME", ".lethe")) / "bases"
