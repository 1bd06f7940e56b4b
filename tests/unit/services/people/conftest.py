from collections.abc import Iterator
from pathlib import Path

import pytest

from services import sealing
from services.store import migration
from services.store.engine import Store, open_store
from tests.unit.services.people.desk import People
from tests.unit.services.store.samples import RING


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("people") / "lethe.sqlite"
    migration.migrate(f"sqlite:///{path}")
    opened = open_store(f"sqlite:///{path}", info={sealing.KEY_RING: RING})
    yield opened
    opened.close()


@pytest.fixture
def people(store: Store) -> People:
    return People(store)
