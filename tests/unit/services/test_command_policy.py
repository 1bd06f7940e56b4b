import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from policies.pack import PACKS
from services.commands.policy import app

RUNNER = CliRunner()


def test_a_sound_pack_is_said_to_be_sound() -> None:
    result = RUNNER.invoke(app, ["check", "gdpr"])
    assert result.exit_code == 0
    assert "sound" in result.stdout
    body = json.loads(RUNNER.invoke(app, ["check", "gdpr", "--json"]).stdout)
    assert body["valid"] is True
    assert body["faults"] == []
    assert len(body["digest"]) == 64


def test_every_fault_is_printed_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (PACKS / "gdpr.yaml").read_text()
    path.write_text(text.replace("when: hold.active", "when: hold.activ").replace("kfr_min: 0.95", "kfr_min: 0.1"))
    result = RUNNER.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert "2 fault(s)" in result.stdout
    assert f"{path}:" in result.stdout
    body = json.loads(RUNNER.invoke(app, ["check", str(path), "--json"]).stdout)
    assert [fault["path"] for fault in body["faults"]] == ["rules.0.when", "thresholds.kfr_min"]
    assert "digest" not in body


def test_the_packs_are_listed() -> None:
    assert len(json.loads(RUNNER.invoke(app, ["list", "--json"]).stdout)["packs"]) == 4
    assert "uk_gdpr" in RUNNER.invoke(app, ["list"]).stdout


@pytest.mark.parametrize("name", ["gdpr", "ccpa", "lgpd", "uk_gdpr"])
def test_a_pack_is_shown(name: str) -> None:
    shown = RUNNER.invoke(app, ["show", name]).stdout
    assert "Rules, the first that holds decides" in shown
    assert "kfr_min: 0.95" in shown
    assert json.loads(RUNNER.invoke(app, ["show", name, "--json"]).stdout)["regime"] == name


def test_a_pack_that_is_not_there_is_a_clear_error() -> None:
    result = RUNNER.invoke(app, ["show", "nope.yaml"])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "policy.pack_not_found"
