import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services.commands.corpus import app as corpus_app
from services.commands.counting import counter
from services.commands.subject import app as subject_app


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path / "home"))
    place = tmp_path / "corpus"
    result = CliRunner().invoke(corpus_app, ["make", str(place), "--people", "12", "--phrasings", "2", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["people"] == 12
    return place


def first_person(place: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((place / "people.jsonl").read_text().splitlines()[0])
    return found


def test_make_and_check(made: Path) -> None:
    shown = CliRunner().invoke(corpus_app, ["make", str(made), "--people", "2"])
    assert "about 2 people" in shown.stdout
    checked = CliRunner().invoke(corpus_app, ["check", str(made), "--json"])
    assert json.loads(checked.stdout)["columns"]["question"] == "question"
    assert "columns: " in CliRunner().invoke(corpus_app, ["check", str(made)]).stdout


def test_find_by_email(made: Path, tmp_path: Path) -> None:
    (email,) = first_person(made)["emails"]
    asked = ["find", "--corpus", str(made), "--email", email]
    found = json.loads(CliRunner().invoke(subject_app, [*asked, "--json"]).stdout)
    assert found["counts"]["certain"] > 60
    assert {"record", "level", "reasons"} == set(found["matches"][0])
    shown = CliRunner().invoke(subject_app, [*asked, "--show"]).stdout
    assert email in shown
    assert email not in CliRunner().invoke(subject_app, asked).stdout
    (file,) = (tmp_path / "home" / "index").iterdir()
    assert email not in file.name


def test_find_by_everything(made: Path) -> None:
    person = first_person(made)
    asked = ["find", "--corpus", str(made), "--name", person["names"][0], "--phone", person["phones"][0]]
    asked += ["--id", person["ids"][0], "--id", person["ids"][1], "--address", person["addresses"][0], "--json"]
    assert json.loads(CliRunner().invoke(subject_app, asked).stdout)["counts"]["certain"] > 60


def test_find_nothing_to_go_by(made: Path) -> None:
    result = CliRunner().invoke(subject_app, ["find", "--corpus", str(made)])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "subject.no_identifier"


def test_eval_prints_the_confusion_table() -> None:
    result = CliRunner().invoke(subject_app, ["eval", "--people", "12", "--seed", "3", "--json"])
    assert result.exit_code == 0
    row = json.loads(result.stdout)
    assert row["recall"] == 1
    assert row["precision"]["certain"] == 1
    shown = CliRunner().invoke(subject_app, ["eval", "--people", "12", "--only", "emails"])
    assert shown.exit_code == 0
    assert "namesake" in shown.stdout
    assert CliRunner().invoke(subject_app, ["eval", "--only", "shoes"]).exit_code == 2


def test_the_counter_counts_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.commands.counting._EVERY_S", 0)
    with counter("records") as progress:
        progress(1000)
    assert "1,000 records" in capsys.readouterr().err
    with counter("records", quiet=True) as progress:
        progress(1000)
    assert capsys.readouterr().err == ""
