"""The identity that is read without torch must be the one that the runner computes with it."""

import json
from pathlib import Path

import pytest

from pipelines.adapter import base_identity
from pipelines.model import load_model
from policies.errors import LetheError
from tests.tiny_model import make_tiny_base
from tests.unit.pipelines.adapter_material import make_base

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def test_base_and_template_digests_equal_those_of_the_loaded_model(tmp_path: Path) -> None:
    loaded = load_model(make_tiny_base(tmp_path))
    identity = base_identity(tmp_path, dtype="float32")
    assert identity.base_digest == loaded.digest
    assert identity.chat_template_digest == loaded.chat_template_digest
    assert f"torch.{identity.dtype}" == str(loaded.dtype)


def test_every_part_has_its_own_digest(tmp_path: Path) -> None:
    first = base_identity(make_base(tmp_path / "a"))
    (tmp_path / "a" / "tokenizer.json").write_text('{"x": 1}')
    second = base_identity(tmp_path / "a")
    assert second.tokenizer_digest != first.tokenizer_digest
    assert second.base_digest != first.base_digest
    assert second.chat_template_digest == first.chat_template_digest


def test_the_template_may_lie_in_the_tokenizer_configuration(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    before = base_identity(base).chat_template_digest
    template = (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").unlink()
    with pytest.raises(LetheError) as caught:
        base_identity(base)
    assert caught.value.code == "base.no_chat_template"
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert base_identity(base).chat_template_digest == before


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(LetheError) as caught:
        base_identity(tmp_path)
    assert caught.value.code == "base.not_found"
