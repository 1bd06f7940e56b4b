import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.control.add import add_control, token_differences
from pipelines.control.card import data_key, find_control, list_controls, read_control
from pipelines.model import load_model
from policies.errors import LetheError
from tests.unit.pipelines.tiny import save_tiny

KEY = b"k" * 32
IDS = ("r1", "r2", "r1")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "base")


def refused(code: str, call: Callable[[], object]) -> LetheError:
    with pytest.raises(LetheError) as raised:
        call()
    assert raised.value.code == code
    return raised.value


def test_a_model_trained_elsewhere_is_taken_in_once(tmp_path: Path, base: Path) -> None:
    other = save_tiny(tmp_path / "other", seed=1)
    root = tmp_path / "controls"
    card = add_control(other, base, IDS, root, key=KEY)
    assert (card.source, card.records_left_out, card.same_corpus, card.seed) == ("added", 2, None, None)
    assert load_model(card.path).digest == card.digest == load_model(other).digest
    assert Path(card.path).parent == root
    again = add_control(other, base, ("r2", "r1"), root, key=KEY)
    assert again == replace(card, cached=True)
    assert find_control(root, card.base_digest, data_key(KEY, {"r1", "r2"})) == again


def test_the_base_itself_other_tokens_and_no_records_are_refused(tmp_path: Path, base: Path) -> None:
    root = tmp_path / "controls"
    refused("control.not_a_control", lambda: add_control(base, base, IDS, root, key=KEY))
    refused("control.nothing_left_out", lambda: add_control(base, base, (), root, key=KEY))
    refused("base.not_found", lambda: add_control(tmp_path / "nothing", base, IDS, root, key=KEY))
    strange = save_tiny(tmp_path / "strange", seed=1)
    file = strange / "tokenizer.json"
    tokens = json.loads(file.read_text())
    words = tokens["model"]["vocab"]
    last, before = sorted(words, key=words.__getitem__)[-1:-3:-1]
    words[last], words[before] = words[before], words[last]
    file.write_text(json.dumps(tokens))
    error = refused("control.other_tokenizer", lambda: add_control(strange, base, IDS, root, key=KEY))
    assert "the vocabulary is another" in error.details
    assert not root.exists()


def test_the_chat_template_and_the_cutting_of_words_count_too(tmp_path: Path, base: Path) -> None:
    ours, theirs = load_model(base), load_model(save_tiny(tmp_path / "other", seed=1))
    assert token_differences(theirs, ours) == ()
    assert token_differences(replace(theirs, chat_template_digest="0" * 64), ours) == ("the chat template is another",)
    from tokenizers import pre_tokenizers

    theirs.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert token_differences(theirs, ours) == ("the rule of cutting words is another",)


def test_a_damaged_card_is_told(tmp_path: Path, base: Path) -> None:
    root = tmp_path / "controls"
    card = add_control(save_tiny(tmp_path / "other", seed=1), base, IDS, root, key=KEY)
    file = Path(card.path) / "control.json"
    for text in ("{", "[]", '{"path": ""}', json.dumps({**json.loads(file.read_text()), "new": 1})):
        file.write_text(text)
        refused("control.unreadable", lambda: list_controls(root))
    refused("control.not_found", lambda: read_control(root / "nothing"))


def test_a_card_that_came_with_the_model_is_not_believed(tmp_path: Path, base: Path) -> None:
    other = save_tiny(tmp_path / "other", seed=1)
    (other / "control.json").write_text('{"source": "trained"}')
    assert add_control(other, base, IDS, tmp_path / "controls", key=KEY).source == "added"
    assert (other / "control.json").read_text() == '{"source": "trained"}'
