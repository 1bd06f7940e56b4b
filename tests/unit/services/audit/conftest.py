from collections.abc import Iterator
from pathlib import Path

import pytest

from services import keys
from services.store import dialect
from services.store.engine import Store
from services.store.tables import Base


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(dialect.make_engine(f"sqlite:///{tmp_path / 'lethe.sqlite'}"))
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def trust(tmp_path: Path) -> keys.TrustBundle:
    return keys.ensure(tmp_path)


@pytest.fixture
def key(tmp_path: Path, trust: keys.TrustBundle) -> keys.SigningKey:
    return keys.load_private(tmp_path, "audit")
