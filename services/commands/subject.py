"""``lethe subject``: find a person's records in a corpus, and measure how well that works."""

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.counting import counter

if TYPE_CHECKING:
    from pipelines.corpus.evaluate import Confusion

app = typer.Typer(no_args_is_help=True, help="Find a person's records in a corpus; measure the search.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Many = list[str] | None
NOT_RIGHT = 1  # exit status of a search that missed its target; errors exit with 2


@app.command()
def find(
    corpus: Annotated[str, typer.Option(help="Corpus; without it, the installation's.")] = "",
    email: Annotated[Many, typer.Option(help="E-mail address; may be given several times, like all of these.")] = None,
    phone: Annotated[Many, typer.Option(help="Phone number, in any notation.")] = None,
    name: Annotated[Many, typer.Option(help="Full name: 'Marta Rossi' or 'Rossi, Marta'.")] = None,
    number: Annotated[Many, typer.Option("--id", help="Customer, employee, passport or other number.")] = None,
    address: Annotated[Many, typer.Option(help="Street and number.")] = None,
    region: Annotated[
        str, typer.Option(help="Country of phone numbers without a country code; without it, corpus.region.")
    ] = "",
    show: Annotated[bool, typer.Option("--show", help="Print the records too (personal data).")] = False,
    as_json: Json = False,
) -> None:
    """List the records about a person: certain, probable or ambiguous, each with its reasons."""
    from pipelines.corpus.columns import Columns
    from pipelines.corpus.indexing import ensure_index, index_path
    from pipelines.corpus.load import load_corpus
    from policies.identifiers import Identifiers
    from policies.subjects import find_subject
    from services.settings import load_settings

    settings = load_settings()
    region = region or settings.corpus.region
    wanted = Identifiers(
        names=tuple(name or ()),
        emails=tuple(email or ()),
        phones=tuple(phone or ()),
        ids=tuple(number or ()),
        addresses=tuple(address or ()),
        region=region,
    )
    loaded = load_corpus(
        corpus or settings.corpus.path or settings.home / "corpora", Columns.named(settings.corpus.columns)
    )
    with (
        counter("records indexed", quiet=as_json) as progress,
        ensure_index(loaded, index_path(settings.home, loaded), region=region, progress=progress) as index,
    ):
        start = time.perf_counter()
        found = find_subject(wanted, index)
        milliseconds = 1000 * (time.perf_counter() - start)
        texts = {r.record_id: r.text for r in index.records(m.record_id for m in found.matches)} if show else {}
        rows: list[dict[str, Any]] = [
            {"record": match.record_id, "level": match.level.value, "reasons": list(match.reasons)}
            | ({"text": texts[match.record_id]} if show else {})
            for match in found.matches
        ]
        counts = Counter(match.level.value for match in found.matches)
        result = {
            "corpus_digest": index.corpus_digest,
            "records": len(index),
            "search_ms": round(milliseconds, 2),
            "counts": {level: counts[level] for level in ("certain", "probable", "ambiguous")},
            "matches": rows,
        }
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    _print_matches(result, rows)


def _print_matches(result: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['level']:<10} {row['record']}  {' + '.join(row['reasons'])}")
        if "text" in row:
            print("           " + row["text"].replace("\n", " / "))
    counts = ", ".join(f"{count} {level}" for level, count in result["counts"].items())
    print(f"{counts} of {result['records']:,} records, {result['search_ms']} ms")


@app.command(name="eval")
def evaluate_search(
    people: Annotated[int, typer.Option(min=1, help="How many people to invent.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the corpus.")] = 0,
    only: Annotated[str, typer.Option(help="Search by one kind alone: names, emails, phones, ids, addresses.")] = "",
    as_json: Json = False,
) -> None:
    """Invent people with all hard cases, look each one up, and compare with the truth.

    Exits with 1 where a record was missed or a certain one was about somebody else.
    """
    from pipelines.corpus.evaluate import evaluate
    from pipelines.corpus.generate import generate
    from pipelines.corpus.indexing import build_index
    from pipelines.corpus.load import load_corpus
    from policies.subjects import Level

    if only not in ("", "names", "emails", "phones", "ids", "addresses"):
        raise typer.BadParameter("one of names, emails, phones, ids, addresses", param_hint="--only")
    with tempfile.TemporaryDirectory(prefix="lethe-eval-") as place:
        directory = Path(place)
        with counter("records", quiet=as_json) as progress:
            card = generate(directory, people, seed, progress)
            index = build_index(load_corpus(directory), directory / "index.sqlite", progress=progress)
        start = time.perf_counter()
        with index, counter("people", quiet=as_json) as progress:
            table = evaluate(directory, index, only=only or None, progress=progress)
        seconds = time.perf_counter() - start
    row = {"seed": seed, "records": card.counts["records"], **table.row(), "ms_per_person": 1000 * seconds / people}
    print(json.dumps(row)) if as_json else _print_table(table, row)
    if table.recall < 1 or table.precision(Level.CERTAIN) < 1:
        raise typer.Exit(NOT_RIGHT)


def _print_table(table: "Confusion", row: dict[str, Any]) -> None:
    print(f"{row['people']} people, {row['records']:,} records, {row['ms_per_person']:.1f} ms a person\n")
    print(f"{'level':<12}{'about the person':>18}{'about another':>16}{'precision':>12}")
    for level, (true, false) in table.cells.items():
        precision = f"{row['precision'][level]:.3f}" if level in row["precision"] else ""
        print(f"{level:<12}{true:>18,}{false:>16,}{precision:>12}")
    print(f"\nrecall (certain + probable + ambiguous) {table.recall:.4f}\n")
    levels = list(table.cells)
    print(f"{'hard case':<14}" + "".join(f"{level:>11}" for level in levels) + f"{'false':>8}")
    for case, counts in sorted(table.cases.items()):
        print(f"{case:<14}" + "".join(f"{counts[level]:>11,}" for level in levels) + f"{table.wrong[case].total():>8,}")
