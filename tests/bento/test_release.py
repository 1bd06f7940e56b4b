"""``python -m release.build``: every file of a release, each with its digest, the same bytes for the same commit."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release.bento import project_version
from release.variants import ROOT

VERSION = project_version()
FILES = {
    f"lethe-{VERSION}.tar.gz",
    f"lethe-{VERSION}-py3-none-any.whl",
    f"lethe-chart-{VERSION}.tgz",
    "SHA256SUMS",
    *(f"lethe-{VERSION}-{name}.{end}" for name in ("cpu", "cuda") for end in ("bento", "cdx.json", "licences.md")),
}


def release(out: Path) -> dict[str, bytes]:
    given = os.path.relpath(out, ROOT)  # as `make release` names it
    command = [sys.executable, "-m", "release.build", "--out", given]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) == FILES
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "dist"
    release(out)
    return out


def test_every_file_has_its_digest(made: Path) -> None:
    lines = [line.split("  ") for line in (made / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in FILES - {"SHA256SUMS"}}


def test_the_same_commit_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = release(tmp_path / "dist")
    assert {name for name, content in again.items() if content != (made / name).read_bytes()} == set()


def test_the_wheel_is_the_application_with_its_licence(made: Path) -> None:
    with zipfile.ZipFile(made / f"lethe-{VERSION}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"lethe-{VERSION}.dist-info/METADATA").decode()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"policies", "pipelines", "services", f"lethe-{VERSION}.dist-info"}
    assert "policies/packs/gdpr.yaml" in names
    assert "License-Expression: Apache-2.0" in metadata
    assert f"lethe-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_chart_is_in_it_with_its_schema(made: Path) -> None:
    with tarfile.open(made / f"lethe-chart-{VERSION}.tgz") as chart:
        assert {"lethe/Chart.yaml", "lethe/values.yaml", "lethe/values.schema.json"} <= set(chart.getnames())


def test_the_bill_is_json(made: Path) -> None:
    assert json.loads((made / f"lethe-{VERSION}-cpu.cdx.json").read_text())["bomFormat"] == "CycloneDX"


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.whl").write_text("")
    command = [sys.executable, "-m", "release.build", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old.whl"]
