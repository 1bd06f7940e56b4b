"""Which engine the settings name."""

from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from services.serving.engine_client import About
from services.serving.engine_process import EngineProcess
from services.serving.engines import make_engine, max_rank
from services.serving.sidecar import Sidecar
from services.settings import Settings, load_settings


def settings(tmp_path: Path, **serving: Any) -> Settings:
    return load_settings(tmp_path / "home", serving=serving)


def test_each_setting_makes_its_engine(tmp_path: Path) -> None:
    own = settings(tmp_path)
    vllm = settings(tmp_path, engine="vllm", vllm={"python": "/v/python", "max_lora_rank": 32})
    beside = settings(tmp_path, engine="vllm", engine_socket=tmp_path / "e.sock")
    assert isinstance(make_engine(own, tmp_path, "float32"), EngineProcess)
    assert isinstance(make_engine(vllm, tmp_path, "float32"), EngineProcess)
    assert isinstance(make_engine(beside, tmp_path, "float32"), Sidecar)
    assert (max_rank(own.serving), max_rank(vllm.serving)) == (256, 32)


def test_the_greatest_rank_is_one_that_vllm_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_SERVING__VLLM__MAX_LORA_RANK", "32")
    assert max_rank(settings(tmp_path, engine="vllm").serving) == 32
    with pytest.raises(LetheError) as caught:
        settings(tmp_path, vllm={"max_lora_rank": 24})
    assert caught.value.code == "settings.invalid"


def test_what_is_started(tmp_path: Path) -> None:
    socket, boot = tmp_path / "e.sock", ("u-1", tmp_path / "u-1")
    own = make_engine(settings(tmp_path), tmp_path / "base", "float32")
    assert isinstance(own, EngineProcess)
    argv = own._launch(socket, boot).argv
    assert argv[1:4] == ("-m", "services.serving.engine", "--base")
    assert argv[-2:] == ("--socket", str(socket))
    vllm = make_engine(settings(tmp_path, engine="vllm", vllm={"python": "/v/python"}), tmp_path / "base", "bfloat16")
    assert isinstance(vllm, EngineProcess)
    launch = vllm._launch(socket, boot)
    assert {f"--uds={socket}", "--dtype=bfloat16", "--lora-modules"} <= set(launch.argv)
    assert launch.env["LETHE_GUARD_RELEASES"] == str(tmp_path / "home" / "releases")


def test_only_a_tested_vllm_may_serve(tmp_path: Path) -> None:
    strict = make_engine(settings(tmp_path, engine="vllm"), tmp_path, "float32")
    with pytest.raises(LetheError) as caught:
        strict._check(About("vllm", "0.31.0"))
    assert caught.value.code == "serving.engine_version"
    strict._check(About("vllm", "0.32.0+cu130"))
    named = settings(tmp_path, engine="vllm", vllm={"allow_version": "0.31.0"})
    make_engine(named, tmp_path, "float32")._check(About("vllm", "0.31.0"))
    make_engine(settings(tmp_path), tmp_path, "float32")._check(About("transformers", "5.0"))
