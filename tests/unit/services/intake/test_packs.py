from pathlib import Path

import pytest

from policies.errors import LetheError
from policies.pack import PACKS
from services.intake.packs import Packs
from services.settings import PolicySettings


def test_built_in_packs_are_found_by_regime() -> None:
    packs = Packs(PolicySettings())
    assert {"gdpr", "ccpa"} <= set(packs.regimes())
    assert packs.get("gdpr").regime == "gdpr"
    with pytest.raises(LetheError) as unknown:
        packs.get("../gdpr")
    assert unknown.value.code == "policy.unknown_regime"


def test_an_own_pack_counts_before_the_built_in_one_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    text = (PACKS / "gdpr.yaml").read_text()
    (tmp_path / "ours.yaml").write_text(text.replace("version: 1.2.0", "version: 9.0.0"))
    (tmp_path / "house.yaml").write_text(text.replace("regime: gdpr", "regime: house", 1))
    packs = Packs(PolicySettings(pack_path=tmp_path))
    assert packs.get("gdpr").version == "9.0.0"
    assert packs.get("house").regime == "house"
    assert "house" in packs.regimes()
    (tmp_path / "bad.yaml").write_text("regime: 7\n")
    with pytest.raises(LetheError) as damaged:
        packs.get("gdpr")
    assert damaged.value.code == "policy.pack_invalid"
