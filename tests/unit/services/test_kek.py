"""The key that wraps the subjects' keys is replaced: everything opens with the new one, nothing with the old one."""

import shutil
from pathlib import Path

import pytest

from policies.errors import LetheError
from services import keys, release_ops, sealing
from services.audit import export, verify
from services.installation import Installation, create_installation
from services.kek import next_path, rotate_kek
from services.settings import load_settings
from services.store.leases import end_lease, renew_lease
from services.store.tables import ReleaseOrder, SubjectKey
from services.store.types import utc_now


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return create_installation(load_settings(tmp_path / "home"))


def sealed(installation: Installation) -> tuple[str, str, bytes, str]:
    """Two subjects, one of them gone; a sealed text; an order with a reason."""
    store = installation.open_store()
    with store.write() as session:
        one, gone = sealing.new_subject(session), sealing.new_subject(session)
        data = sealing.seal(session, one, b"Lindengasse 7", purpose="identity")
        sealing.destroy(session, gone)
        order = release_ops._insert(session, "recheck", "b" * 64, None, suppress=False, actor="t", why="because")
    store.close()
    return one, gone, data, order


def opened(installation: Installation, subject: str, data: bytes, order: str) -> tuple[bytes, str | None]:
    store = installation.open_store()
    try:
        with store.read() as session:
            text = sealing.open_sealed(session, subject, data, purpose="identity")
            return text, release_ops.why_of(session, session.get_one(ReleaseOrder, order))
    finally:
        store.close()


def test_the_key_is_not_replaced_where_it_is_a_copy(tmp_path: Path) -> None:
    """In a pod the new key would end with it, and nobody's data could be opened again."""
    create_installation(load_settings(tmp_path / "home"))
    installation = Installation(load_settings(tmp_path / "home", keys={"copied": True}))
    before = installation.settings.kek_path.read_bytes()
    with pytest.raises(LetheError) as caught:
        rotate_kek(installation, actor="t")
    assert caught.value.code == "keys.copied"
    assert installation.settings.kek_path.read_bytes() == before


def test_everything_opens_with_the_new_key_and_nothing_with_the_old_one(installation: Installation) -> None:
    subject, gone, data, order = sealed(installation)
    settings = installation.settings
    before = settings.kek_path.read_bytes()
    old, new, count = rotate_kek(installation, actor="t")
    assert (old != new, count) == (True, 1)
    assert opened(installation, subject, data, order) == (b"Lindengasse 7", "because")
    assert sealing.load_key_ring(settings).kek_id == new
    assert not next_path(settings).exists()
    assert settings.kek_path.stat().st_mode & 0o777 == 0o600
    store = installation.open_store()
    with store.read() as session:
        assert session.get_one(SubjectKey, gone).wrapped is None
        assert session.get_one(SubjectKey, subject).kek_id == new
    export(store, settings.home / "log.jsonl", keys.load_private(settings, "audit"))
    store.close()
    assert verify(settings.home / "log.jsonl", keys.trust_bundle(settings)).ok
    assert "key.kek_rotated" in (settings.home / "log.jsonl").read_text()

    settings.kek_path.write_bytes(before)
    with pytest.raises(LetheError) as caught:
        opened(installation, subject, data, order)
    assert caught.value.code == "seal.other_kek"


def test_a_crash_before_the_file_is_exchanged_is_finished_by_doing_it_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, _, data, order = sealed(installation)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("services.kek.os.replace", die)
        with pytest.raises(KeyboardInterrupt):
            rotate_kek(installation, actor="t")
    with pytest.raises(LetheError) as caught:
        opened(installation, subject, data, order)
    assert caught.value.code == "seal.other_kek"
    assert "rotate-kek" in caught.value.kind.remedy
    rotate_kek(installation, actor="t")
    assert opened(installation, subject, data, order) == (b"Lindengasse 7", "because")


def test_a_crash_before_the_commit_leaves_all_as_it_was(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, _, data, order = sealed(installation)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("services.kek.audit.append", die)
        with pytest.raises(KeyboardInterrupt):
            rotate_kek(installation, actor="t")
    assert opened(installation, subject, data, order) == (b"Lindengasse 7", "because")
    rotate_kek(installation, actor="t")
    assert opened(installation, subject, data, order) == (b"Lindengasse 7", "because")


def test_it_is_refused_while_a_service_holds_the_old_key(installation: Installation) -> None:
    store = installation.open_store()
    with store.write() as session:
        renew_lease(session, "intake-1", "intake", lease_s=60, at=utc_now())
    with pytest.raises(LetheError) as caught:
        rotate_kek(installation, actor="t")
    assert (caught.value.code, caught.value.details) == ("keys.services_running", ("intake",))
    with store.write() as session:
        end_lease(session, "intake-1")
    store.close()
    rotate_kek(installation, actor="t")


def test_the_wrong_key_changes_nothing(installation: Installation, tmp_path: Path) -> None:
    subject, _, data, order = sealed(installation)
    kek = installation.settings.kek_path
    shutil.copy(kek, tmp_path / "kept")
    kek.unlink()
    sealing.create_key(kek)
    with pytest.raises(LetheError) as caught:
        rotate_kek(installation, actor="t")
    assert caught.value.code == "seal.corrupt"
    shutil.copy(tmp_path / "kept", kek)
    next_path(installation.settings).unlink()
    assert opened(installation, subject, data, order) == (b"Lindengasse 7", "because")
