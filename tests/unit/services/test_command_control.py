import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pipelines.base.settings import BaseSettings
from pipelines.base.train import train_base
from pipelines.corpus.generate import generate
from pipelines.corpus.truth import private_records
from pipelines.model import load_model
from policies.errors import LetheError
from services import controls
from services.commands.control import app
from services.corpus_index import note_erased
from tests.unit.pipelines.tiny import save_tiny
from tests.unit.services.place import Place

SMALL = BaseSettings(vocabulary=400, hidden=32, heads=1, intermediate=64, epochs=1, min_combination=0, min_frame=0)


def lethe(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)
    return tmp_path / "home"


@pytest.mark.slow
def test_without_one_person_of_a_generated_corpus(home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    generate(corpus, people=2, seed=3, phrasings=1, hedges=10, probe_people=0)
    base = train_base(corpus, home / "bases", SMALL)
    assert lethe("list") == {"controls": []}
    made = lethe("train", "--corpus", str(corpus), "--person", "0")
    assert made["records_left_out"] == len(private_records(corpus, 0))
    assert made["base_digest"] == base.digest
    assert not made["cached"]
    assert load_model(made["path"]).digest == made["digest"]
    # The same records by name are the same control.
    ids = tmp_path / "ids"
    ids.write_text("\n".join(["", *private_records(corpus, 0)]))
    again = lethe("train", "--corpus", str(corpus), "--without", str(ids))
    assert again == {**made, "cached": True}
    assert lethe("list") == {"controls": [again]}
    assert lethe("show", made["name"]) == again
    plain = CliRunner().invoke(app, ["train", "--corpus", str(corpus), "--person", "0"])
    assert plain.stdout.startswith("kept from before")


@pytest.mark.slow
def test_without_what_a_ticket_forgets(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    installation, settings = place.installation, place.installation.settings
    monkeypatch.setenv("LETHE_HOME", str(settings.home))
    monkeypatch.setenv("LETHE_CORPUS__PATH", settings.corpus.path)
    base = train_base(Path(settings.corpus.path), tmp_path / "bases", SMALL)
    one, two = place.ready(0), place.ready(1)
    forgotten = controls.left_out(installation, place.store, [one])
    assert forgotten == private_records(Path(settings.corpus.path), 0)
    assert controls.left_out(installation, place.store, [one, two]) > forgotten
    assert controls.find_for_tickets(installation, place.store, [one], base.digest) is None
    made = lethe("train", "--ticket", one, "--base", base.path)
    assert made["records_left_out"] == len(forgotten)
    found = controls.find_for_tickets(installation, place.store, [one], base.digest)
    assert found is not None
    assert found.name == made["name"]
    assert controls.train_for_tickets(installation, place.store, [one], Path(base.path)) == found
    assert controls.find_for_tickets(installation, place.store, [one, two], base.digest) is None
    text = (Path(found.path) / "control.json").read_text()
    assert not [word for word in (one, *place.people[0].names, place.people[0].email) if word in text]


def test_who_was_erased_before_is_not_trained_on_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    installation, corpus = place.installation, Path(place.installation.settings.corpus.path)
    one = place.ready(0)
    mine, before = private_records(corpus, 0), private_records(corpus, 1)
    assert controls.left_out(installation, place.store, [one]) == mine
    with place.store.write() as session:
        note_erased(session, one, before)
    assert controls.left_out(installation, place.store, [one]) == mine | before
    asked: dict[str, Any] = {}
    monkeypatch.setattr("pipelines.control.train.train_control", lambda *given, **how: asked.update(how, given=given))
    controls.train_for_tickets(installation, place.store, [one], Path("base"))
    assert asked["given"][2] == mine | before
    assert asked["changed_corpus"]  # rows of the erased may be gone from it: that is how it should be


def test_one_trained_elsewhere(home: Path, tmp_path: Path) -> None:
    base, other = save_tiny(tmp_path / "base"), save_tiny(tmp_path / "other", seed=1)
    ids = tmp_path / "ids"
    ids.write_text("r1\nr2\n")
    added = lethe("add", str(other), "--without", str(ids), "--base", str(base))
    assert (added["source"], added["records_left_out"]) == ("added", 2)
    assert Path(added["path"]).parent == home / "controls"
    assert [one["name"] for one in lethe("list")["controls"]] == [added["name"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "nothing"], "control.not_found"),
        (["show", "../bases"], "control.not_found"),
        (["train", "--person", "0"], "corpus.not_set"),
        (["train", "--corpus", "CORPUS", "--without", "/nowhere/ids"], "control.unknown_records"),
        (["train", "--corpus", "CORPUS", "--without", "EMPTY"], "control.nothing_left_out"),
        (["train", "--corpus", "CORPUS", "--person", "7"], "control.nothing_left_out"),
        (["train", "--corpus", "EMPTY.jsonl", "--person", "0"], "control.corpus_not_generated"),
        (["train", "--corpus", "CORPUS", "--person", "0", "--base", "BASE"], "control.no_recipe"),
    ],
)
def test_bad_input(home: Path, tmp_path: Path, words: list[str], code: str) -> None:
    places = {name: str(tmp_path / name.lower()) for name in ("CORPUS", "EMPTY", "BASE", "EMPTY.jsonl")}
    generate(tmp_path / "corpus", people=1, phrasings=1, hedges=1, probe_people=0)
    (tmp_path / "empty").write_text("\n")
    save_tiny(tmp_path / "base")
    with pytest.raises(LetheError) as raised:
        CliRunner().invoke(app, [places.get(word, word) for word in words], catch_exceptions=False)
    assert raised.value.code == code


def test_exactly_one_way_to_say_which_records(home: Path, tmp_path: Path) -> None:
    for words, said in (
        ([], "give one of"),
        (["--person", "0", "--ticket", "t-1"], "give one of"),
        (["--ticket", "t-1"], "takes no --corpus"),
    ):
        done = CliRunner().invoke(app, ["train", "--corpus", str(tmp_path), *words])
        assert done.exit_code == 2
        assert said in done.output
