"""The real serving service with the synthetic source of chunks as its engine: ``bentoml serve`` of this module."""

import os
import sys
from pathlib import Path
from typing import Any

from services.serving import service
from services.serving.engine_process import EngineProcess
from services.serving.launch import Launch
from services.settings import Settings


def _engine(settings: Settings, *_: Any) -> EngineProcess:
    def launch(socket: Path, _: object) -> Launch:
        return Launch(argv=(sys.executable, "-m", "benchmarks.stub_engine", "--socket", str(socket)), env=os.environ)

    return EngineProcess(launch, settings.home / "sockets")


vars(service)["make_engine"] = _engine
Serving = service.Serving
