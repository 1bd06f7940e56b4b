import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services import audit, keys
from services.commands.audit import app
from services.store.engine import open_store
from services.store.migration import migrate

run = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    keys.ensure(tmp_path)
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migrate(url)
    store = open_store(url)
    with store.write() as session:
        for number in range(3):
            audit.append(session, kind="test.counted", payload={"number": number})
    store.close()
    return tmp_path


def test_export_checkpoint_verify(home: Path) -> None:
    file, point, trust = home / "log.jsonl", home / "point.json", keys.trust_path(home)
    exported = json.loads(run.invoke(app, ["export", str(file), "--json"]).stdout)
    assert exported["checkpoint"]["size"] == 4
    assert run.invoke(app, ["checkpoint", "--out", str(point)]).exit_code == 0

    arguments = ["verify", str(file), "--trust", str(trust)]
    right = run.invoke(app, [*arguments, "--checkpoint", str(point), "--json"])
    assert right.exit_code == 0
    assert json.loads(right.stdout)["tail"] == "checked"
    assert "cannot be found" in run.invoke(app, arguments).stdout

    file.write_bytes(file.read_bytes().replace(b'"number":1', b'"number":5'))
    wrong = run.invoke(app, arguments)
    assert wrong.exit_code == 1
    assert "entry.hash" in wrong.stdout


def test_rotation_is_recorded_and_old_checkpoints_stay_right(home: Path) -> None:
    file = home / "log.jsonl"
    assert run.invoke(app, ["checkpoint"]).exit_code == 0
    rotated = json.loads(run.invoke(app, ["rotate-key", "audit", "--json"]).stdout)
    assert rotated["retired"] != rotated["created"]
    assert run.invoke(app, ["export", str(file)]).exit_code == 0
    assert run.invoke(app, ["verify", str(file), "--trust", str(keys.trust_path(home))]).exit_code == 0
    assert b"key.rotated" in file.read_bytes()
    assert run.invoke(app, ["rotate-key", "nothing"]).exit_code == 2


def test_a_key_is_not_rotated_where_it_is_a_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod the new key would end with it, and all that it signed would be refused for good."""
    before = keys.trust_path(home).read_bytes()
    monkeypatch.setenv("LETHE_KEYS__COPIED", "true")
    refusal = run.invoke(app, ["rotate-key", "audit"]).exception
    assert isinstance(refusal, LetheError)
    assert refusal.code == "keys.copied"
    assert "Secret" in refusal.kind.remedy
    assert keys.trust_path(home).read_bytes() == before
