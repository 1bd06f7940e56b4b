"""The two images: one whose torch knows the CPU only, one whose torch brings CUDA."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One build of the same code.

    Attributes:
        name: Suffix of the bento's version: ``cpu``.
        requirements: Its lock, relative to the repository.
        environment: Variables of its image beside those of bentofile.yaml.
    """

    name: str
    requirements: str
    environment: tuple[tuple[str, str], ...] = ()


# The package index itself holds torch with CUDA; uv knows where the build without it is.
CPU = Variant(name="cpu", requirements="requirements.txt", environment=(("UV_TORCH_BACKEND", "cpu"),))
CUDA = Variant(
    name="cuda",
    requirements="requirements-cuda.txt",
    environment=(("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),),
)
VARIANTS = {variant.name: variant for variant in (CPU, CUDA)}


def pins(path: Path) -> dict[str, str]:
    """A lock's packages, name to version.

    Raises:
        ValueError: A line is no exact pin.
    """
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, is_pinned, version = text.partition("==")
        if not is_pinned or not version or version.endswith("*"):
            raise ValueError(f"{path.name}: {text!r} is not pinned")
        found[name] = version
    return found
