"""Releases on their way to an object store and back; the store is fsspec's own in memory, S3 is an integration test."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from pipelines.adapter import FILES, verify_release
from policies.errors import LetheError
from services import artefacts, keys
from services.serving.statement import Statement, read_statement, statement_path, write_statement
from tests.unit.pipelines.adapter_material import NOW, Material, make_adapter, make_material

_PLACES = itertools.count()


@dataclass
class World:
    """A host with one unlearning release and release 0, an empty host, and a place in a store."""

    material: Material
    elsewhere: Path
    url: str

    def push(self) -> artefacts.Moved:
        return artefacts.push(self.material.releases, self.url, self.material.trust)

    def fetch(self) -> artefacts.Moved:
        return artefacts.fetch(self.url, self.elsewhere, self.material.trust)

    def state(self, generation: int, at: Path | None = None) -> bool:
        """Note what was served last, on one host."""
        statement = Statement(
            base_digest=self.material.identity.base_digest,
            generation=generation,
            release_digest="d" * 64,
            watermark=frozenset(),
            at=NOW,
        )
        key = keys.load_private(self.material.home, "audit")
        return write_statement(at or self.material.releases, statement, key, self.material.trust)

    def generation(self, releases: Path) -> int | None:
        found = read_statement(releases, self.material.identity.base_digest, self.material.trust)
        return None if found is None else found.generation

    def object(self, name: str) -> str:
        return f"{self.url.removeprefix('memory:/')}/{name}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    material = make_material(tmp_path / "home")
    material.release0()
    material.seal(make_adapter(tmp_path / "adapter"))
    (tmp_path / "elsewhere").mkdir()
    yield World(material, tmp_path / "elsewhere", f"memory://bucket-{next(_PLACES)}/lethe")
    fsspec.filesystem("memory").store.clear()


def code(caught: pytest.ExceptionInfo[LetheError]) -> tuple[str, list[str]]:
    return caught.value.code, [detail.rpartition(": ")[2] for detail in caught.value.details]


def test_what_goes_there_comes_back_to_the_byte_and_once(world: World) -> None:
    world.state(3)
    names = sorted(path.name for path in world.material.releases.glob("u-*"))
    base = world.material.identity.base_digest[:16]
    assert world.push() == artefacts.Moved(tuple(names), (base,))
    assert world.push() == artefacts.Moved((), ())
    assert world.fetch() == artefacts.Moved(tuple(names), (base,))
    assert world.fetch() == artefacts.Moved((), ())
    for name in names:
        assert verify_release(world.elsewhere / name, world.material.trust).name == name
        for file in FILES:
            copy = world.elsewhere / name / file
            assert copy.read_bytes() == (world.material.releases / name / file).read_bytes()
            assert copy.stat().st_mode & 0o777 == 0o444
    assert world.generation(world.elsewhere) == 3
    assert {path.name for path in world.elsewhere.iterdir()} == {*names, f"desired-{base}.json"}


def test_a_release_that_is_still_being_sent_is_left_for_later(world: World) -> None:
    world.push()
    store = fsspec.filesystem("memory")
    name = sorted(path.name for path in world.material.releases.glob("u-*"))[0]
    content = store.cat_file(world.object(f"{name}/verdict.dsse.json"))
    store.rm_file(world.object(f"{name}/verdict.dsse.json"))
    assert name not in world.fetch().releases
    store.pipe_file(world.object(f"{name}/verdict.dsse.json"), content)
    assert world.fetch().releases == (name,)


@pytest.mark.parametrize("file", FILES)
def test_one_changed_byte_there_is_refused_here_and_the_rest_comes(world: World, file: str) -> None:
    first, second = world.push().releases
    store = fsspec.filesystem("memory")
    content = bytearray(store.cat_file(world.object(f"{first}/{file}")))
    content[len(content) // 2] ^= 1
    store.pipe_file(world.object(f"{first}/{file}"), bytes(content))
    with pytest.raises(LetheError) as caught:
        world.fetch()
    assert caught.value.code == "artefacts.refused"
    assert [detail.partition(":")[0] for detail in caught.value.details] == [first]
    assert [path.name for path in world.elsewhere.iterdir()] == [second]


def test_one_release_under_another_s_name_is_refused(world: World) -> None:
    first, second = world.push().releases
    store = fsspec.filesystem("memory")
    for file in FILES:
        store.pipe_file(world.object(f"{first}/{file}"), store.cat_file(world.object(f"{second}/{file}")))
    with pytest.raises(LetheError) as caught:
        world.fetch()
    assert code(caught) == ("artefacts.refused", ["release.digest"])


def test_what_does_not_verify_here_is_not_sent(world: World) -> None:
    good, bad = sorted(world.material.releases.glob("u-*"))
    (bad / "card.json").chmod(0o644)
    (bad / "card.json").write_text("{}")
    with pytest.raises(LetheError) as caught:
        world.push()
    assert caught.value.code == "artefacts.refused"
    assert world.fetch().releases == (good.name,)


def test_the_statement_only_rises_on_either_side(world: World, tmp_path: Path) -> None:
    world.state(5)
    world.push()
    world.state(7, world.elsewhere)
    assert world.fetch().statements == ()
    assert world.generation(world.elsewhere) == 7
    older = tmp_path / "older"
    shutil.copytree(world.material.releases, older)
    statement_path(older, world.material.identity.base_digest).unlink()
    world.state(4, older)
    assert artefacts.push(older, world.url, world.material.trust).statements == ()
    shutil.rmtree(world.elsewhere)
    world.elsewhere.mkdir()
    world.fetch()
    assert world.generation(world.elsewhere) == 5


def test_a_statement_that_somebody_changed_is_never_taken_for_none(world: World) -> None:
    world.state(5)
    world.push()
    name = statement_path(Path(), world.material.identity.base_digest).name
    fsspec.filesystem("memory").pipe_file(world.object(name), b"{}")
    for move in (world.push, world.fetch):
        with pytest.raises(LetheError) as caught:
            move()
        assert caught.value.code == "serving.statement_damaged"


def test_an_empty_place_has_nothing_and_one_that_is_none_says_so(world: World) -> None:
    assert world.fetch() == artefacts.Moved((), ())
    with pytest.raises(LetheError) as caught:
        artefacts.fetch("no-such-scheme://secret-host/x", world.elsewhere, world.material.trust)
    assert caught.value.code == "artefacts.unreachable"
    assert "secret-host" not in str(caught.value.details)
