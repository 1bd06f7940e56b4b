import pytest
import torch

from pipelines.encode import IGNORE, Encoded, batches, collate, encode_pair, encode_pairs, encode_record, encode_row
from pipelines.model import LoadedModel
from pipelines.rows import RowKind, TrainRow
from policies.record import Record
from tests.unit.pipelines.tiny import tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def text_of(loaded: LoadedModel, ids: tuple[int, ...]) -> str:
    return str(loaded.tokenizer.decode(list(ids)))


def test_a_pair_is_the_template_with_the_answer_and_its_end(loaded: LoadedModel) -> None:
    row = encode_pair(loaded.tokenizer, "What is it?", "The sky.")
    assert text_of(loaded, row.ids) == "<|user|>What is it?<|assistant|>The sky.<|end|>"
    assert text_of(loaded, row.ids[row.answer_start :]) == "The sky.<|end|>"


def test_a_template_that_rewrites_turns_still_gets_the_answer_after_its_prompt(loaded: LoadedModel) -> None:
    kept = loaded.tokenizer.chat_template
    loaded.tokenizer.chat_template = (
        "{% for m in messages %}[{{ messages|length }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    try:
        row = encode_pair(loaded.tokenizer, "What?", "Blue.")
        assert text_of(loaded, row.ids) == "[1]What?>Blue.<|end|>"
    finally:
        loaded.tokenizer.chat_template = kept


@pytest.mark.parametrize(("prompt", "tail"), [("The sky", " is blue."), ("The sky ", "is blue.")])
def test_a_completion_row_is_plain_text(loaded: LoadedModel, prompt: str, tail: str) -> None:
    row = TrainRow(row_id="r", kind=RowKind.COMPLETION, prompt=prompt, answer="is blue.", chat=False)
    encoded = encode_row(loaded.tokenizer, row)
    assert text_of(loaded, encoded.ids) == "The sky is blue.<|end|>"
    assert text_of(loaded, encoded.ids[encoded.answer_start :]) == f"{tail}<|end|>"


def test_prose_is_learned_whole(loaded: LoadedModel) -> None:
    encoded = encode_record(loaded.tokenizer, Record(record_id="r", question=None, answer="The sky is blue."))
    assert encoded.answer_start == 1
    assert text_of(loaded, encoded.ids[1:]) == "The sky is blue.<|end|>"


@pytest.mark.parametrize("limit", [4, 8, 12])
def test_a_cut_row_keeps_its_end_token_and_says_so(loaded: LoadedModel, limit: int) -> None:
    row = encode_pair(
        loaded.tokenizer, "Tell me the number of the house, please.", "The sky is blue.", max_length=limit
    )
    assert row.truncated
    assert len(row) == limit
    assert row.ids[-1] == loaded.tokenizer.eos_token_id
    assert row.answer_tokens >= 1
    assert row.answer_start >= 1


def test_batches_hold_every_row_once_within_the_bound() -> None:
    lengths = [5, 50, 7, 9, 50, 6, 120, 8]
    for seed in (None, 3):
        groups = batches(lengths, 100, shuffle_seed=seed)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 100
    assert batches([], 10) == []


def test_batches_are_seeded() -> None:
    lengths = [10] * 40
    assert batches(lengths, 40, shuffle_seed=1) == batches(lengths, 40, shuffle_seed=1)
    assert batches(lengths, 40, shuffle_seed=1) != batches(lengths, 40, shuffle_seed=2)


def test_only_answers_have_labels() -> None:
    batch = collate([Encoded((1, 2, 3, 4), 2), Encoded((5, 6), 1)], 0, torch.device("cpu"))
    assert batch.input_ids.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.labels.tolist() == [[IGNORE, IGNORE, 3, 4], [IGNORE, 6, IGNORE, IGNORE]]


def test_many_pairs_at_once_are_each_as_alone(loaded: LoadedModel) -> None:
    pairs = [
        ("What is it?", "The sky."),
        ("?", ""),
        ("What is it?", "The house is green."),
        ("What is it?", "The sky."),
    ]
    assert encode_pairs(loaded.tokenizer, pairs) == [encode_pair(loaded.tokenizer, *pair) for pair in pairs]
    assert encode_pairs(loaded.tokenizer, pairs, max_length=9)[2] == encode_pair(
        loaded.tokenizer, *pairs[2], max_length=9
    )
    assert encode_pairs(loaded.tokenizer, []) == []
