"""The store's contract runs on SQLite and on PostgreSQL, which is started for it."""

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.generate import generate
from services import client, sealing
from services.corpus_index import open_index
from services.installation import Installation, create_installation
from services.intake.app import create_app
from services.settings import load_settings
from services.store import dialect, migration
from services.store.engine import Store, open_store
from services.store.releases import add_release, init_desired
from tests.postgres import postgres_server
from tests.unit.services import place as places
from tests.unit.services.fake_fleet import FakeFleet
from tests.unit.services.store.samples import RING


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An empty database of a server that is ended with the tests."""
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lethe.sqlite'}"
        return
    url = request.getfixturevalue("postgres_url")
    yield url
    engine = dialect.make_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    migration.migrate(store_url)
    opened = open_store(store_url, info={sealing.KEY_RING: RING})
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten invented people: the first eight have no namesakes, the last two share a household."""
    directory = tmp_path_factory.mktemp("corpus")
    generate(directory, people=10, seed=3)
    return directory


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A home with an index and a release 0, copied for every test; nobody works in it."""
    home = tmp_path_factory.mktemp("template") / "home"
    installation = create_installation(load_settings(home, corpus={"path": str(corpus)}))
    store = installation.open_store()
    open_index(installation, store).close()
    with store.write() as session:
        release = add_release(
            session,
            digest=places.RELEASE_0,
            base_digest=places.BASE,
            path="",
            watermark=(),
            verdict={"kind": "release0"},
            actor="system:test",
        )
        init_desired(session, release, actor="system:test")
    store.scrub()
    store.close()
    return home


@pytest.fixture
def make_place(template: Path, corpus: Path, tmp_path: Path) -> Iterator[Callable[..., places.Place]]:
    """Makes the place of a test, with whole groups of settings changed where it asks for it."""
    stores: list[Store] = []
    fleets: list[FakeFleet] = []

    def make(**groups: Any) -> places.Place:
        home = tmp_path / "home"
        shutil.copytree(template, home)
        settings = load_settings(home, **{"corpus": {"path": str(corpus)}, **groups})
        installation = Installation(settings)
        stores.append(installation.open_store())
        made = places.Place(installation, stores[-1], places.people_of(Path(settings.corpus.path)))
        fleets.append(made.fleet)
        return made

    yield make
    for fleet in fleets:
        fleet.close()
    for opened in stores:
        opened.close()


@pytest.fixture
def place(make_place: Callable[..., places.Place]) -> places.Place:
    return make_place()


@pytest.fixture
def house(place: places.Place, monkeypatch: pytest.MonkeyPatch) -> places.Place:
    """``place`` as the command line sees it: its intake answers without a network."""
    app = create_app(place.installation.settings, open_store=lambda: place.store)
    inside = places.Inside(app)
    monkeypatch.setattr(client, "ServiceClient", functools.partial(client.ServiceClient, transport=inside))
    monkeypatch.setenv("LETHE_HOME", str(place.installation.home))
    monkeypatch.setenv("LETHE_CORPUS__PATH", place.installation.settings.corpus.path)
    return place
