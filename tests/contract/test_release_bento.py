"""``python -m release.bento``: both variants offline, the same bytes everywhere, an image that keeps the rules."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from release.bento import described
from release.containerfile import check_containerfile, instructions
from release.variants import ROOT, VARIANTS, pins
from tests.contract.test_bento import OFFLINE

pytestmark = pytest.mark.slow

CONTAINERFILE = """
import sys
from pathlib import Path
from bentoml._internal.bento.bento import Bento
from bentoml._internal.container import construct_containerfile
with construct_containerfile(Bento.from_path(sys.argv[1]), enable_buildkit=False) as (_, path):
    print(Path(path).read_text())
"""


@dataclass(frozen=True)
class Made:
    """What one run of the command left and said."""

    out: Path
    said: dict[str, dict[str, str]]

    def unpacked(self, variant: str) -> Path:
        tree = self.out / variant
        if not tree.exists():
            with tarfile.open(self.out / self.said[variant]["archive"]) as tar:
                tar.extractall(tree, filter="data")
        return tree


def make(checkout: Path, out: Path, *variants: str) -> Made:
    """The command, run in a checkout, without a network."""
    offline = out / "offline"
    offline.mkdir(parents=True)
    (offline / "sitecustomize.py").write_text(OFFLINE)
    path = os.pathsep.join([str(offline), str(checkout)])
    command = [sys.executable, "-m", "release.bento", "--out", str(out)]
    for variant in variants:
        command += ["--variant", variant]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return Made(out, {one["tag"].rpartition("-")[2]: one for one in found})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(ROOT, tmp_path_factory.mktemp("bentos"))


def test_both_variants_come_out(made: Made) -> None:
    assert set(made.said) == set(VARIANTS)
    for name, one in made.said.items():
        described_in = yaml.safe_load((made.unpacked(name) / "bento.yaml").read_text())
        assert f"{described_in['name']}:{described_in['version']}" == one["tag"]
        assert described_in["labels"] == {
            "project": "lethe",
            "services": "intake.unlearning.serving",
            "variant": name,
        }
        assert described_in["image"]["python_version"] == "3.11"


def test_another_checkout_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """Also where the checkout holds what does not belong to it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    checkout = tmp_path / "elsewhere"
    for name in filter(None, files.split("\0")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, checkout / name)
    (checkout / ".lethe").mkdir()
    (checkout / ".lethe" / "operator.key").write_text("not for the image")
    (checkout / "services" / "__pycache__").mkdir()
    (checkout / "services" / "__pycache__" / "x.pyc").write_bytes(b"")
    again = make(checkout, tmp_path / "out", "cpu")
    assert again.said["cpu"] == made.said["cpu"]
    archive = made.said["cpu"]["archive"]
    assert (again.out / archive).read_bytes() == (made.out / archive).read_bytes()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_dockerfile_keeps_every_rule(made: Made, variant: str) -> None:
    """BentoML makes it anew from bento.yaml when it containerizes: that one is checked, and is the one in the bento."""
    tree = made.unpacked(variant)
    command = [sys.executable, "-W", "ignore", "-c", CONTAINERFILE, str(tree)]
    text = subprocess.run(command, cwd=made.out, capture_output=True, text=True, check=True).stdout
    assert check_containerfile(text) == []
    own = instructions((tree / "env/docker/Dockerfile").read_text())
    assert own == instructions(text)
    assert [one.rest for one in own if one.name == "USER"] == ["bentoml"]


def test_one_image_has_torch_for_cpu_and_the_other_what_cuda_needs(made: Made) -> None:
    text = {name: (made.unpacked(name) / "env/docker/Dockerfile").read_text() for name in VARIANTS}
    assert "ENV UV_TORCH_BACKEND=$UV_TORCH_BACKEND" in text["cpu"]
    assert "UV_TORCH_BACKEND" not in text["cuda"]
    locks = {name: pins(made.unpacked(name) / "env/python/requirements.txt") for name in VARIANTS}
    assert locks == {name: pins(ROOT / variant.requirements) for name, variant in VARIANTS.items()}


def test_the_lock_is_installed_from_wheels_alone(made: Made) -> None:
    """No compiler is in the image."""
    commands = yaml.safe_load((made.unpacked("cpu") / "bento.yaml").read_text())["image"]["commands"]
    assert not any("build-essential" in command or "gcc" in command for command in commands)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_release_made_in_the_image_can_name_the_version_of_its_code(made: Made, variant: str) -> None:
    source = made.unpacked(variant) / "src"
    code = "import sys; sys.path[:] = [sys.argv[1], *sys.path[1:]]; from importlib import metadata as m; "
    code += "d = m.distribution('lethe'); print(d.version, d.locate_file(''))"
    done = subprocess.run([sys.executable, "-S", "-P", "-c", code, source], capture_output=True, text=True, check=True)
    version, _, where = done.stdout.strip().partition(" ")
    assert (version, Path(where)) == (made.said[variant]["tag"].partition(":")[2].partition("-")[0], source)


def test_the_two_descriptions_differ_in_the_variant_alone() -> None:
    cpu, cuda = described(VARIANTS["cpu"]), described(VARIANTS["cuda"])
    assert cpu["labels"].pop("variant") != cuda["labels"].pop("variant")
    assert cpu["python"].pop("requirements_txt") != cuda["python"].pop("requirements_txt")
    names = [{item["name"] for item in one.pop("envs")} for one in (cpu, cuda)]
    assert names[0] ^ names[1] == {"UV_TORCH_BACKEND", "NVIDIA_DRIVER_CAPABILITIES"}
    assert cpu == cuda
