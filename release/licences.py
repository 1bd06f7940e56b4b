"""``python -m release.licences``: what every package of a lock is licensed under, as the package itself declares."""

import argparse
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cyclonedx.spdx import fixup_id, is_expression

from release.variants import ROOT, VARIANTS, pins

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Packages whose metadata says nothing that has a name: read in the licence file that lies in the package.
_READ = {"cel-python": "Apache-2.0", "sigstore-models": "MIT"}
# Would bind whoever passes the image on, or forbids to.
REFUSED = re.compile(r"(?<![A-Z])(A?GPL|SSPL|BUSL|Elastic|Commons[- ]Clause|CC-BY-NC)", re.IGNORECASE)
UNKNOWN = "not declared"
NOT_READ = "not read: not installed where this list was made"


@dataclass(frozen=True, slots=True)
class Licensed:
    """A package with its licence.

    Attributes:
        name: As in the lock.
        version: As in the lock.
        licence: SPDX expression; else the name that the package gives; else ``UNKNOWN`` or ``NOT_READ``.
        is_spdx: Whether it is an SPDX expression.
    """

    name: str
    version: str
    licence: str
    is_spdx: bool

    @property
    def refused(self) -> bool:
        """Whether it may not be in an image; unknown ones may not either."""
        choices = re.split(r"\s+OR\s+", self.licence)
        return self.licence == UNKNOWN or all(REFUSED.search(choice) for choice in choices)


def licences(lock: Path) -> list[Licensed]:
    """Every package of a lock, in its order."""
    return [Licensed(name, version, *_licence(name)) for name, version in pins(lock).items()]


def _licence(name: str) -> tuple[str, bool]:
    try:
        declared = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return NOT_READ, False
    expression, field = ((declared.get_all(name) or [""])[0].strip() for name in ("License-Expression", "License"))
    classifiers = [c.rpartition(" :: ")[2] for c in declared.get_all("Classifier") or [] if c.startswith("License ::")]
    known = [_CLASSIFIERS[c] for c in classifiers if c in _CLASSIFIERS]
    for text in (expression, field, " OR ".join(sorted(known)), _READ.get(name, "")):
        spdx = fixup_id(text) or (text if text and is_expression(text) else None)
        if spdx:
            return spdx, True
    return (field if field and "\n" not in field else next(iter(classifiers), UNKNOWN)), False


def table(found: list[Licensed]) -> str:
    """A Markdown table."""
    lines = ["| package | version | licence |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {one.name} | {one.version} | {one.licence} |" for one in found)]) + "\n"


def main() -> None:
    """Prints the table; ends with 1 where a licence is refused or unknown."""
    parser = argparse.ArgumentParser(description="Licences of every package of an image.")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="cpu")
    found = licences(ROOT / VARIANTS[parser.parse_args().variant].requirements)
    print(table(found), end="")
    refused = [f"{one.name}: {one.licence}" for one in found if one.refused]
    if refused:
        raise SystemExit("refused: " + "; ".join(refused))


if __name__ == "__main__":
    main()
