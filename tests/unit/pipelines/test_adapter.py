import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.adapter import FILES, SignedVerdict, Trust, content_digest, release_name, verify_release
from pipelines.adapter.weights import base_linear_shapes
from policies.errors import LetheError
from policies.thresholds import FLOOR, Thresholds
from services import keys
from tests.unit.pipelines.adapter_material import Material, accepted, make_adapter, make_material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def release(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.seal(make_adapter(tmp_path_factory.mktemp("adapter")))


def verify(material: Material, path: Path, **arguments: Any) -> Any:
    given = {
        "base": material.identity,
        "floor": FLOOR,
        "required_watermark": ("t1",),
        "base_shapes": base_linear_shapes(material.base),
        **arguments,
    }
    return verify_release(path, material.trust, **given)


def refusal(material: Material, path: Path, **arguments: Any) -> str:
    with pytest.raises(LetheError) as caught:
        verify(material, path, **arguments)
    return caught.value.code


def copy(release: Path, target: Path) -> Path:
    shutil.copytree(release, target)
    for file in target.iterdir():
        file.chmod(0o644)
    return target


def test_a_sealed_release_verifies_and_is_named_by_its_content(material: Material, release: Path) -> None:
    found = verify(material, release)
    assert release.name == found.name == release_name(content_digest(release))
    assert found.watermark == {"t1", "t2"}
    assert found.verdict.metrics["kfr"]["samples"] == 80
    assert {file.name for file in release.iterdir()} == set(FILES)


def test_sealing_the_same_content_twice_keeps_the_first(material: Material, release: Path, tmp_path: Path) -> None:
    before = (release / "verdict.dsse.json").read_bytes()
    assert material.seal(make_adapter(tmp_path)) == release
    assert (release / "verdict.dsse.json").read_bytes() == before
    assert not list(release.parent.glob(".sealing-*"))


def test_release_0_is_zero_and_carries_nothing(material: Material) -> None:
    path = material.release0()
    found = verify(material, path, required_watermark=())
    assert found.card.kind == "release0"
    assert found.watermark == frozenset()
    assert refusal(material, path) == "release.watermark"


def test_a_release_0_that_changes_the_model_is_refused(material: Material, tmp_path: Path) -> None:
    path = material.seal(
        make_adapter(tmp_path), material.card((), kind="release0"), accepted(kind="release0", thresholds=None)
    )
    assert refusal(material, path, required_watermark=()) == "release.verdict"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_changed_is_refused(material: Material, release: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    original = (release / name).read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = copy(release, release.parent.parent / "damaged")
    try:
        changed = bytearray(original)
        changed[position] ^= flip
        (damaged / name).write_bytes(bytes(changed))
        assert refusal(material, damaged) in {"release.digest", "release.signature", "release.unknown_key"}
    finally:
        shutil.rmtree(damaged)


@pytest.mark.parametrize("name", FILES)
def test_every_byte_of_the_end_and_cut_tails_are_refused(
    material: Material, release: Path, tmp_path: Path, name: str
) -> None:
    damaged = copy(release, tmp_path / "damaged")
    original = (release / name).read_bytes()
    for changed in (original[:-1], original + b" ", original + b"\n", b""):
        (damaged / name).write_bytes(changed)
        assert refusal(material, damaged) in {"release.digest", "release.signature"}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: (d / "model.sig").unlink(), "release.files"),
        (lambda d: (d / "verdict.dsse.json").unlink(), "release.files"),
        (lambda d: (d / "notes.txt").write_text("x"), "release.files"),
        (lambda d: (d / ".gitignore").write_text("x"), "release.files"),
        (lambda d: (d / "adapter_model.bin").write_bytes(b"x"), "release.pickle"),
        (lambda d: (d / "sub").mkdir(), "release.files"),
        (
            lambda d: ((d / "card.json").rename(d.parent / "c"), (d / "card.json").symlink_to(d.parent / "c")),
            "release.files",
        ),
        (lambda d: shutil.rmtree(d), "release.not_found"),
    ],
)
def test_files(material: Material, release: Path, tmp_path: Path, damage: Callable[[Path], Any], code: str) -> None:
    damaged = copy(release, tmp_path / "damaged")
    damage(damaged)
    assert refusal(material, damaged) == code


def test_a_verdict_of_another_release_is_refused(material: Material, release: Path, tmp_path: Path) -> None:
    other = copy(material.seal(make_adapter(tmp_path / "a"), material.card(("t1",))), tmp_path / "other")
    shutil.copyfile(release / "verdict.dsse.json", other / "verdict.dsse.json")
    assert refusal(material, other) == "release.digest"


