"""The installations that chaos reigns in: one for the quick part, one for each store with ``make chaos``."""

from collections.abc import Iterator

import pytest

from tests.chaos.stage import Stage, stage
from tests.postgres import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("quick")) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    url = request.getfixturevalue("server").url if request.param == "postgresql" else ""
    with stage(tmp_path_factory.mktemp(request.param), url, people=220) as made:
        yield made
