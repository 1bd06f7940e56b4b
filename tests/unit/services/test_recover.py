"""``lethe recover``: a store restored from an older backup is made to say again what was served last."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from pipelines.adapter import Trust, base_identity, content_digest, import_base
from policies.errors import LetheError
from services import keys
from services.commands import recover as command
from services.installation import Installation, create_installation
from services.recover import Found, look, recover
from services.serving.memory import Memory
from services.serving.statement import Statement, statement_path, write_statement
from services.settings import load_settings
from services.store.engine import Store
from services.store.releases import add_release, get_desired, init_desired, list_releases, report_replica
from services.store.tables import AuditEntryRow, DesiredState, Release
from services.store.types import utc_now
from tests.unit.pipelines.adapter_material import Material, accepted, make_adapter, make_base


class House:
    """An installation whose release 0 is stored; later releases are sealed, and stored where a test says so."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.store: Store = installation.open_store(with_keys=False)
        settings = installation.settings
        base = make_base(installation.path("bases", "b"))
        self.material = Material(
            home=settings.home,
            base=base,
            releases=installation.path("releases"),
            identity=base_identity(base),
            trust=Trust.from_file(keys.trust_path(settings)),
            adapter_key=keys.load_private(settings, "adapter"),
            verdict_key=keys.load_private(settings, "verdict"),
        )
        self.base = self.material.identity.base_digest
        self.zero = self.add(
            import_base(
                base,
                self.material.releases,
                self.material.identity,
                adapter_key=self.material.adapter_key,
                verdict_key=self.material.verdict_key,
                now=utc_now() + timedelta(milliseconds=1),
                rank=2,
            )
        )
        with self.store.write() as session:
            init_desired(session, session.get_one(Release, self.zero), actor="t")

    def seal(self, *watermark: str) -> str:
        """A signed release in the artefact store that the store does not know."""
        at = (utc_now() + timedelta(milliseconds=1)).isoformat()
        adapter = make_adapter(self.material.home / "runs" / f"a{len(watermark)}")
        card = self.material.card(watermark, created_at=at)
        return content_digest(self.material.seal(adapter, card, accepted(decided_at=at)))

    def add(self, path: Path) -> str:
        digest = content_digest(path)
        with self.store.write() as session:
            add_release(
                session, digest=digest, base_digest=self.base, path=str(path), watermark=(), verdict={}, actor="t"
            )
        return digest

    def state(self, generation: int, digest: str, *watermark: str) -> None:
        """Somebody swapped: the signed statement says so, the store has forgotten it."""
        settings = self.installation.settings
        statement = Statement(
            base_digest=self.base,
            generation=generation,
            release_digest=digest,
            watermark=frozenset(watermark),
            at=utc_now(),
        )
        write_statement(self.material.releases, statement, keys.load_private(settings, "audit"), self.material.trust)

    def remember(self, replica: str, generation: int, digest: str, *watermark: str) -> None:
        memory = Memory(self.installation.home / "serving" / replica, self.base)
        memory.write(memory.read().raised(generation, digest, frozenset(watermark)))

    def desired(self) -> DesiredState:
        with self.store.read() as session:
            return get_desired(session, self.base)

    def look(self) -> Found:
        [found] = look(self.installation, self.store)
        return found

    def recover(self) -> Found:
        [found] = recover(self.installation, self.store, actor="t")
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(create_installation(load_settings(tmp_path / "home")))
    yield made
    made.store.close()


def test_generation_release_and_watermark_come_back_from_the_statement_and_the_signed_release(house: House) -> None:
    one, two = house.seal("t-1"), house.seal("t-1", "t-2")
    house.state(2, two, "t-1", "t-2")
    found = house.look()
    assert (found.stored, found.generation, found.release_digest, found.by) == (0, 2, two, "statement")
    assert (found.unknown, found.behind) == (("t-1", "t-2"), True)
    assert set(found.releases) == {one, two}
    assert house.desired().generation == 0  # looking changes nothing
    house.recover()
    state = house.desired()
    assert (state.generation, state.release_digest, state.watermark) == (2, two, ["t-1", "t-2"])
    with house.store.read() as session:
        assert {release.digest for release in list_releases(session)} == {house.zero, one, two}
        [entry] = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "store.recovered"))
    said = json.loads(entry.payload)
    assert (said["from_generation"], said["generation"], said["unknown"]) == (0, 2, ["t-1", "t-2"])
    assert house.recover().behind is False  # again: nothing to do, and no second entry
    with house.store.read() as session:
        assert len(list(session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "store.recovered")))) == 1


