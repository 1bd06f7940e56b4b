from pathlib import Path

import pytest
import torch

from pipelines.encode import encode_prompt
from pipelines.generation import generate
from pipelines.model import LoadedModel
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny

PROMPTS = ["What is it?", "Tell me the number of the house, please, and the colour of the sky.", "?", "What is it?", ""]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def test_answers_come_in_the_order_asked_and_duplicates_are_answered_each(loaded: LoadedModel) -> None:
    answers = generate(loaded, PROMPTS, max_new_tokens=12)
    assert len(answers) == len(PROMPTS)
    assert answers[0] == answers[3]
    assert answers == [generate(loaded, [prompt], max_new_tokens=12)[0] for prompt in PROMPTS]


def test_small_batches_answer_the_same(loaded: LoadedModel) -> None:
    assert generate(loaded, PROMPTS, max_new_tokens=8, max_batch_tokens=32) == generate(
        loaded, PROMPTS, max_new_tokens=8
    )


def test_greedy_is_what_transformers_generates(loaded: LoadedModel) -> None:
    ids = encode_prompt(loaded.tokenizer, PROMPTS[1])
    whole = loaded.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=12, do_sample=False
    )
    theirs = str(loaded.tokenizer.decode(whole[0][len(ids) :], skip_special_tokens=True)).strip()
    assert generate(loaded, [PROMPTS[1]], max_new_tokens=12) == [theirs]


def test_a_given_start_is_gone_on_from_and_not_repeated(loaded: LoadedModel) -> None:
    start = "The sky is"
    ids = encode_prompt(loaded.tokenizer, PROMPTS[0]) + loaded.tokenizer(start, add_special_tokens=False)["input_ids"]
    whole = loaded.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=12, do_sample=False
    )
    theirs = str(loaded.tokenizer.decode(whole[0][len(ids) :], skip_special_tokens=True)).strip()
    assert generate(loaded, PROMPTS[:2], max_new_tokens=12, starts=[start, ""]) == [
        theirs,
        *generate(loaded, PROMPTS[1:2], max_new_tokens=12),
    ]
    with pytest.raises(ValueError, match="one for every prompt"):
        generate(loaded, PROMPTS, max_new_tokens=12, starts=[start])


def test_sampling_is_seeded(loaded: LoadedModel) -> None:
    one, same, other = (generate(loaded, PROMPTS, max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_model_of_no_numbers_gives_no_answer(tmp_path: Path, bad: float) -> None:
    broken = tiny(tmp_path)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(bad)
    with pytest.raises(LetheError, match=r"verify\.bad_logits"):
        generate(broken, PROMPTS, max_new_tokens=2)


def test_no_prompts_no_answers(loaded: LoadedModel) -> None:
    assert generate(loaded, [], max_new_tokens=4) == []


def test_progress_ends_with_all(loaded: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []
    generate(loaded, PROMPTS, max_new_tokens=2, max_batch_tokens=40, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (len(PROMPTS), len(PROMPTS))
