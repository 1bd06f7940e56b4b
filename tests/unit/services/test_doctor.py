import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from services import jobs
from services.doctor import Finding, examine
from services.settings import Settings, load_settings
from services.store.engine import Store
from services.store.leases import renew_lease
from services.store.tables import DesiredState
from services.store.tickets import get_ticket
from services.store.types import utc_now
from tests.unit.services.place import BASE, Place


def looked(settings: Settings) -> dict[str, Finding]:
    return {one.check: one for one in examine(settings)}


def healthy(place: Place) -> Settings:
    settings = place.installation.settings
    jobs.migrate(settings)
    for role in ("intake", "unlearning"):
        with place.store.write() as session:
            renew_lease(session, f"{role}-1", role, lease_s=60)
    place.serve()
    return settings


def test_a_whole_installation_has_no_fault(place: Place) -> None:
    found = looked(healthy(place))
    assert {one.check for one in found.values() if one.state == "fail"} == set()
    assert {one.check for one in found.values() if one.state == "warn"} <= {"wrapping key", "disk"}
    assert found["intake workers"].found == "1 alive"
    assert found["clocks"].state == "ok"
    assert "generation 0, engine fake" in next(one.found for name, one in found.items() if name.startswith("replicas"))


def test_no_installation_is_told_first_and_alone(tmp_path: Path) -> None:
    [only] = examine(load_settings(tmp_path / "nowhere"))
    assert (only.check, only.state, only.remedy) == ("home", "fail", "Run lethe init.")


def test_every_disk_is_looked_at_and_links_are_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod releases and runs lie on disks of their own, behind the small one of the home directory."""
    home = place.installation.settings.home
    elsewhere = home.parent / "mnt"
    (elsewhere / "work").mkdir(parents=True)
    for name in ("runs", "reports"):
        shutil.rmtree(home / name)
        (home / name).symlink_to(elsewhere / "work")
    full = {elsewhere / "work"}
    monkeypatch.setattr("services.doctor._device", lambda path: int(path.resolve() in full))
    free = lambda path: SimpleNamespace(free=2**20 if Path(path).resolve() in full else 2**40)  # noqa: E731
    monkeypatch.setattr("services.doctor.shutil.disk_usage", free)
    found = {name: one for name, one in looked(place.installation.settings).items() if name.startswith("disk")}
    assert {name: one.state for name, one in found.items()} == {"disk": "ok", "disk of reports, runs": "warn"}
    assert "Free disk space" in found["disk of reports, runs"].remedy


def test_a_key_that_is_gone_or_open_to_others_is_named(place: Place) -> None:
    settings = healthy(place)
    pem = sorted(settings.key_directory.glob("*.pem"))[0]
    os.chmod(pem, 0o644)
    settings.kek_path.unlink()
    found = looked(settings)
    assert found["key files"].state == "fail"
    assert pem.name in found["key files"].found
    assert found["sealing keys"].state == "fail"
    assert "installation.incomplete" in found["sealing keys"].found
    assert found["store"].state == "ok"  # what does not need the key is looked at all the same


def test_a_store_that_cannot_be_opened_ends_what_needs_it(place: Place) -> None:
    given = healthy(place)
    settings = given.model_copy(update={"store": given.store.model_copy(update={"url": GONE})})
    found = looked(settings)
    assert found["store"].state == "fail"
    assert "store.unreachable" in found["store"].found
    assert "clocks" not in found


GONE = "postgresql+psycopg://lethe@/lethe?host=/nowhere-at-all"


def test_jobs_without_their_database_are_found(place: Place) -> None:
    settings = place.installation.settings
    assert "jobs.migration_needed" in looked(settings)["jobs"].found
    Path(settings.home / "dbos.sqlite").touch()
    assert "jobs.migration_needed" in looked(settings)["jobs"].found
    jobs.migrate(settings)
    assert looked(settings)["jobs"].state == "ok"


@pytest.mark.parametrize(
    ("days", "state", "told"), [(-1, "fail", "1 overdue"), (3, "warn", "1 due soon"), (30, "ok", "none overdue")]
)
def test_dates_are_counted(place: Place, days: int, state: str, told: str) -> None:
    ticket_id = place.ready()
    with place.store.write() as session:
        get_ticket(session, ticket_id).due_at = utc_now() + timedelta(days=days)
    dates = looked(place.installation.settings)["dates"]
    assert dates.state == state
    assert told in dates.found


def test_a_clock_that_is_wrong_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "now", lambda _: utc_now() + timedelta(seconds=90))
    clocks = looked(healthy(place))["clocks"]
    assert clocks.state == "fail"
    assert "90" in clocks.found


def test_a_replica_that_is_behind_is_found(place: Place) -> None:
    settings = healthy(place)
    place.fleet.close()
    with place.store.write() as session:
        session.get_one(DesiredState, BASE).generation = 9
    found = next(one for name, one in looked(settings).items() if name.startswith("replicas"))
    assert (found.state, found.found) == ("fail", "1 of 1 behind")


def test_the_command_says_it_in_words_and_by_its_exit_status(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from services.cli import app

    settings = healthy(place)
    nowhere = load_settings(tmp_path / "nowhere")
    monkeypatch.setattr("services.settings.load_settings", lambda: settings)
    told = CliRunner().invoke(app, ["doctor", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["healthy"]
    monkeypatch.setattr("services.settings.load_settings", lambda: nowhere)
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "FAIL  home: there is no installation here" in shown.output
