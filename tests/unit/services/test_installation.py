import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from policies.errors import LetheError
from services import auth, sealing
from services.installation import create_installation, full_disk_named, hold_role, migrate, open_installation
from services.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path / "home")


def test_an_installation_is_made_once_and_making_it_again_changes_nothing(settings: Settings) -> None:
    calls: list[Settings] = []
    installation = create_installation(settings, also=calls.append)
    files = {p: p.read_bytes() for p in settings.key_directory.iterdir() if p.name != ".lock"}
    assert create_installation(settings).home == settings.home
    assert {p: p.read_bytes() for p in settings.key_directory.iterdir() if p.name != ".lock"} == files
    assert calls == [settings]
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert stat.S_IMODE(installation.operator_key_path.stat().st_mode) == 0o600
    assert installation.path("runs", "r-1") == settings.home / "runs" / "r-1"
    store = open_installation(settings).open_store()
    with store.read() as session:
        token = installation.operator_key_path.read_text().strip()
        assert auth.authenticate(session, token).scopes == frozenset(auth.OPERATOR_SCOPES)
        assert len(auth.list_keys(session)) == 1
    store.close()


def test_new_keys_are_never_made_for_a_database_that_has_some(settings: Settings) -> None:
    create_installation(settings)
    settings.kek_path.unlink()
    with pytest.raises(LetheError) as refused:
        create_installation(settings)
    assert refused.value.code == "installation.incomplete"
    assert not settings.kek_path.exists()


def test_an_installation_from_before_gets_the_key_of_the_rules(settings: Settings) -> None:
    create_installation(settings)
    path = settings.key_directory / "suppression"
    path.unlink()
    create_installation(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sealing.load_suppression_key(settings) == sealing.load_key_ring(settings).suppression
    for damaged in ("", "lethe-key/1:AAAA", "another file"):
        path.write_text(damaged)
        with pytest.raises(LetheError) as refused:
            sealing.load_suppression_key(settings)
        assert (refused.value.code, len(refused.value.details)) == ("installation.incomplete", 1)


def test_no_installation_is_said_so(settings: Settings) -> None:
    with pytest.raises(LetheError) as missing:
        open_installation(settings)
    assert missing.value.code == "store.missing"
    settings.home.mkdir()
    with pytest.raises(LetheError) as empty:
        open_installation(settings).open_store(with_keys=False)
    assert empty.value.code == "store.missing"


def test_a_second_process_of_a_role_is_told_whom_to_stop(settings: Settings) -> None:
    create_installation(settings)
    held = hold_role(settings, "unlearning")
    assert held is not None
    script = (
        "import sys; from services.settings import load_settings; from services.installation import hold_role\n"
        "from policies.errors import LetheError\n"
        "try: hold_role(load_settings(sys.argv[1]), 'unlearning')\n"
        "except LetheError as error: print(error.code, error.details)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(settings.home)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("store.locked")
    assert f'"pid": {os.getpid()}' in done.stdout
    other = hold_role(settings, "intake")  # another role is free
    assert other is not None
    other.release()
    held.release()
    again = hold_role(settings, "unlearning")
    assert again is not None
    again.release()


def test_many_hosts_need_no_lock_file(tmp_path: Path) -> None:
    assert hold_role(load_settings(tmp_path, store={"url": "postgresql+psycopg://db/lethe"}), "intake") is None


def test_the_migration_step_brings_every_schema_up(settings: Settings) -> None:
    done: list[str] = []
    settings.home.mkdir(parents=True)
    migrate(settings, also=lambda s: done.append(s.jobs_url))
    assert done == [f"sqlite:///{settings.home}/dbos.sqlite"]


def test_a_full_disk_has_its_code_and_other_faults_keep_theirs() -> None:
    with pytest.raises(LetheError) as full, full_disk_named():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.code == "storage.full"
    with pytest.raises(PermissionError), full_disk_named():
        raise PermissionError(errno.EACCES, "no")
