"""Rules for an image, checked on the Dockerfile that ``bentoml containerize`` uses and on the files beside it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release.archive import files_of
from release.variants import pins

_SECRET_NAME = re.compile(r"(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|PRIVATE|API_?KEY|_KEY$)", re.IGNORECASE)
_SECRET_FILE = re.compile(r"(^|/)(\.env|kek|operator\.key|id_[a-z0-9]+|.*\.(pem|key|p12|pfx|sqlite))$")
_SECRET_TEXT = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_DATA_FILE = re.compile(r"\.(jsonl|csv|parquet|arrow|safetensors|bin|pt|gguf)$")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_INSTALL = re.compile(r"(?:command -v (?P<guard>\S+) >/dev/null \|\| )?(?:uv (?:\S+ )*)?pip install (?P<rest>[^;&|]*)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """The instructions in order, without comments."""
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    found = []
    for line in joined.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            found.append(Instruction(name.upper(), rest.strip()))
    return found


def check_containerfile(text: str) -> list[str]:
    """Every rule that the Dockerfile breaks; empty where it breaks none."""
    found = instructions(text)
    return [*_base(found), *_user(found), *_secrets(found), *_network(found), *_packages(found), *_entrypoint(found)]


def check_context(tree: Path) -> list[str]:
    """What lies in a bento and has no place in an image: secrets, data, tests, unpinned packages."""
    faults = []
    for path in files_of(tree):
        name = path.relative_to(tree).as_posix()
        if _SECRET_FILE.search(name) or _SECRET_TEXT.search(path.read_bytes()):
            faults.append(f"secret: {name}")
        elif _DATA_FILE.search(name):
            faults.append(f"data: {name}")
        elif re.search(r"(^|/)(tests|benchmarks|docs|\.git|__pycache__)/|(^|/)test_", name):
            faults.append(f"not needed to run: {name}")
    try:
        pins(tree / "env" / "python" / "requirements.txt")
    except ValueError as error:
        faults.append(f"unpinned: {error}")
    return faults


def _base(found: list[Instruction]) -> Iterator[str]:
    stages: set[str] = set()
    for image, _, stage in (i.rest.partition(" AS ") for i in found if i.name == "FROM"):
        if image not in stages and not _DIGEST.search(image):
            yield f"base image without a digest: {image}"
        stages.add(stage)
    if not stages:
        yield "no base image"


def _user(found: list[Instruction]) -> Iterator[str]:
    users = [i.rest.partition(":")[0] for i in found if i.name == "USER"]
    if not users or users[-1] in {"root", "0"}:
        yield "runs as root"


def _secrets(found: list[Instruction]) -> Iterator[str]:
    for instruction in found:
        if instruction.name in {"ENV", "ARG"}:
            for name in re.findall(r"(?:^|\s)([A-Za-z_]\w*)(?==|$)", instruction.rest):
                if _SECRET_NAME.search(name):
                    yield f"secret in the image: {name}"


def _network(found: list[Instruction]) -> Iterator[str]:
    for instruction in found:
        if instruction.name == "ADD" and "://" in instruction.rest:
            yield f"fetched without a digest: {instruction.rest}"
        if instruction.name == "RUN" and re.search(r"\b(curl|wget)\b[^|]*\|", instruction.rest):
            yield "runs what it fetches"
        if instruction.name == "RUN" and re.search(r"chmod (-R )?[0-7]*7[0-7]*7\b|\bsudo\b", instruction.rest):
            yield f"too many rights: {instruction.rest}"


def _packages(found: list[Instruction]) -> Iterator[str]:
    """Whatever pip installs by name has a version; a guard counts if what it asks for was installed before."""
    installed: set[str] = set()
    for instruction in (i for i in found if i.name == "RUN"):
        for match in _INSTALL.finditer(instruction.rest):
            words = match["rest"].split()
            after_file = {place + 1 for place, word in enumerate(words) if word in {"-r", "-c", "--requirement"}}
            for place, word in enumerate(words):
                name, pinned, _ = word.strip("'\"").partition("==")
                if word.startswith("-") or place in after_file:
                    continue
                if pinned:
                    installed.add(name)
                elif not (match["guard"] == name and name in installed):
                    yield f"unpinned package: {name}"


def _entrypoint(found: list[Instruction]) -> Iterator[str]:
    points = [i.rest for i in found if i.name == "ENTRYPOINT"]
    try:
        if not isinstance(json.loads(points[-1] if points else ""), list):
            yield "entry point in a shell"
    except ValueError:
        yield "no entry point, or one in a shell that takes no signals"
