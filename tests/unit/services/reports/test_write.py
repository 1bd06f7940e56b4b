import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from policies.errors import LetheError
from services.commands.report import register
from services.reports.write import read_report, write_report
from tests.unit.services.reports import sample

RUNNER = CliRunner()
APP = typer.Typer()
register(APP)


@APP.callback()
def main() -> None: ...


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    written = write_report(sample.full(), tmp_path / "reports" / "t-1", forbidden=sample.CANARY)
    assert read_report(written.json_path)["digest"] == written.digest
    assert written.html_path.read_text().startswith("<!doctype html>")
    assert written.json_path.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in written.json_path.parent.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize("word", ["user-1", "SUBJ-7F3A", " relearn "])
def test_a_report_with_an_identifier_is_not_written(tmp_path: Path, word: str) -> None:
    with pytest.raises(LetheError) as caught:
        write_report(sample.full(), tmp_path, forbidden=[word])
    assert caught.value.code == "report.personal_data"
    assert word.strip() not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_word_is_no_identifier(tmp_path: Path) -> None:
    assert write_report(sample.least(), tmp_path, forbidden=["ques", "no"]).digest


def test_any_change_of_the_content_is_found(tmp_path: Path) -> None:
    path = write_report(sample.full(), tmp_path).json_path
    path.write_text(path.read_text().replace("0.989", "0.999", 1))
    with pytest.raises(LetheError) as caught:
        read_report(path)
    assert caught.value.code == "report.changed"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "lethe.report/9"}'])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(LetheError) as caught:
        read_report(path)
    assert caught.value.code == "report.invalid"


def test_a_report_with_numbers_json_does_not_know_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": "lethe.report/1", "x": NaN}')
    with pytest.raises(LetheError) as caught:
        read_report(path)
    assert caught.value.code == "report.changed"


def test_the_command_shows_a_tickets_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    written = write_report(sample.full(), tmp_path / "reports" / "t-2f9c1b")
    shown = RUNNER.invoke(APP, ["report", "t-2f9c1b"])
    assert shown.exit_code == 0, shown.output
    assert "live as generation 4" in shown.output
    assert "kfr" in shown.output
    assert str(written.html_path) in shown.output
    body = json.loads(RUNNER.invoke(APP, ["report", "t-2f9c1b", "--json"]).output)
    assert body["digest"] == written.digest
    assert "unchanged" in RUNNER.invoke(APP, ["report", str(written.json_path), "--check"]).output
    checked = json.loads(RUNNER.invoke(APP, ["report", str(written.json_path), "--check", "--json"]).output)
    assert checked["unchanged"] is True
    assert RUNNER.invoke(APP, ["report", "t-2f9c1b", "--out", str(tmp_path / "copy")]).exit_code == 0
    assert (tmp_path / "copy" / "report.html").read_text() == written.html_path.read_text()


@pytest.mark.parametrize("ticket", ["t-none", "..", "no such"])
def test_a_ticket_without_report_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticket: str) -> None:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    result = RUNNER.invoke(APP, ["report", ticket])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "report.not_found"