def test_foreign_keys_are_refused(material: Material, tmp_path: Path) -> None:
    foreign = make_material(tmp_path / "foreign")
    adapter = make_adapter(tmp_path / "a")
    by_adapter = material.seal(adapter, material.card(("t1", "t3")), adapter_key=foreign.adapter_key)
    by_verdict = material.seal(adapter, material.card(("t1", "t4")), verdict_key=foreign.verdict_key)
    swapped = material.seal(adapter, material.card(("t1", "t5")), verdict_key=material.adapter_key)
    assert refusal(material, by_adapter) == "release.unknown_key"
    assert refusal(material, by_verdict) == "release.unknown_key"
    assert refusal(material, swapped) == "release.unknown_key"


def test_a_key_counts_only_for_its_life(material: Material, tmp_path: Path) -> None:
    path = material.seal(make_adapter(tmp_path), material.card(created_at="2020-01-01T00:00:00+00:00"))
    assert refusal(material, path) == "release.key_retired"


@pytest.mark.parametrize("field", ["base_digest", "tokenizer_digest", "chat_template_digest", "dtype", "quantisation"])
def test_another_base_is_refused(material: Material, tmp_path: Path, field: str) -> None:
    changes: dict[str, Any] = {field: "other"}
    path = material.seal(make_adapter(tmp_path), material.card(**changes))
    assert refusal(material, path) == "release.wrong_base"


def test_verdicts_below_the_floor_are_refused(material: Material, tmp_path: Path) -> None:
    card = material.card(seed=11)
    path = material.seal(make_adapter(tmp_path), card, accepted(thresholds=Thresholds(kfr_min=0.5)))
    assert refusal(material, path) == "release.below_floor"
    assert verify(material, path, floor=None).verdict.thresholds.kfr_min == 0.5


def test_a_verdict_from_before_there_were_attacks_passes_only_a_floor_that_demands_none(
    material: Material, tmp_path: Path
) -> None:
    old = json.loads(accepted().model_dump_json())
    for name in [name for name in old["thresholds"] if "attack" in name or "over_control" in name]:
        del old["thresholds"][name]
    path = material.seal(
        make_adapter(tmp_path), material.card(seed=12), SignedVerdict.model_validate_json(json.dumps(old))
    )
    assert verify(material, path).verdict.thresholds.attack_tier_min == -1
    assert refusal(material, path, floor=FLOOR.model_copy(update={"attack_tier_min": 0})) == "release.below_floor"


def test_only_accepted_verdicts_are_sealed(material: Material, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as caught:
        material.seal(make_adapter(tmp_path), verdict=accepted(outcome="rejected"))
    assert caught.value.code == "release.verdict"


NAN = np.full((2, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("adapter", "code"),
    [
        ({"q_proj__lora_A": NAN}, "release.non_finite"),
        ({"q_proj__lora_A": np.full((2, 8), np.inf, np.float16)}, "release.non_finite"),
        ({"q_proj__lora_A": np.ones((3, 8), np.float32)}, "release.rank"),
        ({"q_proj__lora_A": np.ones((2, 7), np.float32)}, "release.shape"),
        ({"q_proj__lora_A": np.ones((2, 8), np.int32)}, "release.weights"),
        ({"config": {"r": 300}}, "release.rank"),
        ({"config": {"use_dora": True}}, "release.config"),
        ({"config": {"modules_to_save": ["lm_head"]}}, "release.config"),
        ({"config": {"peft_type": "IA3"}}, "release.config"),
    ],
)
def test_bad_weights(material: Material, tmp_path: Path, adapter: dict[str, Any], code: str) -> None:
    assert refusal(material, material.seal(make_adapter(tmp_path, **adapter))) == code


def test_weights_that_are_not_safetensors(material: Material, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    (adapter / "adapter_model.safetensors").write_bytes(b"\x80\x04pickled")
    assert refusal(material, material.seal(adapter)) == "release.weights"


def test_another_digest_than_the_one_asked_for(material: Material, release: Path) -> None:
    assert refusal(material, release, expected_digest="0" * 64) == "release.digest"


def test_a_damaged_trust_bundle(tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text(json.dumps({"format": "other", "keys": []}))
    with pytest.raises(LetheError) as caught:
        Trust.from_file(tmp_path / "trust.json")
    assert caught.value.code == "release.trust"


def test_a_rotated_key_still_verifies_what_it_signed(material: Material, release: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    shutil.copytree(material.home / "keys", tmp_path / "keys")
    keys.rotate(tmp_path, "verdict", now=datetime(2031, 1, 1, tzinfo=UTC))
    trust = Trust.from_file(keys.trust_path(tmp_path))
    assert verify_release(release, trust).name == release.name
