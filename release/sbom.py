"""``python -m release.sbom``: the software bill of materials of a variant, in CycloneDX 1.6, the same every time."""

import argparse
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.bento import epoch, project_version
from release.licences import NOT_READ, UNKNOWN, Licensed, licences
from release.variants import ROOT, VARIANTS, Variant

LICENCE = "Apache-2.0"


def sbom(variant: Variant) -> str:
    """The bill as JSON, checked against CycloneDX's own schema.

    Raises:
        RuntimeError: It does not hold to the schema.
    """
    lock = ROOT / variant.requirements
    house = Component(
        name="lethe",
        version=f"{project_version()}-{variant.name}",
        type=ComponentType.APPLICATION,
        licenses=[LicenseFactory().make_from_string(LICENCE)],
        bom_ref="lethe",
    )
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, hashlib.sha256(lock.read_bytes()).hexdigest() + variant.name),
        metadata=BomMetaData(component=house, timestamp=datetime.fromtimestamp(epoch(), UTC)),
    )
    parts = {one.name: _component(one) for one in licences(lock)}
    bom.components.update(parts.values())
    needed = {name: [parts[other] for other in _needs(name) if other in parts] for name in parts}
    inner = {other.name for others in needed.values() for other in others}
    bom.register_dependency(house, [part for name, part in parts.items() if name not in inner])
    for name, others in needed.items():
        bom.register_dependency(parts[name], others)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise RuntimeError(f"the SBOM breaks its schema: {fault}")
    return text + "\n"


def _component(one: Licensed) -> Component:
    purl = PackageURL("pypi", name=one.name, version=one.version)
    make = LicenseFactory()
    stated = [] if one.licence in {NOT_READ, UNKNOWN} else [one.licence]
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[make.make_from_string(text) if one.is_spdx else make.make_with_name(text) for text in stated],
    )


def _needs(name: str) -> Iterator[str]:
    """What a package needs without extras, as it declares."""
    try:
        declared = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in declared:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def main() -> None:
    """Writes one file a variant."""
    parser = argparse.ArgumentParser(description="Software bill of materials (CycloneDX 1.6).")
    parser.add_argument("--variant", action="append", choices=sorted(VARIANTS), help="default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.variant or sorted(VARIANTS):
        path = asked.out / f"lethe-{project_version()}-{name}.cdx.json"
        path.write_text(sbom(VARIANTS[name]), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
