import copy
import dataclasses
import zlib

import numpy as np
import pytest
import torch

from pipelines.encode import encode_prompt
from pipelines.model import LoadedModel
from pipelines.verify.teacher_forced import TokenScores, answer_logits, teacher_forced
from policies.errors import LetheError
from tests.unit.pipelines.answer_scores import answer_logprobs
from tests.unit.pipelines.tiny import tiny

PAIRS = [
    ("What is it?", "The sky is blue and the house is green."),
    ("Tell me the number of the house, please, and the colour of the sky.", "Nobody knows."),
    ("?", "blue"),
    ("What is it?", ""),
    ("", "   "),
    ("What is it?", "The sky is blue and the house is green."),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def by_hand(loaded: LoadedModel, question: str, answer: str) -> list[tuple[float, bool, float, float]]:
    """One row alone, every position, in double precision."""
    head = encode_prompt(loaded.tokenizer, question)
    tail = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([head + tail])).logits[0].double()
    found = []
    for n, token in enumerate(tail):
        row = logits[len(head) + n - 1]
        log_p = row - row.logsumexp(0)
        p = log_p.exp()
        mean = float((p * log_p).sum())
        std = float((p * (log_p - mean) ** 2).sum().sqrt())
        found.append((float(log_p[token]), int(row.argmax()) == token, mean, std))
    return found


@pytest.mark.parametrize("batch", [16384, 40])
@pytest.mark.parametrize("chunk", [None, 3])
def test_every_figure_is_that_of_the_row_alone(loaded: LoadedModel, batch: int, chunk: int | None) -> None:
    scores = teacher_forced(loaded, PAIRS, max_batch_tokens=batch, chunk=chunk)
    assert [s.n for s in scores][:3] == [len(by_hand(loaded, *pair)) for pair in PAIRS[:3]]
    for pair, score in zip(PAIRS, scores, strict=True):
        if not pair[1].strip():
            continue
        expected = by_hand(loaded, *pair)
        np.testing.assert_allclose(score.log_probs, [e[0] for e in expected], rtol=1e-3, atol=1e-3)
        assert score.correct.tolist() == [e[1] for e in expected]
        np.testing.assert_allclose(score.mean, [e[2] for e in expected], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(score.std, [e[3] for e in expected], rtol=1e-3, atol=2e-3)
        assert score.text_bytes == len(zlib.compress(pair[1].encode()))


def test_an_empty_answer_has_no_tokens_and_no_figures(loaded: LoadedModel) -> None:
    empty = teacher_forced(loaded, PAIRS)[3]
    assert (empty.n, empty.nll_sum, empty.nll_mean, empty.probability) == (0, 0.0, None, None)
    assert teacher_forced(loaded, []) == []


def test_an_answer_that_the_model_has_no_room_for_has_no_figures(loaded: LoadedModel) -> None:
    fits, long = teacher_forced(loaded, [("What is it?", "blue " * 60), ("What is it?", "blue " * 3000)])
    assert fits.n >= 60
    assert (long.n, long.probability) == (0, None), "figures of its beginning would be another answer's"


def test_sums_agree_with_the_older_pass(loaded: LoadedModel) -> None:
    scores, sums = teacher_forced(loaded, PAIRS[:3]), answer_logprobs(loaded, PAIRS[:3])
    for score, total in zip(scores, sums, strict=True):
        assert score.n == total.n_tokens
        assert score.nll_sum == pytest.approx(total.nll_sum, rel=1e-4)
        assert score.probability == pytest.approx(np.exp(-total.nll_sum / total.n_tokens), rel=1e-3)


def test_a_pair_that_comes_again_is_computed_once(loaded: LoadedModel) -> None:
    rows: list[int] = []
    handle = loaded.model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        scores = teacher_forced(loaded, [PAIRS[0]] * 5)
    finally:
        handle.remove()
    assert rows == [1]
    assert len({id(s) for s in scores}) == 1
    assert len(scores) == 5


def test_the_output_layer_sees_answer_positions_only(loaded: LoadedModel) -> None:
    seen: list[tuple[int, ...]] = []
    head = loaded.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape)))
    try:
        scores = teacher_forced(loaded, PAIRS)
    finally:
        handle.remove()
    assert [shape[:2] for shape in seen] == [(1, sum(s.n for s in scores[:5]))]
    assert not head._forward_pre_hooks  # nothing is left behind


def test_logits_are_the_models_own(loaded: LoadedModel) -> None:
    ids = torch.tensor([encode_prompt(loaded.tokenizer, PAIRS[1][0])])
    lines, places = torch.tensor([0, 0]), torch.tensor([2, 5])
    with torch.no_grad():
        torch.testing.assert_close(
            answer_logits(loaded.model, ids, lines, places), loaded.model(input_ids=ids).logits[0, [2, 5]]
        )


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_bad_logits_are_an_error_and_never_a_figure(loaded: LoadedModel, poison: float) -> None:
    broken = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model))
    with torch.no_grad():
        broken.model.model.norm.weight[0] = poison
    with pytest.raises(LetheError, match=r"verify\.bad_logits"):
        teacher_forced(broken, PAIRS)


def test_a_token_that_the_model_masks_weighs_nothing(loaded: LoadedModel) -> None:
    masked = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model))
    asked = set(loaded.tokenizer(PAIRS[0][1], add_special_tokens=False)["input_ids"])
    free = next(i for i in range(len(loaded.tokenizer)) if i not in asked)

    def mask(_: torch.nn.Module, __: object, out: torch.Tensor) -> torch.Tensor:
        return out.index_fill(-1, torch.tensor([free]), float("-inf"))

    masked.model.get_output_embeddings().register_forward_hook(mask)
    score = teacher_forced(masked, PAIRS[:1])[0]
    assert np.isfinite(score.mean).all()
    assert np.isfinite(score.std).all()


def test_progress_ends_with_all(loaded: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []
    teacher_forced(loaded, PAIRS, max_batch_tokens=40, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1][0] == seen[-1][1]


def test_properties_of_scores() -> None:
    score = TokenScores(log_probs=np.log(np.array([0.5, 0.125], np.float32)))
    assert score.nll_sum == pytest.approx(np.log(16))
    assert score.nll_mean == pytest.approx(np.log(4))
    assert score.probability == pytest.approx(0.25)
