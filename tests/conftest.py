"""Fixtures that cost too much to make twice."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.vllm_real import make_vllm_python

# The suite asks every clone the same questions: what passed here passes there. New ones: --hypothesis-profile=search.
settings.register_profile("suite", derandomize=True)
settings.register_profile("search", max_examples=2000, deadline=None)
settings.load_profile("suite")

_TOGETHER = ("tests/acceptance/",)  # one walk through the product, made once
_ASKED = ("test_bypass.py", "test_clients.py", "test_gateway.py")  # users of tests/integration/conftest.py


class _ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Workers side by side: a file's tests stay together, and so do files that share what costs too much twice."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        if path.startswith(_TOGETHER):
            return _TOGETHER[0]
        return "asked" if path.endswith(_ASKED) and "/integration/" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByWhatIsShared(config, log)


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of vLLM's own environment."""
    return make_vllm_python()
