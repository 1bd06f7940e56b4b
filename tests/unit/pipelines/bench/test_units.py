import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.bench.units import Told, Units
from policies.errors import LetheError


def units(directory: Path, told: list[Told] | None = None) -> Units:
    return Units(directory, Counter(trial=3), {"trial": 10.0}, told.append if told is not None else None)


def test_a_finished_unit_is_not_worked_out_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"x": len(calls)}

    assert units(tmp_path).run("trial", "a", {"lr": 1}, work) == {"x": 1}
    assert units(tmp_path).run("trial", "a", {"lr": 1}, work) == {"x": 1}
    assert len(calls) == 1
    assert units(tmp_path).run("trial", "a", {"lr": 2}, work) == {"x": 2}  # other inputs
    assert len(calls) == 2


@pytest.mark.parametrize("changed", ["code", "device"])
def test_results_of_other_code_or_another_device_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    units(tmp_path).run("trial", "a", {"lr": 1}, lambda: {"x": 1})
    again = units(tmp_path)
    if changed == "code":
        monkeypatch.setattr("pipelines.bench.units.source_digest", lambda: "other")
    else:
        again.device = "cuda"
    assert again.run("trial", "a", {"lr": 1}, lambda: {"x": 2}) == {"x": 2}


def test_what_is_gone_from_the_disk_is_made_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {}

    one = units(tmp_path)
    one.run("base", "b", {}, work)
    one.run("base", "b", {}, work, still_there=lambda _: False)
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}'])
def test_a_file_that_is_cut_counts_for_nothing(tmp_path: Path, text: str) -> None:
    one = units(tmp_path)
    one.run("trial", "a", {}, lambda: {"x": 1})
    (tmp_path / "units" / "a.json").write_text(text)
    assert one.run("trial", "a", {}, lambda: {"x": 2}) == {"x": 2}


def test_a_method_that_fails_is_a_result_and_a_cancel_is_none(tmp_path: Path) -> None:
    def diverged() -> dict[str, Any]:
        raise LetheError("unlearn.diverged", "no number")

    def cancelled() -> dict[str, Any]:
        raise LetheError("unlearn.cancelled", "stopped")

    assert units(tmp_path).run("trial", "a", {}, diverged) == {"failed": "unlearn.diverged"}
    assert units(tmp_path).run("trial", "a", {}, lambda: {"x": 1}) == {"failed": "unlearn.diverged"}
    with pytest.raises(LetheError):
        units(tmp_path).run("trial", "b", {}, cancelled)
    assert not (tmp_path / "units" / "b.json").exists()


def test_progress_tells_what_is_left(tmp_path: Path) -> None:
    told: list[Told] = []
    one = units(tmp_path, told)
    one.run("trial", "a", {}, dict)
    assert [(t.unit, t.done, t.planned, t.seconds is None) for t in told] == [("a", 0, 3, True), ("a", 1, 3, False)]
    assert told[0].eta_seconds == 30.0
    again: list[Told] = []
    units(tmp_path, again).run("trial", "a", {}, dict)
    assert [(t.done, t.kept) for t in again] == [(1, True)]


def test_the_key_is_private_and_files_hold_no_plain_digest(tmp_path: Path) -> None:
    one = units(tmp_path)
    one.run("trial", "a", {"name": "Mira"}, dict)
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert one.digest({"a": 1}) != units(tmp_path / "other").digest({"a": 1})
    assert "Mira" not in (tmp_path / "units" / "a.json").read_text()


def test_a_killed_run_goes_on_after_its_last_unit(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from collections import Counter\n"
        "from pathlib import Path\n"
        "from pipelines.bench.units import Units\n"
        "units = Units(Path(sys.argv[1]), Counter(), {})\n"
        "def work(n):\n"
        "    if n == 2 and sys.argv[2] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    with open(sys.argv[1] + '/log', 'a') as log: log.write(str(n))\n"
        "    return {'n': n}\n"
        "for n in range(4): units.run('trial', f'u{n}', {'n': n}, lambda: work(n))\n"
    )
    runs = [subprocess.run([sys.executable, "-c", script, str(tmp_path), how], check=False) for how in ("die", "live")]
    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0]
    assert (tmp_path / "log").read_text() == "0123"
    assert json.loads((tmp_path / "units" / "u3.json").read_text())["result"] == {"n": 3}
    assert not [name for name in os.listdir(tmp_path / "units") if name.startswith(".")]
