import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.bench.units import Units
from policies.errors import LetheError


def test_a_finished_unit_is_not_worked_out_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"x": len(calls)}

    assert Units(tmp_path).run("a", {"lr": 1}, work).result == {"x": 1}
    assert Units(tmp_path).run("a", {"lr": 1}, work).result == {"x": 1}
    assert len(calls) == 1
    assert Units(tmp_path).run("a", {"lr": 2}, work).result == {"x": 2}  # other inputs
    assert len(calls) == 2


@pytest.mark.parametrize("changed", ["code", "device"])
def test_results_of_other_code_or_another_device_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    Units(tmp_path).run("a", {"lr": 1}, lambda: {"x": 1})
    again = Units(tmp_path)
    if changed == "code":
        monkeypatch.setattr("pipelines.bench.units.source_digest", lambda: "other")
    else:
        again.device = "cuda"
    assert again.run("a", {"lr": 1}, lambda: {"x": 2}).result == {"x": 2}


def test_what_is_gone_from_the_disk_is_made_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {}

    one = Units(tmp_path)
    one.run("b", {}, work)
    one.run("b", {}, work, whole=lambda _: False)
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}'])
def test_a_file_that_is_cut_counts_for_nothing(tmp_path: Path, text: str) -> None:
    one = Units(tmp_path)
    one.run("a", {}, lambda: {"x": 1})
    (tmp_path / "units" / "a.json").write_text(text)
    assert one.run("a", {}, lambda: {"x": 2}).result == {"x": 2}


def test_a_method_that_fails_is_a_result_and_a_cancel_is_none(tmp_path: Path) -> None:
    def diverged() -> dict[str, Any]:
        raise LetheError("unlearn.diverged", "no number")

    def cancelled() -> dict[str, Any]:
        raise LetheError("unlearn.cancelled", "stopped")

    assert Units(tmp_path).run("a", {}, diverged).result == {"failed": "unlearn.diverged"}
    assert Units(tmp_path).run("a", {}, lambda: {"x": 1}).result == {"failed": "unlearn.diverged"}
    with pytest.raises(LetheError):
        Units(tmp_path).run("b", {}, cancelled)
    assert not (tmp_path / "units" / "b.json").exists()


def test_the_key_is_private_and_files_hold_no_plain_digest(tmp_path: Path) -> None:
    one = Units(tmp_path)
    one.run("a", {"name": "Mira"}, dict)
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert one.digest({"a": 1}) != Units(tmp_path / "other").digest({"a": 1})
    assert "Mira" not in (tmp_path / "units" / "a.json").read_text()


def test_a_killed_run_goes_on_after_its_last_unit(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pipelines.bench.units import Units\n"
        "units = Units(Path(sys.argv[1]))\n"
        "def work(n):\n"
        "    if n == 2 and sys.argv[2] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    with open(sys.argv[1] + '/log', 'a') as log: log.write(str(n))\n"
        "    return {'n': n}\n"
        "for n in range(4): units.run(f'u{n}', {'n': n}, lambda: work(n))\n"
    )
    runs = [subprocess.run([sys.executable, "-c", script, str(tmp_path), how], check=False) for how in ("die", "live")]
    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0]
    assert (tmp_path / "log").read_text() == "0123"
    assert json.loads((tmp_path / "units" / "u3.json").read_text())["result"] == {"n": 3}
    assert not [name for name in os.listdir(tmp_path / "units") if name.startswith(".")]
