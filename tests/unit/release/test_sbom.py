import json

import pytest

from release.sbom import LICENCE, sbom
from release.variants import ROOT, VARIANTS, pins


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_the_bill_names_every_package_of_the_lock_and_what_needs_what(name: str) -> None:
    variant = VARIANTS[name]
    bill = json.loads(sbom(variant))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["name"]: part["version"] for part in bill["components"]} == pins(ROOT / variant.requirements)
    needs = {one["ref"]: set(one.get("dependsOn", ())) for one in bill["dependencies"]}
    named = {part["name"]: part["bom-ref"] for part in bill["components"]}
    assert named["safetensors"] in needs[named["peft"]]
    assert named["peft"] in needs["lethe"]
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": LICENCE}}]


def test_the_bill_is_the_same_every_time() -> None:
    assert sbom(VARIANTS["cpu"]) == sbom(VARIANTS["cpu"])
