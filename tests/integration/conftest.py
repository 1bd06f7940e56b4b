"""One serving installation with each engine, for all tests that only ask: ways round, real clients, the protocol."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.vllm_real import vllm_environment

if TYPE_CHECKING:
    from tests.integration.serving_host import Host

WORD = "beta"  # all that the released adapter says


@pytest.fixture(scope="session", params=["transformers", "vllm"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Host"]:
    """A host that serves a release after an erasure; tests leave it as it is."""
    from tests.integration.serving_host import serving_host  # the other tests here need nothing of serving

    home = tmp_path_factory.mktemp("asked")
    vllm = request.param == "vllm"
    environment = vllm_environment(request.getfixturevalue("vllm_python")) if vllm else {}
    with serving_host(home / "home") as host:
        host.begin()
        host.start(**environment)
        try:
            host.wait_ready(600)  # vLLM takes half a minute where nothing else runs
            host.swap(host.release(WORD, ("t1", "t2"))[0])
        except Exception:
            print(host.log()[-8000:])
            raise
        yield host


@pytest.fixture
def client(asked: "Host") -> Iterator[httpx.Client]:
    with asked.client() as made:
        yield made
