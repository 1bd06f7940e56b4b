"""vLLM's command line and environment: the one place that knows them."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from policies.errors import LetheError
from services.serving.launch import Boot, Launch
from services.serving.vllm.inside import __file__ as _inside
from services.serving.vllm.inside.lethe_guard import RELEASES_VARIABLE
from services.settings import VllmSettings

INSIDE = Path(_inside).parent
MODULE = "vllm.entrypoints.openai.api_server"  # `vllm serve` asks for a distribution that the CPU build has not

# Arguments that change speed, memory or placement, and nothing about who is answered by what.
EXTRA = frozenset(
    {
        "--async-scheduling",
        "--no-async-scheduling",
        "--attention-backend",
        "--block-size",
        "--cpu-offload-gb",
        "--cudagraph-capture-sizes",
        "--disable-custom-all-reduce",
        "--disable-log-stats",
        "--distributed-executor-backend",
        "--enable-chunked-prefill",
        "--no-enable-chunked-prefill",
        "--no-enable-prefix-caching",
        "--enforce-eager",
        "--fully-sharded-loras",
        "--max-num-batched-tokens",
        "--max-num-queued-reqs",
        "--max-num-seqs",
        "--numa-bind",
        "--performance-mode",
        "--pipeline-parallel-size",
        "--tensor-parallel-size",
    }
)

# Over whatever the caller's environment says: no plugin (a resolver loads adapters on a client's word), no routes for
# developers, no answers in the log, nothing fetched, nothing sent.
_FORCED = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_PLUGINS": "",
    "VLLM_SERVER_DEV_MODE": "0",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "0",
    "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
_DROPPED = frozenset(
    {
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "VLLM_API_KEY",
        "VLLM_LORA_RESOLVER_CACHE_DIR",
        "VLLM_LORA_RESOLVER_HF_REPO_LIST",
    }
)


def vllm_command(
    settings: VllmSettings, *, base: Path, dtype: str, releases: Path, socket: Path, boot: Boot | None
) -> Launch:
    """VLLM on a Unix socket, behind the guard, ending with its parent.

    Args:
        settings: Of vLLM.
        base: Hugging Face directory.
        dtype: The one that releases were measured in.
        releases: The only directory that adapters are loaded from.
        socket: To be created.
        boot: Name and directory of the verified release that it starts with.

    Raises:
        LetheError: ``settings.invalid``: no Python with vLLM, or an extra argument that is not on the list.
    """
    if not settings.python:
        raise LetheError("settings.invalid", "serving.vllm.python names no Python that has vLLM.")
    launcher = ("-P", str(INSIDE / "lethe_launch.py"))
    arguments = vllm_arguments(settings, base=base, dtype=dtype, socket=socket, boot=boot)
    return Launch(argv=(settings.python, *launcher, MODULE, *arguments), env=vllm_environment(releases, os.environ))


def vllm_arguments(
    settings: VllmSettings, *, base: Path, dtype: str, socket: Path, boot: Boot | None
) -> tuple[str, ...]:
    """The arguments alone, as a sidecar's container takes them after ``vllm serve``'s ``--model``."""
    refused = tuple(a for a in settings.extra_args if a.partition("=")[0] not in EXTRA)
    if refused:
        raise LetheError("settings.invalid", "serving.vllm.extra_args holds what is not on the list.", refused)
    lora = [json.dumps({"name": boot[0], "path": str(boot[1])})] if boot is not None else []
    return (
        "--model",
        str(base),
        # Nobody needs the base's name: it is asked by no one. The guard would not let it through if it were known.
        f"--served-model-name=base-{secrets.token_hex(16)}",
        f"--uds={socket}",
        "--middleware=lethe_guard.Guard",
        f"--dtype={dtype}",
        "--enable-lora",
        f"--max-loras={settings.max_loras}",
        f"--max-cpu-loras={2 * settings.max_loras}",  # weights of an unloaded adapter stay until they are displaced
        f"--max-lora-rank={settings.max_lora_rank}",
        # The base's own sampling defaults (a repetition penalty) were not on when the release was measured.
        "--generation-config=vllm",
        "--disable-fastapi-docs",
        "--disable-uvicorn-access-log",
        *_memory(settings),
        *settings.extra_args,
        *(["--lora-modules", *lora] if lora else []),
    )


def vllm_environment(releases: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without Lethe's settings, and with what must hold."""
    kept = {k: v for k, v in environ.items() if k not in _DROPPED and not k.startswith(("LETHE_", "SAGEMAKER_"))}
    return {**kept, **_FORCED, "PYTHONPATH": str(INSIDE), RELEASES_VARIABLE: str(releases.resolve())}


def _memory(settings: VllmSettings) -> list[str]:
    return [
        *([f"--max-model-len={settings.max_model_len}"] if settings.max_model_len else []),
        f"--gpu-memory-utilization={settings.gpu_memory_utilization}",
        *([f"--kv-cache-memory-bytes={settings.kv_cache_bytes}"] if settings.kv_cache_bytes else []),
    ]
