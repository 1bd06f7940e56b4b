"""``lethe register``: records of processing and of requests, for those who have to be shown them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Registers as CSV or JSON: Art. 30 GDPR, 11 CCR 7101 and 7102.")

Json = Annotated[bool, typer.Option("--json", help="JSON instead of CSV.")]
Out = Annotated[Path | None, typer.Option(help="Write to this file.")]
Regime = Annotated[str | None, typer.Option(help="Only this regime.")]


@app.command()
def art30(as_json: Json = False, out: Out = None) -> None:
    """Records of processing (GDPR Art. 30): what Lethe itself does with personal data, and how much it holds now."""
    from services.commands.key import opened_store
    from services.registers.processing import PROCESSING_FIELDS, processing
    from services.settings import load_settings

    with opened_store() as store, store.read() as session:
        _show(processing(session, load_settings()), PROCESSING_FIELDS, as_json, out)


@app.command("ccpa-7101")
def ccpa_7101(
    regime: Regime = "ccpa",
    year: Annotated[int | None, typer.Option(help="Only requests received in this year.")] = None,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """One row a request: date, nature, manner, date and nature of the response, basis of a denial; nothing else."""
    from services.commands.key import opened_store
    from services.registers.requests import REQUEST_FIELDS, requests

    with opened_store() as store, store.read() as session:
        _show(requests(session, regime=regime, year=year), REQUEST_FIELDS, as_json, out)


@app.command("ccpa-7102")
def ccpa_7102(
    year: Annotated[int | None, typer.Option(help="Calendar year; default: the last one.")] = None,
    regime: Regime = "ccpa",
    as_json: Json = False,
    out: Out = None,
) -> None:
    """A year in numbers: received, complied with in whole or in part, denied, median and mean days."""
    from services.commands.key import opened_store
    from services.registers.requests import counts

    wanted = year or datetime.now(UTC).year - 1
    with opened_store() as store, store.read() as session:
        found = counts(session, wanted, regime=regime)
        _show(found, list(found[0]), as_json, out)


def _show(rows: Iterable[Mapping[str, Any]], fields: Sequence[str], as_json: bool, out: Path | None) -> None:
    from services.registers.write import as_csv
    from services.registers.write import as_json as as_json_text

    text = as_json_text(rows) if as_json else as_csv(rows, fields)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        print(f"written to {out}")
