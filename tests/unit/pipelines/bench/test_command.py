"""``lethe bench``: both data sets take the same options, and each reaches the settings."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from policies.errors import LetheError
from services.commands.bench import Options, app


def options_of(name: str) -> dict[str, object]:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {option: one.default for one in command.params for option in one.opts}


def test_both_data_sets_take_the_same_options() -> None:
    knowundo, tofu = options_of("knowundo"), options_of("tofu")
    own = {"--data", "--split"}
    assert {name: value for name, value in knowundo.items() if name not in own} == {
        name: value for name, value in tofu.items() if name not in own
    }
    assert {"--quick", "--jobs", "--method", "--base", "--trials", "--attack-seeds", "--json"} <= knowundo.keys()
    assert (knowundo["--base"], knowundo["--jobs"], tofu["--split"]) == ("scratch", None, "forget10")


def test_what_is_given_reaches_the_settings_and_nothing_else_does() -> None:
    plain = Options().settings()
    assert (plain.seeds, plain.trials, plain.quick, plain.recipe.scratch.hidden) == ((0, 1, 2), 3, False, 192)
    assert Options(quick=True).settings().samples == 32
    given = Options(quick=True, seeds=2, trials=1, samples=8, people=3, attack_seeds=0, method=["npo"], device="cpu")
    made = given.settings(val_limit=200)
    assert (made.seeds, made.trials, made.samples, made.people, made.attack_seeds) == ((0, 1), 1, 8, 3, 0)
    assert (made.methods, made.device, made.val_limit) == (("npo",), "cpu", 200)
    larger = Options(hidden=512, layers=12, base="scratch").settings().recipe.scratch
    assert (larger.hidden, larger.heads, larger.intermediate, larger.layers) == (512, 16, 1365, 12)
    tuned = Options(base="there", tune="lora", tune_rate=1e-4, tune_epochs=2).settings().recipe
    assert (tuned.source, tuned.tune, tuned.tune_rate, tuned.tune_epochs) == ("there", "lora", 1e-4, 2)


@pytest.mark.parametrize("name", ["knowundo", "tofu"])
def test_options_on_the_line_arrive(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Options] = []
    monkeypatch.setattr(f"pipelines.bench.sources.load_{name}", lambda *_: None)
    monkeypatch.setattr("services.commands.bench._run", lambda data, settings, options, where: seen.append(options))
    line = [name, "--data", str(tmp_path), "--quick", "--jobs", "3", "--method", "npo", "--method", "dpo", "--json"]
    assert CliRunner().invoke(app, line).exit_code == 0
    assert seen == [Options(quick=True, jobs=3, method=["npo", "dpo"], as_json=True)]


def test_the_command_tells_of_data_that_are_not_there(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["knowundo", "--data", str(tmp_path / "nowhere"), "--quick"])
    assert isinstance(found.exception, LetheError)
    assert found.exception.code == "bench.data_not_found"
