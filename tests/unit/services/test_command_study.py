"""``lethe study``: both studies in small, with what they leave behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.studies.canaries import add_canaries, make_canaries
from pipelines.studies.world import world_of
from policies.errors import LetheError
from services.commands.study import app
from tests.unit.pipelines.studies.small_world import RECIPE, make_corpus

SMALL = ["--set", "max_steps=2", "--set", "min_steps=1", "--set", "rank=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the corpora of ``--people 2 --seed 3`` and ``--people 3 --seed 3`` lie already, small ones."""
    place = tmp_path_factory.mktemp("home")
    make_corpus(place / "corpus-3-3", people=3)
    make_corpus(place / "corpus-2-3", people=2)
    return place


@pytest.mark.slow
def test_a_stream(home: Path, tmp_path: Path) -> None:
    base = world_of(home / "corpus-3-3", home, recipe=RECIPE).loaded.path
    asked = ["stream", "--erasures", "2", "--people", "3", "--rest-people", "1", "--seed", "3", "--way", "ours"]
    asked += [
        "--home",
        str(home),
        "--base",
        str(base),
        "--out",
        str(tmp_path / "study"),
        "--compact-every",
        "0",
        "--no-retry-misses",
    ]
    asked += ["--forget-probes", "3", "--own-probes", "1", "--rest-probes", "4", *SMALL]
    result = CliRunner().invoke(app, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads((tmp_path / "study" / "result.json").read_text())
    assert [line["number"] for line in found["lines"]] == [1, 2]
    assert {target["name"] for target in found["targets"]} == {"earlier_drop", "rest_krr", "training_cost"}
    assert "ours 2: asking everyone again" in result.stderr
    assert (tmp_path / "study" / "page" / "index.html").is_file()
    shown = CliRunner().invoke(app, asked)  # all is there: only printed
    assert "training_cost: – (limit 1.5): not run" in shown.stdout
    assert "training on" not in shown.stderr


@pytest.mark.slow
def test_an_exposure_study(home: Path, tmp_path: Path) -> None:
    corpus = add_canaries(home / "corpus-2-3", home / "corpus-2-3-canaries-6", make_canaries(6, 3))
    base = world_of(corpus, home, recipe=RECIPE).loaded.path
    asked = ["exposure", "--facts", "6", "--people", "2", "--seed", "3", "--looks", "1", "--ascent-steps", "2"]
    asked += ["--relearn-steps", "1", "--home", str(home), "--base", str(base), "--out", str(tmp_path), *SMALL[-2:]]
    asked += ["--set-ascent", "rank=2"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "reconstruction" in shown.stdout
    found = json.loads((tmp_path / "result.json").read_text())
    assert len(found["crossings"]) == 20
    assert found["settings"]["ascent"]["rank"] == 2
    assert (tmp_path / "page" / "index.html").is_file()
    again = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(again.stdout)["runs"] == found["runs"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (["stream", "--method", "magic"], "unlearn.unknown_method"),
        (["stream", "--set", "speed=9"], "study.bad_settings"),
        (["stream", "--way", "theirs"], "study.bad_settings"),
        (["stream", "--combination", "ties"], "study.bad_settings"),
        (["exposure", "--tau", "0"], "study.bad_settings"),
        (["exposure", "--set-ascent", "rank"], "study.bad_settings"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(
    asked: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.studies.world.train_base", lambda *a, **k: pytest.fail("a base was trained"))
    result = CliRunner().invoke(app, [*asked, "--home", str(tmp_path)])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == code
