import json
from pathlib import Path

import pytest
import torch

from pipelines.adapter.identity import model_digest
from pipelines.model import load_model, with_adapter
from policies.errors import LetheError
from tests.unit.pipelines.tiny import save_tiny


def test_the_digest_is_of_what_decides_the_answers(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path)
    before = model_digest(directory)
    (directory / "README.md").write_text("a card")
    assert model_digest(directory) == before
    config = directory / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    assert model_digest(directory) != before


def test_a_base_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path)
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(LetheError) as refused:
        load_model(directory)
    assert refused.value.code == "base.no_chat_template"


@pytest.mark.parametrize("place", ["nowhere", "empty", "broken"])
def test_what_is_no_model_is_not_found(tmp_path: Path, place: str) -> None:
    directory = tmp_path / place
    if place != "nowhere":
        directory.mkdir()
    if place == "broken":
        save_tiny(directory)
        (directory / "config.json").write_text(json.dumps({"model_type": "no such"}))
    with pytest.raises(LetheError) as refused:
        load_model(directory)
    assert refused.value.code == "base.not_found"


def test_a_model_says_how_it_runs(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path), device="cpu", dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    assert loaded.stop_ids == {loaded.tokenizer.eos_token_id}
    assert len(loaded.chat_template_digest) == 64
    with loaded.adapter_disabled() as same:
        assert same is loaded


def test_an_adapter_that_is_not_there_is_no_name_to_ask_the_hub_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft.PeftModel.from_pretrained", lambda *a, **k: pytest.fail("asked PEFT"))
    loaded = load_model(save_tiny(tmp_path), device="cpu")
    with pytest.raises(LetheError) as refused, with_adapter(loaded, "not/there"):
        pass
    assert refused.value.code == "adapter.not_loadable"


def test_an_adapter_that_does_not_load_leaves_the_base_bare(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path), device="cpu")
    for content in (None, "{}"):
        broken = tmp_path / "adapter"
        if content is not None:
            broken.mkdir()
            (broken / "adapter_config.json").write_text(content)
        with pytest.raises(LetheError) as refused, with_adapter(loaded, broken):
            pass
        assert refused.value.code == "adapter.not_loadable"
        assert not hasattr(loaded.model, "peft_config")
