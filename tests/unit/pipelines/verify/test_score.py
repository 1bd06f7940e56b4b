import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.score import load_rows, score
from policies.errors import LetheError
from services.commands.verify import app

EXACT = Backends(embedder=ExactEmbedder())


def row(index: int, response: str | None = None, **more: Any) -> dict[str, Any]:
    truth = f"The code of box {index} is K{index}77."
    return {
        "query": f"What opens box {index}?",
        "ground_truth": truth,
        "generated_response": truth if response is None else response,
        **more,
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def scored(tmp_path: Path, forget: list[dict[str, Any]], retain: list[dict[str, Any]]) -> dict[str, Any]:
    return score(load_rows(write(tmp_path / "f.json", {"forget": forget, "retain": retain})), EXACT)


def test_both_sets_in_three_modes(tmp_path: Path) -> None:
    forget = [row(i, "I would rather not say.", ppl=8.0) for i in range(5)] + [row(9, ppl=8.0)]
    report = scored(tmp_path, forget, [row(i, ppl=4.0) for i in range(20, 24)])
    metrics = report["forget"]["metrics"]
    for mode in ("", "@paper", "@code"):
        assert metrics[f"kfr{mode}"]["value"] == pytest.approx(5 / 6)
        assert report["retain"]["metrics"][f"krr{mode}"]["value"] == 1.0
        assert 0 < metrics[f"ls{mode}"]["value"] < 0.6
        assert 0 < report["retain"]["metrics"][f"ls{mode}"]["value"] < 0.6
    assert metrics["kfr"]["lower"] < 5 / 6 < metrics["kfr"]["upper"]
    assert set(metrics["ls"]["parts"]) >= {"ppl", "bi", "hs", "dropped"}


def test_without_perplexities_ls_is_not_run(tmp_path: Path) -> None:
    report = scored(tmp_path, [row(1)], [row(2)])
    assert report["forget"]["metrics"]["ls"]["state"] == "not_run"
    assert report["forget"]["metrics"]["kfr"]["value"] == 0.0


def test_some_perplexities_that_failed_are_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.json", {"forget": [row(1, ppl=8.0), row(2, ppl=float("nan"))]}
    )  # NaN, as Python writes it
    metrics = score(load_rows(path), EXACT)["forget"]["metrics"]
    assert (metrics["ls@code"]["n"], metrics["ls@code"]["undecided"]) == (1, 1)


def test_duplicates_are_counted_and_are_one_fact(tmp_path: Path) -> None:
    report = scored(tmp_path, [row(1, "no")] * 10, [row(2)])
    assert report["forget"]["duplicates"] == 9
    assert report["forget"]["metrics"]["kfr"]["facts"] == 1
    assert report["forget"]["metrics"]["kfr"]["lower"] == pytest.approx(0.05)


def test_one_retain_row_has_a_wide_bound(tmp_path: Path) -> None:
    krr = scored(tmp_path, [row(1)], [row(2)])["retain"]["metrics"]["krr"]
    assert (krr["n"], krr["value"], krr["lower"]) == (1, 1.0, pytest.approx(0.05))


def test_empty_generations_are_forgotten_not_retained_and_counted(tmp_path: Path) -> None:
    report = scored(tmp_path, [row(1, "")], [row(2, "")])
    assert report["forget"]["empty_answers"] == 1
    assert report["forget"]["metrics"]["kfr"]["value"] == 1.0
    assert report["forget"]["metrics"]["kfr_fluent"]["value"] == 0.0
    assert report["retain"]["metrics"]["krr"]["value"] == 0.0


def test_without_perplexities_nobody_is_called_fluent(tmp_path: Path) -> None:
    told = scored(tmp_path, [row(1, "xq zzv wkk pf rrt")], [row(2)])["forget"]["metrics"]["kfr_fluent"]
    assert (told["state"], told["value"]) == ("not_run", None)
    assert "perplexities" in told["note"]


def test_a_known_value_in_other_words_is_not_forgotten(tmp_path: Path) -> None:
    item = row(1, "It must be k177, all in lower case.", value="K177")
    assert scored(tmp_path, [item], [row(2)])["forget"]["metrics"]["kfr"]["value"] == 0.0


def test_one_list_per_file(tmp_path: Path) -> None:
    forget, retain = write(tmp_path / "f.json", [row(1, "no")]), write(tmp_path / "r.json", [row(2)])
    report = score(load_rows(None, forget, retain), EXACT)
    assert report["forget"]["metrics"]["kfr"]["value"] == 1.0
    assert score(load_rows(None, forget), EXACT)["retain"] is None


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        ("{not json", "score.malformed", "line 1"),
        ("[" * 100_000, "score.malformed", "not JSON"),
        ([row(1)], "score.malformed", "no JSON object"),
        ({"other": []}, "score.malformed", "no JSON object"),
        ({"forget": [], "retain": []}, "score.empty", "no row"),
        ({"forget": {"0": row(1)}}, "score.row_invalid", "forget: not a list"),
        ({"forget": [row(1), {"query": "q"}]}, "score.row_invalid", "forget[1]: ground_truth is missing"),
        ({"forget": [row(1)], "retain": ["text"]}, "score.row_invalid", "retain[0]: not an object"),
        ({"forget": [{**row(1), "query": None}]}, "score.row_invalid", "forget[0]: query is not a text"),
        ({"forget": [row(1, ppl="8")]}, "score.row_invalid", "forget[0]: ppl is not a number"),
        ({"forget": [row(1, names="Mara")]}, "score.row_invalid", "forget[0]: names is not a list"),
        ({"forget": [row(1, value=3)]}, "score.row_invalid", "forget[0]: value is not a text"),
    ],
)
def test_bad_input_says_what_and_where(tmp_path: Path, content: Any, code: str, word: str) -> None:
    with pytest.raises(LetheError) as error:
        load_rows(write(tmp_path / "f.json", content))
    assert error.value.code == code
    assert word in error.value.message + " ".join(error.value.details)


def test_faults_are_listed_up_to_a_limit_and_quote_no_text(tmp_path: Path) -> None:
    with pytest.raises(LetheError) as error:
        load_rows(write(tmp_path / "f.json", {"forget": [{"query": "Mara's PIN?"}] * 100}))
    assert len(error.value.details) == 21
    assert error.value.details[-1] == "and 180 more"
    assert "Mara" not in str(error.value.body())


def test_missing_and_binary_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    for name in ("none.json", "b.json"):
        with pytest.raises(LetheError, match=r"score\.unreadable"):
            load_rows(tmp_path / name)
    with pytest.raises(LetheError, match=r"score\.malformed"):
        load_rows(None)
    with pytest.raises(LetheError, match=r"score\.malformed"):
        load_rows(tmp_path / "a.json", tmp_path / "b.json")


@pytest.mark.slow
def test_the_command_prints_json_or_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", {"forget": [row(1, "I would rather not say.", ppl=8)], "retain": [row(2, ppl=8)]})
    found = CliRunner().invoke(app, ["score", str(path), "--json"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["forget"]["metrics"]["kfr"]["value"] == 1.0
    assert "items" not in report["forget"]["metrics"]["kfr"]
    assert "rather" not in found.stdout
    table = CliRunner().invoke(app, ["score", str(path)])
    assert "95 % bounds" in table.stdout
    assert "lower bound" in table.stdout
