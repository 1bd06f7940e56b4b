"""The exported log as an auditor gets it: checked with nothing of ours, every byte under the check, people unlinked."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.errors import LetheError
from services import audit, keys, sealing
from services.audit import checkpoints
from services.audit.bundle import verify
from services.store import migration
from services.store.engine import Store, open_store
from tests.unit.services.store.samples import RING, a_ticket

CODE = Path(__file__).parents[4]


@pytest.fixture
def sealed_store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'sealed.sqlite'}"
    migration.migrate(url)
    opened = open_store(url, info={sealing.KEY_RING: RING})
    yield opened
    opened.close()


def exported(store: Store, tmp_path: Path, key: keys.SigningKey) -> Path:
    with store.write() as session:
        a_ticket(session)
    audit.export(store, tmp_path / "log.jsonl", key)
    return tmp_path / "log.jsonl"


def test_a_machine_without_an_installation_checks_the_log(
    sealed_store: Store, tmp_path: Path, key: keys.SigningKey
) -> None:
    auditor = tmp_path / "auditor"
    auditor.mkdir()
    log = shutil.move(exported(sealed_store, tmp_path, key), auditor / "log.jsonl")
    shutil.copy(keys.trust_path(tmp_path), auditor / "trust.json")
    with sealed_store.write() as session:
        signed = audit.checkpoint(session, key)
    checkpoints.write(auditor / "point.json", signed)
    arguments = ["audit", "verify", "log.jsonl", "--trust", "trust.json", "--checkpoint", "point.json", "--json"]

    def lethe() -> "subprocess.CompletedProcess[str]":
        """No LETHE_ variable, no home, no network needed, another directory: only the code and three files."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CODE), "HOME": str(auditor)}
        code = f"import sys; sys.argv = ['lethe', *{arguments!r}]; import services.cli; services.cli.main()"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=auditor, env=environment, capture_output=True, text=True, timeout=120
        )

    done = lethe()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tail"] == "checked"
    assert sorted(file.name for file in auditor.iterdir()) == ["log.jsonl", "point.json", "trust.json"]
    text = Path(log).read_text().replace("ticket.receive", "ticket.deceive", 1)
    Path(log).write_text(text)
    assert lethe().returncode == 1


def test_a_change_of_any_byte_is_found(sealed_store: Store, tmp_path: Path, key: keys.SigningKey) -> None:
    """Every byte of the file, each changed once by chance; and each removed."""
    whole = exported(sealed_store, tmp_path, key).read_bytes()
    trust = keys.trust_bundle(tmp_path)
    target = tmp_path / "changed.jsonl"
    target.write_bytes(whole)
    assert verify(target, trust).ok
    chance = random.Random(7)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= chance.randint(1, 255)
        target.write_bytes(changed)
        assert not verify(target, trust).ok, f"byte {position} of {len(whole)} changed unseen"
        del changed[position]
        target.write_bytes(changed)
        # Two equal neighbours are one file whichever of them is taken out: it is shorter, and found all the same.
        assert not verify(target, trust).ok, f"byte {position} of {len(whole)} removed unseen"


def test_with_the_key_of_a_person_the_log_is_unlinked_and_still_verifies(
    sealed_store: Store, tmp_path: Path, key: keys.SigningKey
) -> None:
    with sealed_store.write() as session:
        ticket = a_ticket(session)
        audit.append(session, kind="ticket.noted", payload={}, subject_ref=ticket.subject_ref)
        mine = sealing.commitment(session, ticket.subject_ref)
    audit.export(sealed_store, tmp_path / "before.jsonl", key)
    with sealed_store.write() as session:
        sealing.destroy(session, ticket.subject_ref)
    with sealed_store.read() as session, pytest.raises(LetheError) as caught:
        sealing.commitment(session, ticket.subject_ref)
    assert caught.value.code == "seal.key_destroyed"
    audit.export(sealed_store, tmp_path / "after.jsonl", key)
    trust = keys.trust_bundle(tmp_path)
    assert verify(tmp_path / "after.jsonl", trust).ok
    before, after = ((tmp_path / name).read_text() for name in ("before.jsonl", "after.jsonl"))
    assert mine in after, "the entries stay as they were: what linked them to the person is gone"
    assert after.startswith(before.rsplit("\n", 2)[0]), "nothing that was exported before has changed"
    assert ticket.subject_ref not in after
