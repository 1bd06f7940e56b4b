"""Fixtures that cost too much to make twice."""

from pathlib import Path

import pytest

from tests.vllm_real import make_vllm_python


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Beside other tests runs only what shares nothing dear with them: files, and the users of one installation."""
    for item in items:
        shares = "asked" if "asked" in getattr(item, "fixturenames", ()) else item.path.stem + item.path.parent.name
        item.add_marker(pytest.mark.xdist_group("acceptance" if item.path.parent.name == "acceptance" else shares))


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of vLLM's own environment."""
    return make_vllm_python()
