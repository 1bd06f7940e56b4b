from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

from pipelines.encode import encode_prompt
from pipelines.generation import generate
from pipelines.model import LoadedModel
from pipelines.verify.attacks.sampling import sample
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny

PROMPTS = ["What is it?", "Tell me the number of the house, please, and the colour of the sky.", "?", "What is it?"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@torch.inference_mode()
def two_tokens(loaded: LoadedModel, prompt: str) -> dict[str, float]:
    """The exact chance of every answer of at most two tokens, one forward pass for each first token."""
    ids = encode_prompt(loaded.tokenizer, prompt)
    first = loaded.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    tokens = range(len(first))
    second = loaded.model(torch.tensor([[*ids, t] for t in tokens])).logits[:, -1].softmax(-1)
    chances: defaultdict[str, float] = defaultdict(float)
    for one in tokens:
        if one in loaded.stop_ids:
            chances[""] += float(first[one])
            continue
        for two in tokens:
            said = [one] if two in loaded.stop_ids else [one, two]
            text = str(loaded.tokenizer.decode(said, skip_special_tokens=True)).strip()
            chances[text] += float(first[one] * second[one, two])
    return dict(chances)


def test_answers_are_drawn_as_often_as_they_are_likely(loaded: LoadedModel) -> None:
    """A branch that went on from another branch's keys and values would have other chances for its second token."""
    n = 40_000
    for prompt, drawn in zip(PROMPTS[:2], sample(loaded, PROMPTS[:2], n, max_new_tokens=2), strict=True):
        exact = two_tokens(loaded, prompt)
        assert drawn.keys() <= exact.keys()
        distance = sum(abs(drawn[text] / n - chance) for text, chance in exact.items()) / 2
        # What so many independent draws differ by, on average: half the sum of sqrt(2 p (1-p) / (pi n)).
        chance_alone = sum((2 * p * (1 - p) / (3.1416 * n)) ** 0.5 for p in exact.values()) / 2
        assert distance < 1.5 * chance_alone


def test_every_sample_is_counted_whatever_the_batches(loaded: LoadedModel) -> None:
    for tokens in (1, 60, 400, 16384):
        drawn = sample(loaded, PROMPTS, 20, max_new_tokens=6, max_batch_tokens=tokens)
        assert [sum(one.values()) for one in drawn] == [20] * len(PROMPTS)


def test_without_temperature_it_is_the_greedy_answer(loaded: LoadedModel) -> None:
    drawn = sample(loaded, PROMPTS, 5, max_new_tokens=12, temperature=0.0, max_batch_tokens=100)
    assert drawn == [Counter({text: 5}) for text in generate(loaded, PROMPTS, max_new_tokens=12)]


def test_draws_are_seeded_and_leave_the_global_generator_alone(loaded: LoadedModel) -> None:
    state = torch.get_rng_state()
    one, same, other = (sample(loaded, PROMPTS, 8, max_new_tokens=5, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert torch.equal(state, torch.get_rng_state())


def test_one_prompt_asked_twice_is_drawn_twice(loaded: LoadedModel) -> None:
    drawn = sample(loaded, PROMPTS, 8, max_new_tokens=5)
    assert drawn[0] != drawn[3]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_model_is_an_error_and_no_silence(tmp_path: Path, bad: float) -> None:
    broken = tiny(tmp_path)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(bad)
    with pytest.raises(LetheError, match="not finite") as caught:
        sample(broken, PROMPTS, 4, max_new_tokens=4)
    assert caught.value.code == "verify.bad_logits"


def test_it_stops_where_it_is_told_to(loaded: LoadedModel) -> None:
    def stop() -> None:
        raise LetheError("unlearn.cancelled", "stop")

    with pytest.raises(LetheError, match="stop"):
        sample(loaded, PROMPTS, 4, max_new_tokens=4, check=stop)


def test_progress_ends_at_all_samples(loaded: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []
    sample(
        loaded,
        PROMPTS,
        4,
        max_new_tokens=4,
        max_batch_tokens=50,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(seen) > 1
    assert seen[-1] == (16, 16)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_prompt_no_answer(loaded: LoadedModel) -> None:
    assert sample(loaded, [], 4, max_new_tokens=4) == []
