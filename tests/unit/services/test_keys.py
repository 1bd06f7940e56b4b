import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from policies.errors import LetheError
from services import keys

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_ensure_makes_one_key_a_purpose_and_is_idempotent(tmp_path: Path) -> None:
    first = keys.ensure(tmp_path, now=NOW)
    assert [key.purpose for key in first.keys] == ["audit", "adapter", "verdict"]
    assert keys.ensure(tmp_path, now=NOW) == first == keys.trust_bundle(tmp_path)


def test_private_files_are_closed_to_others_and_the_public_file_holds_no_private_key(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    assert stat.S_IMODE(keys.keys_dir(tmp_path).stat().st_mode) == 0o700
    for path in keys.keys_dir(tmp_path).glob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in keys.trust_path(tmp_path).read_text()


@pytest.mark.parametrize(
    ("purpose", "kind"),
    [
        ("audit", ed25519.Ed25519PrivateKey),
        ("adapter", ec.EllipticCurvePrivateKey),
        ("verdict", ed25519.Ed25519PrivateKey),
    ],
)
def test_sign_and_verify(tmp_path: Path, purpose: keys.Purpose, kind: type) -> None:
    keys.ensure(tmp_path)
    private = keys.load_private(tmp_path, purpose)
    assert isinstance(private.key, kind)
    assert private.path.exists()
    trusted = keys.trust_bundle(tmp_path).find(private.id, purpose)
    assert trusted is not None
    signature = private.sign(b"message")
    assert keys.signature_holds(trusted.load(), signature, b"message")
    assert not keys.signature_holds(trusted.load(), signature, b"messagf")
    assert not keys.signature_holds(trusted.load(), "no base64", b"message")


def test_a_key_is_trusted_for_its_own_purpose_only(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    bundle = keys.trust_bundle(tmp_path)
    assert bundle.find(keys.load_private(tmp_path, "audit").id, "verdict") is None


def test_rotation_keeps_the_old_public_key_and_its_end(tmp_path: Path) -> None:
    keys.ensure(tmp_path, now=NOW)
    old = keys.load_private(tmp_path, "audit")
    new = keys.rotate(tmp_path, "audit", now=NOW + timedelta(days=1))
    bundle = keys.trust_bundle(tmp_path)
    retired = bundle.find(old.id, "audit")
    assert retired is not None
    assert not old.path.exists()
    assert bundle.current("audit") == new
    assert keys.load_private(tmp_path, "audit").id == new.id
    assert retired.valid_at((NOW + timedelta(hours=1)).isoformat())
    assert not retired.valid_at((NOW + timedelta(days=2)).isoformat())
    assert not new.valid_at(NOW.isoformat())
    assert new.valid_at((NOW + timedelta(days=2)).isoformat())


def test_refuses_a_private_key_that_others_can_read(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    keys.load_private(tmp_path, "audit").path.chmod(0o640)
    with pytest.raises(LetheError) as caught:
        keys.load_private(tmp_path, "audit")
    assert caught.value.code == "keys.permissions"


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(LetheError, match=r"keys\.missing"):
        keys.trust_bundle(tmp_path)
    with pytest.raises(LetheError, match=r"keys\.missing"):
        keys.load_private(tmp_path, "audit")
    keys.ensure(tmp_path)
    keys.load_private(tmp_path, "audit").path.unlink()
    with pytest.raises(LetheError, match=r"keys\.missing"):
        keys.load_private(tmp_path, "audit")


def test_a_swapped_key_is_found(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    audit, verdict = keys.load_private(tmp_path, "audit"), keys.load_private(tmp_path, "verdict")
    os.replace(verdict.path, audit.path)
    with pytest.raises(LetheError, match=r"keys\.malformed"):
        keys.load_private(tmp_path, "audit")

    data = json.loads(keys.trust_path(tmp_path).read_text())
    data["keys"][0]["public_key"] = data["keys"][2]["public_key"]
    keys.trust_path(tmp_path).write_text(json.dumps(data))
    with pytest.raises(LetheError, match=r"keys\.malformed"):
        keys.trust_bundle(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other", "keys": []}', '{"format": "lethe-trust/1", "keys": [{}]}']
)
def test_a_damaged_bundle_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(text)
    with pytest.raises(LetheError, match=r"keys\.malformed"):
        keys.load_trust(path)


def test_two_processes_at_once_make_one_set(tmp_path: Path) -> None:
    threads = [threading.Thread(target=keys.ensure, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys.trust_bundle(tmp_path).keys) == 3
    assert len(list(keys.keys_dir(tmp_path).glob("*.pem"))) == 3
