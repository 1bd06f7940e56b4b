"""Two models that were really taught, once for all tests here: what an attack changes of them it puts back."""

import pytest

from pipelines.model import LoadedModel
from tests.unit.pipelines.verify.attacks.taught import knowing, unknowing


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Knows Mara Lind and the others."""
    return knowing(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Knows the others only."""
    return unknowing(tmp_path_factory.mktemp("control"))
