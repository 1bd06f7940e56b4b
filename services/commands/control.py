"""``lethe control``: train the base again without a subject, or take in a model that was."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.training import quiet_threads, show_step

if TYPE_CHECKING:
    from pipelines.control.card import ControlCard
    from services.installation import Installation
    from services.settings import Settings
    from services.store.engine import Store

app = typer.Typer(no_args_is_help=True, help="Train the base again without a subject, to compare with.")

Tickets = Annotated[list[str] | None, typer.Option("--ticket", help="Without what this ticket forgets; repeatable.")]
Corpus = Annotated[str, typer.Option(help="The base's corpus; without it, the installation's.")]
Person = Annotated[
    int | None, typer.Option(min=0, help="Without the private records of this person of a generated corpus (0, 1 …).")
]
Without = Annotated[Path | None, typer.Option(help="Without these records: a file with one id a line.")]
Base = Annotated[Path | None, typer.Option(help="The base; without it, the installation's.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def train(
    ticket: Tickets = None,
    corpus: Corpus = "",
    person: Person = None,
    without: Without = None,
    base: Base = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and order; without it, the base's own.")] = None,
    changed_corpus: Annotated[
        bool, typer.Option("--changed-corpus", help="The corpus has changed since the base was trained.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a control by the base's own recipe; the same records, base and seed are trained once."""
    quiet_threads()
    from pipelines.control.train import train_control
    from pipelines.corpus.columns import Columns
    from pipelines.corpus.load import load_corpus
    from services.controls import controls_root, digest_key, probes_of, train_for_tickets
    from services.serving.base import base_directory
    from services.settings import load_settings

    settings = load_settings()
    choice = _Choice(tuple(ticket or ()), corpus, person, without)
    how: Any = {"seed": seed, "changed_corpus": changed_corpus, "report": None if as_json else show_step}
    if choice.tickets:
        with _opened(settings) as (installation, store):
            card = train_for_tickets(installation, store, choice.tickets, base or base_directory(settings), **how)
    else:
        place = _corpus(settings, corpus)
        ids = _named_records(settings, choice)
        card = train_control(
            base or base_directory(settings),
            load_corpus(place, Columns.named(settings.corpus.columns)),
            ids,
            controls_root(settings),
            key=digest_key(settings),
            probes=probes_of(Path(place)),
            **how,
        )
    _tell(card, as_json, "kept from before" if card.cached else f"trained in {card.seconds:.0f} s")


@app.command()
def add(
    directory: Annotated[Path, typer.Argument(help="A model that was trained without the records.")],
    ticket: Tickets = None,
    corpus: Corpus = "",
    person: Person = None,
    without: Without = None,
    base: Base = None,
    as_json: Json = False,
) -> None:
    """Take in a control that was trained elsewhere: checked are its tokens, never what it saw."""
    quiet_threads()
    from pipelines.control.add import add_control
    from services.controls import controls_root, digest_key, left_out
    from services.serving.base import base_directory
    from services.settings import load_settings

    settings = load_settings()
    choice = _Choice(tuple(ticket or ()), corpus, person, without)
    if choice.tickets:
        with _opened(settings) as (installation, store):
            ids = left_out(installation, store, choice.tickets)
    else:
        ids = _named_records(settings, choice)
    card = add_control(
        directory, base or base_directory(settings), ids, controls_root(settings), key=digest_key(settings)
    )
    _tell(card, as_json, "was there before" if card.cached else "taken in")


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Every control of this home."""
    from pipelines.control.card import list_controls
    from services.controls import controls_root
    from services.settings import load_settings

    cards = list_controls(controls_root(load_settings()))
    if as_json:
        print(json.dumps({"controls": [_body(card) for card in cards]}))
        return
    print("\n".join(_line(card) for card in cards) or "no controls")


@app.command()
def show(name: Annotated[str, typer.Argument(help="As `lethe control list` shows it.")], as_json: Json = False) -> None:
    """Everything that is known about one control; it names no record and no person."""
    from pipelines.control.card import read_control
    from policies.errors import LetheError
    from services.controls import controls_root
    from services.settings import load_settings

    root = controls_root(load_settings())
    if not name.isalnum():
        raise LetheError("control.not_found", "There is no control of this name.")
    card = read_control(root / name)
    if as_json:
        print(json.dumps(_body(card)))
        return
    for field, value in _body(card).items():
        print(f"{field:16} {value}")


@dataclass(frozen=True)
class _Choice:
    """Which records are left out, as the command line says it: exactly one way."""

    tickets: tuple[str, ...]
    corpus: str
    person: int | None
    without: Path | None

    def __post_init__(self) -> None:
        given = [bool(self.tickets), self.person is not None, self.without is not None]
        if sum(given) != 1:
            raise typer.BadParameter("give one of --ticket, --person and --without")
        if self.tickets and self.corpus:
            raise typer.BadParameter("--ticket takes no --corpus")


def _corpus(settings: "Settings", given: str) -> str:
    from policies.errors import LetheError

    place = given or settings.corpus.path
    if not place:
        raise LetheError("corpus.not_set", "The settings name no corpus.")
    return place


def _named_records(settings: "Settings", choice: _Choice) -> frozenset[str]:
    from services.controls import read_ids

    if choice.without is not None:
        return read_ids(choice.without)
    from pipelines.corpus.truth import private_records

    return private_records(Path(_corpus(settings, choice.corpus)), choice.person or 0)


@contextmanager
def _opened(settings: "Settings") -> Iterator[tuple["Installation", "Store"]]:
    from services.installation import open_installation

    installation = open_installation(settings)
    store = installation.open_store()
    try:
        yield installation, store
    finally:
        store.close()


def _body(card: "ControlCard") -> dict[str, Any]:
    return {"name": card.name, **card.to_json()}


def _line(card: "ControlCard") -> str:
    seed = "" if card.seed is None else f"  seed {card.seed}"
    return f"{card.name}  base {card.base_digest[:12]}  {card.source}  {card.records_left_out} records left out{seed}"


def _tell(card: "ControlCard", as_json: bool, how: str) -> None:
    if as_json:
        print(json.dumps(_body(card)))
        return
    print(f"{how}: {card.path}")
    print(f"{card.records_left_out} records left out" + ("" if card.records is None else f" of {_of(card)}"))
    if card.rest_right:
        rest = " and ".join(f"{share:.3f} ({phrasing})" for phrasing, share in card.rest_right.items())
        gone = " and ".join(f"{share:.3f} ({phrasing})" for phrasing, share in card.left_out_right.items())
        print(f"right values: {rest} about everybody else, {gone or 'not asked'} of what was left out")
    if card.same_corpus is False:
        print("the corpus is not the one that the base was trained on: reports say so")


def _of(card: "ControlCard") -> int:
    return (card.records or 0) + card.records_left_out
