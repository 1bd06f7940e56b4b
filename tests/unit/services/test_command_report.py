import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services.commands import ticket as ticket_commands
from services.commands.report import app
from services.reports.build import build_report
from services.reports.write import WrittenReport, write_report
from tests.unit.services.reports import sample

RUNNER = CliRunner()


@pytest.fixture
def written(tmp_path: Path) -> WrittenReport:
    return write_report(build_report(sample.full()), tmp_path / "reports")


class Intake:
    """Hands out the two files as the intake does."""

    def __init__(self, report: WrittenReport) -> None:
        self.report = report

    def get_bytes(self, path: str, form: str) -> bytes:
        assert path == "/v1/tickets/t-2f9c1b/report"
        return (self.report.html_path if form == "html" else self.report.json_path).read_bytes()


@pytest.fixture
def intake(written: WrittenReport, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def client() -> Iterator[Intake]:
        yield Intake(written)

    monkeypatch.setattr(ticket_commands, "client", client)


def test_a_file_is_shown_in_short(written: WrittenReport) -> None:
    shown = RUNNER.invoke(app, [str(written.json_path)])
    assert shown.exit_code == 0, shown.output
    assert "live as generation 4" in shown.output
    assert "4 items missing" in shown.output


@pytest.mark.usefixtures("intake")
def test_a_ticket_is_fetched_from_the_intake(written: WrittenReport, tmp_path: Path) -> None:
    body = json.loads(RUNNER.invoke(app, ["t-2f9c1b", "--json"]).output)
    assert body["digest"] == written.digest
    page = tmp_path / "page.html"
    assert RUNNER.invoke(app, ["t-2f9c1b", "--html", "--out", str(page)]).exit_code == 0
    assert page.read_bytes() == written.html_path.read_bytes()


def test_a_page_and_a_copy_are_made_from_a_file(written: WrittenReport, tmp_path: Path) -> None:
    page, copy = tmp_path / "page.html", tmp_path / "copy.json"
    assert RUNNER.invoke(app, [str(written.json_path), "--html", "--out", str(page)]).exit_code == 0
    assert page.read_bytes() == written.html_path.read_bytes()
    assert RUNNER.invoke(app, [str(written.json_path), "--out", str(copy)]).exit_code == 0
    assert copy.read_bytes() == written.json_path.read_bytes()


def test_a_check_says_so_or_refuses(written: WrittenReport) -> None:
    assert "unchanged" in RUNNER.invoke(app, [str(written.json_path), "--check"]).output
    said = json.loads(RUNNER.invoke(app, [str(written.json_path), "--check", "--json"]).output)
    assert said == {"ticket_id": "t-2f9c1b", "digest": written.digest, "unchanged": True}
    written.json_path.write_text(written.json_path.read_text().replace("0.989", "0.999", 1))
    result = RUNNER.invoke(app, [str(written.json_path), "--check"])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "report.changed"


def test_two_forms_at_once_are_refused(written: WrittenReport) -> None:
    result = RUNNER.invoke(app, [str(written.json_path), "--html", "--json"])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "request.invalid"
