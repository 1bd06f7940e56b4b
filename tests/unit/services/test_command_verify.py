"""``lethe verify attacks`` on a model of random weights, ``lethe verify scores`` on a file and on a ticket."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services import sealed_items
from services.commands.verify import app
from services.store.tickets import get_ticket
from tests.unit.pipelines.verify.test_scores import an_erasure
from tests.unit.services.place import Place

SECRET = "7 Lindengasse"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from pipelines.unlearn import adapters
    from pipelines.unlearn.settings import UnlearnSettings
    from tests.unit.pipelines.tiny import tiny

    directory = tmp_path_factory.mktemp("models")
    loaded = tiny(directory / "base")
    model = adapters.attach(loaded, UnlearnSettings(rank=2), None)
    adapters.save(model, directory / "adapter", loaded.digest)
    return directory / "base", directory / "adapter"


def asked(models: tuple[Path, Path], tmp_path: Path, *more: str) -> str:
    row = {"question": "Where does Mara Kern live?", "answer": f"Mara Kern lives at {SECRET}.", "names": ["Mara Kern"]}
    probes = tmp_path / "probes.jsonl"
    probes.write_text(json.dumps(row | {"value": SECRET, "subject": "s1"}) + "\n", encoding="utf-8")
    given = ["attacks", "--base", str(models[0]), "--adapter", str(models[1]), "--probes", str(probes)]
    found = CliRunner().invoke(app, [*given, "--only", "completion", *more])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_an_adapter_is_attacked_by_hand_and_no_text_is_printed(models: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = json.loads(asked(models, tmp_path, "--json", "--out", str(out)))
    assert [one["name"] for one in suite["results"]] == ["completion"]
    assert suite["left_out"], "one attack is not a whole tier"
    said = asked(models, tmp_path, "--out", str(out))
    assert "completion" in said
    assert "1 results in" in said
    text = json.dumps(suite) + said + "".join(file.read_text() for file in out.glob("*.json"))
    assert list(out.glob("*.json"))
    assert SECRET not in text
    assert "Mara" not in text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(an_erasure().content()), encoding="utf-8")
    return path


def test_the_figures_of_a_verdict_are_reckoned_again_from_a_file(file: Path) -> None:
    found = CliRunner().invoke(app, ["scores", str(file)])
    assert found.exit_code == 0, found.output
    assert " 0 differ," in found.stdout
    [kfr] = [line.split() for line in found.stdout.splitlines() if line.startswith("adapter  forget      kfr ")]
    assert kfr[3:5] == ["higher", "0.5000"]
    assert kfr[-2:] == ["the", "same"]
    told = json.loads(CliRunner().invoke(app, ["scores", str(file), "--json"]).stdout)
    assert told["digest"] == an_erasure().digest
    assert f"digest {told['digest']}" in found.stdout
    [one] = [f for f in told["figures"] if (f["model"], f["group"], f["name"]) == ("adapter", "retain", "krr_ratio")]
    assert (one["outcome"], one["direction"], one["source"]) == ("same", "higher", "docs/metrics.md")


def test_a_figure_that_does_not_follow_ends_with_status_1(file: Path) -> None:
    content = json.loads(file.read_text())
    content["adapter"]["forget"]["columns"]["kfr"]["metric"]["value"] = 1.0
    file.write_text(json.dumps(content), encoding="utf-8")
    found = CliRunner().invoke(app, ["scores", str(file)])
    assert found.exit_code == 1
    assert [line for line in found.stdout.splitlines() if "DIFFERS" in line and " kfr " in line]


def test_a_file_that_is_not_there_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path, code in ((tmp_path / "none.json", "score.unreadable"), (other, "verify.bad_scores")):
        with pytest.raises(LetheError, match=code.replace(".", r"\.")):
            CliRunner().invoke(app, ["scores", str(path)], catch_exceptions=False)


def test_a_tickets_scores_are_opened_and_written_to_a_file(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_HOME", str(place.installation.home))
    ticket_id = place.file(("name", place.people[0].names[0]))
    with pytest.raises(LetheError, match=r"seal\.item_missing"):
        CliRunner().invoke(app, ["scores", ticket_id], catch_exceptions=False)
    with place.store.write() as session:
        ref = get_ticket(session, ticket_id).subject_ref
        sealed_items.put(session, ref, ticket_id, sealed_items.SCORES, an_erasure().content(), ground="test")
    out = tmp_path / "mine.json"
    found = CliRunner().invoke(app, ["scores", ticket_id, "--out", str(out)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert CliRunner().invoke(app, ["scores", str(out)]).stdout == found.stdout
