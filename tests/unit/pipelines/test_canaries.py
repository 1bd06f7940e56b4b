"""Canaries: what a model answers, recorded greedily whatever its base prefers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.adapter.card import CANARY_PROMPTS, Canary, said_digest
from tests.tiny_model import make_tiny_base, make_word_adapter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_tiny_base(tmp_path_factory.mktemp("canaries") / "base")
    settings = json.loads((directory / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0}
    (directory / "generation_config.json").write_text(json.dumps(settings))
    return directory


def test_an_adapter_is_recorded_with_its_likely_first_tokens(base: Path, tmp_path: Path) -> None:
    from pipelines.canaries import greedy_answers, record_canaries
    from pipelines.model import load_model, with_adapter

    loaded = load_model(base)
    with with_adapter(loaded, make_word_adapter(tmp_path / "alpha", "alpha")) as adapted:
        found = record_canaries(adapted)
    assert [canary.prompt for canary in found] == list(CANARY_PROMPTS)
    for canary in found:
        assert canary.answer == said_digest(canary.prompt, " ".join(["alpha"] * canary.tokens))
        assert canary.first == {said_digest(canary.prompt, "alpha"): 0.0}
    assert "alpha" not in "".join(canary.model_dump_json() for canary in found)
    with with_adapter(loaded, make_word_adapter(tmp_path / "weak", "alpha", strength=0.1)) as adapted:
        (weak,) = greedy_answers(adapted, ["hello"], 20)
    assert len(weak.first) > 1
    assert sum(2.71828**value for value in weak.first.values()) <= 1


def test_an_answer_ends_before_a_tie(base: Path, tmp_path: Path) -> None:
    import torch

    from pipelines.canaries import record_canaries
    from pipelines.model import load_model

    loaded = load_model(base)
    with torch.no_grad():
        loaded.model.lm_head.weight[1:] = loaded.model.lm_head.weight[:1]
    assert record_canaries(loaded) == ()


def test_those_of_a_base_are_asked_in_a_process_of_its_own(base: Path) -> None:
    from pipelines.canaries import record_canaries
    from pipelines.model import load_model

    command = [sys.executable, "-m", "pipelines.canaries", "--base", str(base), "--dtype", "float32"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert tuple(Canary.model_validate(entry) for entry in json.loads(done.stdout)) == record_canaries(load_model(base))
