"""vLLM's command line: what must be on it, what may not get on it, and which versions are let in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from policies.errors import LetheError
from services.serving.vllm.command import INSIDE, MODULE, vllm_command, vllm_environment
from services.serving.vllm.version import TESTED, check_version
from services.settings import VllmSettings

PLACES = {"base": Path("/b"), "dtype": "float32", "releases": Path("/r"), "socket": Path("/s/e.sock")}


def command(boot: tuple[str, Path] | None = None, **settings: object) -> tuple[str, ...]:
    made = VllmSettings.model_validate({"python": "/v/python", **settings})
    return vllm_command(made, boot=boot, **PLACES).argv  # type: ignore[arg-type]


def test_the_command_line() -> None:
    argv = command()
    assert argv[:4] == ("/v/python", "-P", str(INSIDE / "lethe_launch.py"), MODULE)
    for needed in (
        "--uds=/s/e.sock",
        "--middleware=lethe_guard.Guard",
        "--enable-lora",
        "--max-loras=2",
        "--max-cpu-loras=4",
        "--max-lora-rank=64",
        "--dtype=float32",
        "--generation-config=vllm",
    ):
        assert needed in argv
    assert not any(part.startswith(("--host", "--port", "--api-key", "--lora-modules")) for part in argv)


def test_the_base_has_another_unguessable_name_every_time() -> None:
    names = {part for _ in range(5) for part in command() if part.startswith("--served-model-name=base-")}
    assert len(names) == 5
    assert min(len(name) for name in names) > 50


def test_it_boots_with_the_released_adapter() -> None:
    argv = command(("u-1", Path("/r/u-1")))
    assert argv[-2] == "--lora-modules"
    assert json.loads(argv[-1]) == {"name": "u-1", "path": "/r/u-1"}


def test_memory_and_more_arguments() -> None:
    argv = command(max_model_len=512, kv_cache_bytes=1024, extra_args=("--enforce-eager", "--max-num-seqs=8"))
    assert {"--max-model-len=512", "--kv-cache-memory-bytes=1024", "--enforce-eager", "--max-num-seqs=8"} <= set(argv)


@pytest.mark.parametrize(
    "argument",
    [
        "--middleware=x.Y",
        "--host=0.0.0.0",
        "--port=1",
        "--served-model-name=base",
        "--lora-modules=a=b",
        "--trust-remote-code",
        "--kv-transfer-config={}",
        "--chat-template=x",
        "--enable-log-requests",
        "--config=x.yaml",
        "--enforce_eager",
        "base",
        "",
    ],
)
def test_arguments_that_are_not_on_the_list(argument: str) -> None:
    with pytest.raises(LetheError) as caught:
        command(extra_args=(argument,))
    assert caught.value.code == "settings.invalid"


def test_without_a_python_there_is_no_vllm() -> None:
    with pytest.raises(LetheError) as caught:
        command(python="")
    assert caught.value.code == "settings.invalid"


def test_the_environment_is_closed_whatever_the_caller_has_set() -> None:
    given = {
        "PATH": "/bin",
        "LETHE_KEYS__DIRECTORY": "/secret",
        "VLLM_PLUGINS": "lora_filesystem_resolver",
        "VLLM_LORA_RESOLVER_CACHE_DIR": "/tmp",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_API_KEY": "k",
        "PYTHONPATH": "/elsewhere",
        "VLLM_CACHE_ROOT": "/cache",
    }
    made = vllm_environment(Path("/r"), given)
    assert made["PATH"] == "/bin"
    assert made["VLLM_CACHE_ROOT"] == "/cache"
    assert made["VLLM_PLUGINS"] == ""
    assert made["VLLM_SERVER_DEV_MODE"] == "0"
    assert made["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert made["PYTHONPATH"] == str(INSIDE)
    assert {name for name in made if name.startswith("LETHE_")} == {"LETHE_GUARD_RELEASES"}
    assert not made.keys() & {"VLLM_API_KEY", "VLLM_LORA_RESOLVER_CACHE_DIR"}


def test_what_runs_inside_vllm_needs_nothing_but_python() -> None:
    check = (
        "import sys, lethe_guard, lethe_launch; "
        "bad = {m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names - {'lethe_guard', 'lethe_launch'}; "
        "assert not {b for b in bad if not b.startswith('_')}, bad"
    )
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(INSIDE)!r}); {check}"], check=True
    )


def test_versions() -> None:
    for version in TESTED:
        check_version(version)
        check_version(f"{version}+cu130")
    check_version("0.99.1", allowed="0.99.1")
    check_version("0.99.1+cpu", allowed="0.99.1")
    for found, allowed in (("0.31.0", ""), ("0.99.1", "0.99.2"), ("", ""), ("0.32.0rc1", ""), ("0.32", "")):
        with pytest.raises(LetheError) as caught:
            check_version(found, allowed=allowed)
        assert caught.value.code == "serving.engine_version"