def test_what_a_replica_remembers_counts_where_the_statement_is_older(house: House) -> None:
    one, two = house.seal("t-1"), house.seal("t-1", "t-2")
    house.state(1, one, "t-1")
    house.remember("serving-0", 2, two, "t-1", "t-2")
    assert house.look().by == "serving-0"
    house.recover()
    state = house.desired()
    assert (state.generation, state.release_digest) == (2, two)
    assert house.look().by == "statement"  # it knows as much by now


def test_two_histories_of_one_generation_are_settled_by_the_next(house: House) -> None:
    """After the restore somebody swapped: generation 1 means two releases, so neither may stay."""
    one, two = house.seal("t-1"), house.seal("t-1", "t-2")
    house.state(1, one, "t-1")
    house.remember("serving-0", 1, two, "t-1", "t-2")
    house.recover()
    state = house.desired()
    assert (state.generation, state.release_digest, state.watermark) == (2, one, ["t-1", "t-2"])
    assert house.look().behind is False


def test_nothing_is_lowered(house: House) -> None:
    one = house.seal("t-1")
    house.state(1, one, "t-1")
    house.recover()
    with house.store.write() as session:
        state = session.get_one(DesiredState, house.base)
        state.generation, state.watermark = 5, ["t-1", "t-9"]
    found = house.recover()
    assert (found.generation, found.behind) == (5, False)
    assert (house.desired().generation, house.desired().watermark) == (5, ["t-1", "t-9"])


def test_a_swap_that_is_committed_while_it_looks_is_not_lowered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one = house.seal("t-1")
    house.state(1, one, "t-1")
    seen = look(house.installation, house.store)
    house.recover()
    with house.store.write() as session:
        state = session.get_one(DesiredState, house.base)
        state.generation, state.watermark = 7, ["t-1", "t-9"]
    monkeypatch.setattr("services.recover.look", lambda *_: seen)
    house.recover()
    assert (house.desired().generation, house.desired().watermark) == (7, ["t-1", "t-9"])


def test_the_rules_get_a_version_that_no_replica_has_applied_yet(house: House) -> None:
    one = house.seal("t-1")
    house.state(1, one, "t-1")
    said: dict[str, Any] = {
        "base_digest": house.base,
        "state": "ready",
        "generation": 1,
        "release_digest": one,
        "lease_s": 9.0,
    }
    with house.store.write() as session:
        report_replica(session, "serving-0", **said, suppression_version=9)  # of the store that was lost
    house.recover()
    assert house.desired().suppression_version == 10


def test_a_release_that_is_not_signed_is_not_taken_in(house: House) -> None:
    one, two = house.seal("t-1"), house.seal("t-1", "t-2")
    path = house.material.releases / f"u-{two[:16]}" / "card.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"t-2", b"t-3"))
    house.state(2, two, "t-1", "t-2")
    with pytest.raises(LetheError, match=r"recover\.unsigned"):
        house.recover()
    assert house.desired().generation == 0
    house.state(3, one, "t-1")
    assert house.recover().releases == (one,)


@pytest.mark.parametrize("what", ["statement", "memory"])
def test_a_damaged_source_is_never_taken_for_none(house: House, what: str) -> None:
    one = house.seal("t-1")
    house.state(1, one, "t-1")
    house.remember("serving-0", 1, one, "t-1")
    memory = house.installation.home / "serving" / "serving-0" / f"{house.base[:16]}.json"
    target = statement_path(house.material.releases, house.base) if what == "statement" else memory
    target.write_bytes(target.read_bytes()[:-5])
    with pytest.raises(LetheError, match=rf"serving\.{what}_damaged"):
        house.look()


def test_without_any_source_there_is_nothing_to_recover_from(house: House) -> None:
    with pytest.raises(LetheError, match=r"recover\.nothing"):
        house.look()


def test_the_command_says_what_it_found_and_changes_it_only_with_yes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_HOME", str(house.installation.home))
    two = house.seal("t-1", "t-2")
    house.state(2, two, "t-1", "t-2")
    runner = CliRunner()
    told = runner.invoke(command.app, [])
    assert "knows generation 2" in told.stdout
    assert "ticket t-1 is erased, and the store does not know it" in told.stdout
    assert "--yes does it" in told.stdout
    assert house.desired().generation == 0
    said = json.loads(runner.invoke(command.app, ["--yes", "--json"]).stdout)
    assert (said["applied"], said["bases"][0]["generation"]) == (True, 2)
    assert house.desired().generation == 2
    assert "nothing is behind" in runner.invoke(command.app, []).stdout
