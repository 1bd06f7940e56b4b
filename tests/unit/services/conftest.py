"""The store's contract runs on SQLite, and on PostgreSQL where TEST_POSTGRES_URL names an empty database."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import sealing
from services.store import dialect, migration
from services.store.engine import Store, open_store
from tests.unit.services.store.samples import RING

BACKENDS = ["sqlite", *(["postgresql"] if os.environ.get("TEST_POSTGRES_URL") else [])]


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lethe.sqlite'}"
        return
    url = os.environ["TEST_POSTGRES_URL"]
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
