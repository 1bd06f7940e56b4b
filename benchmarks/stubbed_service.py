"""The real serving service with the synthetic source of chunks as its engine: ``bentoml serve`` of this module."""

import sys
from typing import Any

from services.serving import service


def _command(*_: Any, **__: Any) -> list[str]:
    return [sys.executable, "-m", "benchmarks.stub_engine"]


vars(service)["transformers_command"] = _command
Serving = service.Serving
