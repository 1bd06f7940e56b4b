"""Fixtures that cost too much to make twice."""

from pathlib import Path

import pytest

from tests.vllm_real import make_vllm_python


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of vLLM's own environment."""
    return make_vllm_python()
