"""The command line as a whole: what it imports, what it prints, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import typer.testing

from policies.errors import LetheError
from services import cli
from services.cli import AREAS

HEAVY = ("torch", "transformers", "sqlalchemy", "bentoml", "dbos", "pydantic_settings", "great_expectations", "fastapi")
CODE = Path(__file__).parents[3]


def python(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LETHE_HOME": str(home), "PYTHONPATH": str(CODE), "BENTOML_DO_NOT_TRACK": "True"},
        cwd=home,
    )


def imported(code: str, names: tuple[str, ...], home: Path) -> list[str]:
    """Which of some packages a fresh interpreter has imported after running ``code``."""
    done = python(f"{code}\nimport sys\nprint([n for n in {names!r} if n in sys.modules])", home)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    return found


def asked_for_help(*words: str) -> str:
    argv = [*words, "--help"]
    return f"import services.cli\ntry: services.cli.app({argv})\nexcept SystemExit as end: assert not end.code"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported(asked_for_help(), HEAVY, tmp_path) == []


@pytest.mark.parametrize("area", AREAS)
def test_help_of_an_area_imports_nothing_heavy(area: str, tmp_path: Path) -> None:
    assert imported(asked_for_help(area), HEAVY, tmp_path) == []


@pytest.mark.parametrize("service", ["intake", "unlearning", "serving"])
def test_no_service_process_imports_torch(service: str, tmp_path: Path) -> None:
    code = f"import services.{service}.service"
    assert imported(code, ("torch", "transformers", "peft", "great_expectations"), tmp_path) == []


def test_help_lists_every_area_with_its_line() -> None:
    result = typer.testing.CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in AREAS.items():
        assert name in result.output
        assert text.split(",")[0] in " ".join(result.output.split())


def test_an_unknown_command_is_a_usage_error() -> None:
    result = typer.testing.CliRunner().invoke(cli.app, ["forget-everything"])
    assert result.exit_code == 2
    assert "forget-everything" in result.output


def refuse(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    def app() -> None:
        raise LetheError("store.missing", "There is no store here.", ("one", "two"))

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["lethe", *argv])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2


def test_a_refusal_names_its_code_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, "run", "list")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "lethe: There is no store here. [store.missing]",
        "  - one",
        "  - two",
        "  Run lethe init, or point LETHE_HOME at the installation.",
    ]


def test_with_json_a_refusal_is_the_error_body(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, "run", "list", "--json")
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["error"]["code"] == "store.missing"
    assert json.loads(out)["error"]["details"] == ["one", "two"]


def test_a_real_refusal_through_the_installed_command(tmp_path: Path) -> None:
    done = python(
        "import sys; sys.argv = ['lethe', 'run', 'list', '--json']; import services.cli as c; c.main()", tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["error"]["remedy"]
