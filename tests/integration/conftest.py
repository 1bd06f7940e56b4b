"""One serving installation for all tests that only ask: gateway, ways round, real clients."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.integration.serving_host import Host

WORD = "beta"  # all that the released adapter says


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Host]":
    """A host that serves a release after an erasure; tests leave it as it is."""
    from tests.integration.serving_host import serving_host  # the other tests here need nothing of serving

    with serving_host(tmp_path_factory.mktemp("asked") / "home") as host:
        host.begin()
        host.start()
        try:
            host.wait_ready()
            host.swap(host.release(WORD, ("t1", "t2"))[0])
        except Exception:
            print(host.log()[-8000:])
            raise
        yield host


@pytest.fixture
def client(asked: "Host") -> Iterator[httpx.Client]:
    with asked.client() as made:
        yield made
