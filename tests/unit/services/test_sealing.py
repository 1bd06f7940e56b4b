import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from policies.errors import LetheError
from services import sealing
from services.settings import load_settings
from services.store import migration
from services.store.engine import Store, open_store
from services.store.tables import AuditEntryRow, LookupHash, SealedIdentity, SubjectKey
from tests.unit.services.store.samples import NOW, RING


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path_factory.mktemp('sealing') / 'lethe.sqlite'}"
    migration.migrate(url)
    opened = open_store(url, info={sealing.KEY_RING: RING})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def subjects(store: Store) -> tuple[str, str]:
    with store.write() as session:
        return sealing.new_subject(session), sealing.new_subject(session)


def code_of(store: Store, subject: str, sealed: bytes, purpose: str = "identity") -> str:
    with pytest.raises(LetheError) as refused, store.read() as session:
        sealing.open_sealed(session, subject, sealed, purpose=purpose)
    return refused.value.code


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), flip=st.integers(min_value=0), bit=st.integers(0, 7))
def test_what_was_sealed_opens_unless_any_bit_was_changed(
    store: Store, subjects: tuple[str, str], data: bytes, flip: int, bit: int
) -> None:
    subject, other = subjects
    with store.read() as session:
        sealed = sealing.seal(session, subject, data, purpose="identity")
        assert sealing.open_sealed(session, subject, sealed, purpose="identity") == data
        assert sealing.seal(session, subject, data, purpose="identity") != sealed
    changed = bytearray(sealed)
    changed[flip % len(sealed)] ^= 1 << bit
    assert code_of(store, subject, bytes(changed)) == "seal.corrupt"
    assert code_of(store, subject, sealed[: flip % len(sealed)]) == "seal.corrupt"
    assert code_of(store, other, sealed) == "seal.corrupt"
    assert code_of(store, subject, sealed, purpose="reason") == "seal.corrupt"


def test_a_destroyed_key_opens_nothing_and_leaves_no_link(store: Store) -> None:
    with store.write() as session:
        subject = sealing.new_subject(session)
        sealed = sealing.seal(session, subject, b"mara@example.org", purpose="identity")
        session.add(SealedIdentity(subject_ref=subject, ciphertext=sealed, created_at=NOW))
        session.add(LookupHash(kind="email", hash=RING.lookup_hash("email", "m"), subject_ref=subject))
        session.flush()
        before = sealing.commitment(session, subject)
        wrapped = session.get_one(SubjectKey, subject).wrapped
    assert wrapped is not None
    with store.write() as session:
        sealing.destroy(session, subject, at=NOW)
        sealing.destroy(session, subject, at=NOW)  # twice is once
    store.scrub()
    with store.read() as session:
        assert session.get(SealedIdentity, subject) is None
        assert session.scalar(select(func.count()).select_from(LookupHash)) == 0
        row = session.get_one(SubjectKey, subject)
        assert (row.wrapped, row.destroyed_at) == (None, NOW)
        entries = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "subject.key_destroyed")).all()
        assert [entry.subject_commitment for entry in entries] == [before]
    assert code_of(store, subject, sealed) == "seal.key_destroyed"
    database = Path(str(store.engine.url.database))
    for file in database.parent.glob("lethe.sqlite*"):
        assert wrapped not in file.read_bytes()  # nor in the write-ahead log


def test_a_commitment_is_steady_for_a_subject_and_tells_nothing_of_another(
    store: Store, subjects: tuple[str, str]
) -> None:
    with store.read() as session:
        first = sealing.commitment(session, subjects[0])
        assert first == sealing.commitment(session, subjects[0])
        assert first != sealing.commitment(session, subjects[1])
        assert len(first) == 64


def test_without_the_key_outside_the_database_nothing_opens(store: Store, subjects: tuple[str, str]) -> None:
    other = sealing.KeyRing(kek=b"x" * 32, lookup=RING.lookup, digest=RING.digest, suppression=RING.suppression)
    with store.read() as session:
        sealed = sealing.seal(session, subjects[0], b"data", purpose="identity")
        session.info[sealing.KEY_RING] = other
        with pytest.raises(LetheError) as wrong:
            sealing.open_sealed(session, subjects[0], sealed, purpose="identity")
        assert wrong.value.code == "seal.other_kek"
        session.info.clear()
        with pytest.raises(LetheError) as none:
            sealing.commitment(session, subjects[0])
        assert none.value.code == "installation.incomplete"


def test_an_unknown_subject_has_its_code(store: Store) -> None:
    assert code_of(store, "s-none", b"LS1" + bytes(40)) == "seal.subject_unknown"


def test_look_up_hashes_and_digests_have_keys_of_their_own() -> None:
    assert RING.lookup_hash("email", "a") == RING.lookup_hash("email", "a")
    assert RING.lookup_hash("email", "a") != RING.lookup_hash("phone", "a")
    assert RING.lookup_hash("email", "a") != RING.keyed_digest(b"email\0a")
    assert "kkkk" not in repr(RING)


def test_key_files_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    chosen = load_settings(tmp_path / "home", keys={"kek_path": tmp_path / "elsewhere" / "kek"})
    rings: list[sealing.KeyRing] = []
    threads = [threading.Thread(target=lambda: rings.append(sealing.create_key_ring(chosen))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rings) == 8
    assert len(set(rings)) == 1
    assert sealing.load_key_ring(chosen) == rings[0]
    assert len({rings[0].kek, rings[0].lookup, rings[0].digest}) == 3
    paths = sealing.key_paths(chosen)
    assert paths["kek"] == tmp_path / "elsewhere" / "kek"
    for path in paths.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_missing_or_damaged_key_files_are_all_named(tmp_path: Path) -> None:
    chosen = load_settings(tmp_path)
    sealing.create_key_ring(chosen)
    sealing.key_paths(chosen)["kek"].unlink()
    sealing.key_paths(chosen)["digest"].write_text("lethe-key/1:AAAA")
    with pytest.raises(LetheError) as refused:
        sealing.load_key_ring(chosen)
    assert refused.value.code == "installation.incomplete"
    assert [detail.split(":")[0] for detail in refused.value.details] == ["kek", "digest"]
