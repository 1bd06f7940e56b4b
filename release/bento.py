"""``python -m release.bento``: builds the bento of each variant offline, the same bytes every time.

BentoML builds it; what BentoML leaves to the day (the time of creation, the newest uv, a compiler in the image) is
then fixed. ``bentoml import FILE`` puts the result into a store, from which ``bentoml containerize`` makes the image.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from release.archive import content_digest, write_archive
from release.containerfile import check_containerfile, check_context
from release.variants import ROOT, VARIANTS, Variant, pins

EPOCH = 315_532_800  # 1 January 1980: the earliest that every archive format knows
_APT = "apt-get update && apt-get install -q -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*"
# A new volume takes the owner of the directory that it is mounted on.
_HOME = "install -d -o bentoml -g bentoml -m 700 /var/lib/lethe"


@dataclass(frozen=True, slots=True)
class Built:
    """A bento as a file.

    Attributes:
        tag: Its name in a BentoML store.
        archive: The file.
        digest: SHA-256 of the content: equal for equal sources, wherever it was built.
    """

    tag: str
    archive: str
    digest: str


def project_version() -> str:
    """The version in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def epoch() -> int:
    """The time that the artefacts bear: ``SOURCE_DATE_EPOCH``, else one that never changes."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))


def build(variant: Variant, out: Path) -> Built:
    """Builds one variant into ``out``.

    Raises:
        RuntimeError: BentoML could not build it, or its image breaks a rule of ``release.containerfile``.
    """
    out.mkdir(parents=True, exist_ok=True)
    version = f"{project_version()}-{variant.name}"
    with tempfile.TemporaryDirectory(prefix="lethe-bento-") as scratch:
        tree = _build(variant, version, Path(scratch))
        _finish(tree)
        faults = [*check_containerfile((tree / "env/docker/Dockerfile").read_text()), *check_context(tree)]
        if faults:
            raise RuntimeError("the image breaks rules:\n" + "\n".join(faults))
        archive = out / f"lethe-{version}.bento"
        write_archive(tree, archive, epoch=epoch())
        return Built(f"lethe:{version}", archive.name, content_digest(tree))


def described(variant: Variant) -> dict[str, Any]:
    """bentofile.yaml as it is for one variant."""
    bento: dict[str, Any] = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))
    own = dict(variant.environment)
    of_other_variants = {name for other in VARIANTS.values() for name, _ in other.environment} - set(own)
    kept = [item for item in bento["envs"] if item["name"] not in {*own, *of_other_variants}]
    bento["envs"] = [*kept, *({"name": name, "value": value} for name, value in sorted(own.items()))]
    bento["labels"] = {**bento["labels"], "variant": variant.name}
    bento["python"] = {**bento["python"], "requirements_txt": f"./{variant.requirements}"}
    return bento


def _build(variant: Variant, version: str, scratch: Path) -> Path:
    described_in = scratch / "bentofile.yaml"
    described_in.write_text(yaml.safe_dump(described(variant), sort_keys=False), encoding="utf-8")
    environment = {
        **os.environ,
        "BENTOML_HOME": str(scratch / "store"),
        "BENTOML_DO_NOT_TRACK": "True",
        "LETHE_HOME": str(scratch / "lethe"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "bentoml", "build", "--bentofile", str(described_in)]
    command += ["--version", version, "--output", "tag", str(ROOT)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"bentoml build ended with {built.returncode}:\n{built.stderr[-3000:]}")
    return scratch / "store" / "bentos" / "lethe" / version


def _finish(tree: Path) -> None:
    """Takes out what differs from day to day, and what the image does not need."""
    from _bentoml_impl.docker import generate_dockerfile
    from bentoml._internal.bento.bento import BaseBentoInfo, BentoInfoV2

    described_in = tree / "bento.yaml"
    bento = yaml.safe_load(described_in.read_text(encoding="utf-8"))
    bento["creation_time"] = datetime.fromtimestamp(epoch(), UTC).isoformat(timespec="microseconds")
    uv = pins(ROOT / "constraints.txt")["uv"]
    bento["image"]["commands"] = [_APT, f"pip install --no-cache-dir uv=={uv}", _HOME]
    described_in.write_text(yaml.safe_dump(bento, sort_keys=False), encoding="utf-8")
    with described_in.open(encoding="utf-8") as file:
        info = BaseBentoInfo.from_yaml_file(file)
    assert isinstance(info, BentoInfoV2)  # conda and cuda_version would make it the older kind
    text = generate_dockerfile(info.image, tree, enable_buildkit=False, envs=info.envs, secret_envs=[])
    (tree / "env/docker/Dockerfile").write_text(text, encoding="utf-8")
    _describe_distribution(tree / "src")
    for cache in tree.rglob("__pycache__"):
        shutil.rmtree(cache)


def _describe_distribution(source: Path) -> None:
    """In the image nothing installs Lethe, and every release names the version of the code that made it."""
    version = project_version()
    directory = source / f"lethe-{version}.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.4\nName: lethe\nVersion: {version}\n", encoding="utf-8")


def main() -> None:
    """Builds the variants that are asked for, and says what came out."""
    parser = argparse.ArgumentParser(description="Build the bentos, offline and reproducibly.")
    parser.add_argument("--variant", action="append", choices=sorted(VARIANTS), help="default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    asked = parser.parse_args()
    for name in asked.variant or sorted(VARIANTS):
        print(json.dumps(asdict(build(VARIANTS[name], asked.out))))


if __name__ == "__main__":
    main()
