"""``lethe verify attacks`` on a model of random weights."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.commands.verify import app

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
