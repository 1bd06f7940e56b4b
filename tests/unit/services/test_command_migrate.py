"""``lethe migrate``: the schema alone, as the hook Job in Kubernetes needs it."""

import json
from pathlib import Path

import pytest
import typer.testing

from services import cli
from services.settings import load_settings
from services.store.engine import open_store
from services.store.migration import HEAD


def test_the_schema_is_made_without_any_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("LETHE_HOME", str(home))
    for _ in range(2):
        result = typer.testing.CliRunner().invoke(cli.app, ["migrate", "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.output) == {"store": HEAD}
    open_store(load_settings(home).store_url).close()
    assert not (home / "keys").exists()
    assert (home / "dbos.sqlite").is_file()
