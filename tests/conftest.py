"""Fixtures that cost too much to make twice."""

from pathlib import Path

import pytest

from tests.vllm_real import make_vllm_python


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Beside other tests runs only what shares nothing dear with them: files, and the users of one installation."""
    for item in items:
        shares = "asked" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("asked" if shares else item.path.stem + item.path.parent.name))


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of vLLM's own environment."""
    return make_vllm_python()
