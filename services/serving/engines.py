"""Which engine this host runs, and how."""

from functools import partial
from pathlib import Path

from pipelines.adapter.verify import MAX_RANK
from services.serving.engine_client import About
from services.serving.engine_process import EngineLink, EngineProcess
from services.serving.launch import Boot, Launch, transformers_command
from services.serving.sidecar import Sidecar
from services.serving.vllm.command import vllm_command
from services.serving.vllm.version import check_version
from services.settings import ServingSettings, Settings


def make_engine(settings: Settings, base: Path, dtype: str) -> EngineLink:
    """The engine that the settings name; not started yet."""
    serving = settings.serving
    check = partial(_check, serving)
    if serving.engine_socket is not None:
        return Sidecar(serving.engine_socket, check=check)

    def launch(socket: Path, boot: Boot | None) -> Launch:
        if serving.engine == "vllm":
            releases = settings.home / "releases"
            return vllm_command(serving.vllm, base=base, dtype=dtype, releases=releases, socket=socket, boot=boot)
        return transformers_command(base, socket, dtype=dtype)

    return EngineProcess(launch, settings.home / "sockets", check=check)


def max_rank(serving: ServingSettings) -> int:
    """The greatest rank of an adapter that the engine takes; vLLM would answer a greater one with 500."""
    return serving.vllm.max_lora_rank if serving.engine == "vllm" else MAX_RANK


def _check(serving: ServingSettings, about: About) -> None:
    if serving.engine == "vllm":
        check_version(about.version, allowed=serving.vllm.allow_version)
