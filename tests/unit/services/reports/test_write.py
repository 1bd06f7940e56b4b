from pathlib import Path

import pytest

from policies.errors import LetheError
from services.reports.build import build_report
from services.reports.write import parse_report, read_report, write_report
from tests.unit.services.reports import sample


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    written = write_report(build_report(sample.full()), tmp_path / "reports" / "t-1", forbidden=sample.CANARY)
    assert read_report(written.json_path)["digest"] == written.digest
    assert written.html_path.read_text().startswith("<!doctype html>")
    assert written.json_path.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in written.json_path.parent.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize("word", ["user-1", "SUBJ-7F3A", " relearn "])
def test_a_report_with_an_identifier_is_not_written(tmp_path: Path, word: str) -> None:
    with pytest.raises(LetheError) as caught:
        write_report(build_report(sample.full()), tmp_path, forbidden=[word])
    assert caught.value.code == "report.personal_data"
    assert word.strip() not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_word_is_no_identifier(tmp_path: Path) -> None:
    assert write_report(build_report(sample.least()), tmp_path, forbidden=["ques", "no"]).digest


def test_any_change_of_the_content_is_found(tmp_path: Path) -> None:
    path = write_report(build_report(sample.full()), tmp_path).json_path
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


def test_a_report_that_is_not_there(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.json", "report.not_found"), (tmp_path, "report.invalid")):
        with pytest.raises(LetheError) as caught:
            read_report(path)
        assert caught.value.code == code


def test_bytes_that_are_no_report() -> None:
    for body in (b"\xff", b"[" * 100_000):
        with pytest.raises(LetheError) as caught:
            parse_report(body)
        assert caught.value.code == "report.invalid"
