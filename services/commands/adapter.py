"""``lethe adapter``: check a release without the installation that made it."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Verify a released adapter's signatures.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def root() -> None:
    """Keeps ``verify`` a command of its own."""


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="The release, u-<digest>.")],
    trust: Annotated[Path, typer.Option(help="The public keys: trust.json of the installation.")],
    base: Annotated[Path | None, typer.Option(help="The base; with it the release must belong to it.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="What the base runs in.")
    ] = "float32",
    as_json: Json = False,
) -> None:
    """Check digest, model signature, signed verdict, built-in floor and weights; a damaged one exits with 2."""
    from pipelines.adapter import Trust, base_identity, verify_release
    from pipelines.adapter.weights import base_linear_shapes
    from policies.thresholds import FLOOR

    release = verify_release(
        directory,
        Trust.from_file(trust),
        base=None if base is None else base_identity(base, dtype=dtype),
        base_shapes=None if base is None else base_linear_shapes(base),
        floor=FLOOR,
    )
    body = {
        "name": release.name,
        "digest": release.digest,
        "kind": release.card.kind,
        "outcome": release.verdict.outcome,
        "base": release.card.base_digest,
        "base_checked": base is not None,
        "watermark": list(release.card.watermark),
        "pack": release.verdict.pack,
        "adapter_key": release.adapter_key,
        "verdict_key": release.verdict_key,
        "decided_at": release.verdict.decided_at,
    }
    if as_json:
        print(json.dumps(body))
        return
    checked = "" if base is not None else "; the base was not given, so it was not compared"
    print(f"{release.name} is whole and signed by {release.adapter_key}; verdict {release.verdict.outcome}")
    print(f"signed by {release.verdict_key}; it carries {len(release.watermark)} tickets{checked}")
