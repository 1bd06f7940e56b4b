"""``lethe verify attacks`` on a model of random weights, ``lethe verify scores`` on a file and on a ticket."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from policies.errors import LetheError
from services import sealed_items
from services.commands.verify import app
from services.store.steps import begin_step, end_step
from services.store.tables import AuditEntryRow
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


def test_scores_that_nobody_stated_are_refused(file: Path) -> None:
    digest = an_erasure().digest
    assert CliRunner().invoke(app, ["scores", str(file), "--digest", digest]).exit_code == 0
    with pytest.raises(LetheError, match=r"verify\.other_scores"):
        CliRunner().invoke(app, ["scores", str(file), "--digest", "0" * 64], catch_exceptions=False)


def test_a_tickets_scores_are_opened_on_record_and_written_for_the_auditor(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_HOME", str(place.installation.home))
    run_id = place.planned(0)
    [ticket] = place.tickets(run_id)
    scores = an_erasure()

    def asked(*more: str) -> str:
        found = CliRunner().invoke(app, ["scores", ticket.ticket_id, *more], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    with pytest.raises(LetheError, match=r"seal\.item_missing"):
        asked()
    with place.store.write() as session:
        sealed_items.put(
            session, ticket.subject_ref, ticket.ticket_id, sealed_items.SCORES, scores.content(), ground="test"
        )
    with pytest.raises(LetheError, match=r"run\.not_found"):
        asked()
    with place.store.write() as session:
        begin_step(session, run_id, "verify", 0)
        end_step(session, run_id, "verify", 0, {"scores": {ticket.subject_ref: scores.digest}})
    out = tmp_path / "mine.json"
    said = asked("--out", str(out))
    assert out.stat().st_mode & 0o777 == 0o600
    assert CliRunner().invoke(app, ["scores", str(out)]).stdout == said
    with place.store.read() as session:
        kinds = list(session.scalars(select(AuditEntryRow.kind)))
    assert kinds.count("verify.scores_opened") == 1
    with pytest.raises(LetheError, match=r"score\.unwritable"):
        asked("--out", str(tmp_path / "nowhere" / "mine.json"))
    with place.store.write() as session:
        other = {**scores.content(), "seed": 1}
        sealed_items.put(session, ticket.subject_ref, ticket.ticket_id, sealed_items.SCORES, other, ground="test")
    with pytest.raises(LetheError, match=r"verify\.other_scores"):
        asked()
