"""``python -m release.build``: every file of a release into one directory, with a digest of each."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release.archive import files_of, settle
from release.bento import build, epoch, project_version
from release.licences import licences, table
from release.sbom import sbom
from release.variants import ROOT, VARIANTS

CHART = ROOT / "charts" / "lethe"


def build_all(out: Path) -> list[str]:
    """Makes every file of the release; their names.

    Raises:
        RuntimeError: A part could not be built.
        FileExistsError: The directory holds something else, which would be taken for a part of the release.
    """
    out = out.resolve()  # its parts are built in directories of their own
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out.name} is not empty")
    _distributions(out)
    for variant in VARIANTS.values():
        build(variant, out)
        stem = f"lethe-{project_version()}-{variant.name}"
        (out / f"{stem}.cdx.json").write_text(sbom(variant), encoding="utf-8")
        (out / f"{stem}.licences.md").write_text(table(licences(ROOT / variant.requirements)), encoding="utf-8")
    _chart(out)
    made = [path.name for path in files_of(out)]
    sums = [f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in made]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return [*made, "SHA256SUMS"]


def _distributions(out: Path) -> None:
    """Sdist and wheel, without a network: what builds them is installed already."""
    with tempfile.TemporaryDirectory(prefix="lethe-dist-") as scratch:
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, files.split("\0")):  # setuptools leaves its own files beside what it builds
            copy = Path(scratch) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
            copy.chmod(0o755 if os.access(ROOT / name, os.X_OK) else 0o644)
            os.utime(copy, (epoch(), epoch()))
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), scratch]
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"python -m build ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    settle(out / f"lethe-{project_version()}.tar.gz", epoch=epoch())


def _chart(out: Path) -> None:
    import helm_python as helm

    package = out / f"lethe-chart-{project_version()}.tgz"
    with tempfile.TemporaryDirectory(prefix="lethe-chart-") as scratch:
        helm.package(str(CHART), destination=scratch)
        (made,) = Path(scratch).glob("*.tgz")
        package.write_bytes(made.read_bytes())
    settle(package, epoch=epoch())


def main() -> None:
    """Builds, and says what there is."""
    parser = argparse.ArgumentParser(description="Build every file of a release, offline.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    for name in build_all(parser.parse_args().out):
        print(name)


if __name__ == "__main__":
    main()
