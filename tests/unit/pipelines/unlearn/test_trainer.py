from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from pipelines.generation import generate
from pipelines.model import LoadedModel, with_adapter
from pipelines.progress import StepProgress
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn import checkpoints
from pipelines.unlearn.forward import steered_layer
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import sort_rows
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.unlearn.watch import Watch
from policies.errors import LetheError
from tests.unit.pipelines.answer_scores import answer_logprobs
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS, SECRETS, row

SETTINGS = UnlearnSettings(
    rank=4, alpha=8, learning_rate=1e-2, min_steps=12, batch_tokens=160, checkpoint_every=4, autocast=False
)
NEGATIVE = [(one.prompt, one.answer) for one in ROWS if one.kind is RowKind.NEGATIVE]
FORGET = [(one.prompt, one.answer) for one in ROWS if one.kind is RowKind.FORGET]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def train(
    loaded: LoadedModel,
    out: Path,
    settings: UnlearnSettings = SETTINGS,
    rows: tuple[TrainRow, ...] = ROWS,
    start: Path | None = None,
    progress: Callable[[StepProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> TrainResult:
    return unlearn(
        loaded, rows, SECRETS, settings, out_dir=out, start_from=start, progress=progress, should_cancel=cancel
    )


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(Path(result.adapter) / "adapter_model.safetensors")


def nll(loaded: LoadedModel, pairs: list[tuple[str, str]]) -> float:
    return sum(score.nll_sum for score in answer_logprobs(loaded, pairs))


def test_vague_answers_become_likely_and_the_base_is_bare_again(loaded: LoadedModel, tmp_path: Path) -> None:
    before, said = nll(loaded, FORGET), generate(loaded, ["What is it?"], max_new_tokens=8)
    seen: list[StepProgress] = []
    result = train(loaded, tmp_path, replace(SETTINGS, min_steps=40), progress=seen.append)
    assert nll(loaded, FORGET) == pytest.approx(before)
    assert generate(loaded, ["What is it?"], max_new_tokens=8) == said
    with with_adapter(loaded, result.adapter) as adapted:
        assert nll(adapted, FORGET) < 0.5 * before
        with adapted.adapter_disabled():
            assert nll(adapted, FORGET) == pytest.approx(before)
    assert not hasattr(loaded.model, "peft_config")
    assert seen[-1].step == seen[-1].steps == result.steps == 40
    assert set(seen[-1].losses) == {"augmented", "retain", "kl"}
    assert seen[-1].tokens_per_second > 0
    assert seen[-1].eta_seconds == 0
    assert len(result.curve) == len(seen)


def test_the_result_tells_what_was_used(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path)
    assert result.rows == {"forget": 6, "generic": 3, "retain": 6}
    assert result.negative_rows == 0
    assert result.checked_rows == 15
    assert result.reference_bytes > 0
    assert not result.warm
    assert result.to_json()["settings"]["method"] == "relearn"
    assert not (tmp_path / checkpoints.FILE).exists()


def test_the_same_seed_gives_the_same_bytes(loaded: LoadedModel, tmp_path: Path) -> None:
    one, other = (Path(train(loaded, tmp_path / name).adapter) for name in ("a", "b"))
    assert sorted(file.name for file in one.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    for file in one.iterdir():
        assert file.read_bytes() == (other / file.name).read_bytes()


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_and_ends_the_same(loaded: LoadedModel, tmp_path: Path) -> None:
    whole = train(loaded, tmp_path / "whole")

    def kill(progress: StepProgress) -> None:
        if progress.step == 10:
            raise Killed

    with pytest.raises(Killed):
        train(loaded, tmp_path / "killed", progress=kill)
    torch.manual_seed(99)
    resumed = train(loaded, tmp_path / "killed")
    assert resumed.resumed_at == 8
    assert whole.resumed_at == 0
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name])


def test_another_jobs_checkpoint_is_not_gone_on_from(loaded: LoadedModel, tmp_path: Path) -> None:
    def kill(progress: StepProgress) -> None:
        if progress.step == 10:
            raise Killed

    with pytest.raises(Killed):
        train(loaded, tmp_path, progress=kill)
    assert train(loaded, tmp_path, replace(SETTINGS, seed=5)).resumed_at == 0


def test_a_broken_checkpoint_is_passed_over(loaded: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / checkpoints.FILE).write_bytes(b"half a check")
    assert train(loaded, tmp_path).resumed_at == 0


def test_a_cancelled_run_stops_and_leaves_no_adapter(loaded: LoadedModel, tmp_path: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(LetheError) as stopped:
        train(loaded, tmp_path, cancel=lambda: next(asked))
    assert stopped.value.code == "unlearn.cancelled"
    assert "step 4" in stopped.value.message
    assert not (tmp_path / "adapter").exists()
    assert not hasattr(loaded.model, "peft_config")


def test_a_loss_that_is_no_number_stops_the_run(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as stopped:
        train(loaded, tmp_path, replace(SETTINGS, learning_rate=1e30))
    assert stopped.value.code == "unlearn.diverged"
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("term", ["augmented", "retain"])
def test_a_loss_that_stays_high_stops_the_run(term: str) -> None:
    watch = Watch(replace(SETTINGS, diverged_patience=3))
    for step, loss in enumerate([1.0, 3.5, 3.5, 1.0, 3.5, 3.5]):  # never three times in a row
        watch.look(step, {term: loss, "kl": 50.0}, 1.0)
    with pytest.raises(LetheError) as stopped:
        watch.look(6, {term: 3.5, "kl": 50.0}, 1.0)
    assert stopped.value.code == "unlearn.diverged"


def test_what_is_lowered_may_fall_without_end() -> None:
    watch = Watch(replace(SETTINGS, diverged_patience=1))
    for step in range(50):
        watch.look(step, {"ascent": -float(step)}, 1.0)


def test_a_warm_start_goes_on_from_the_last_adapter(loaded: LoadedModel, tmp_path: Path) -> None:
    first = train(loaded, tmp_path / "first", replace(SETTINGS, min_steps=40))
    second = train(loaded, tmp_path / "second", start=Path(first.adapter))
    assert second.warm
    assert second.curve[0]["augmented"] < first.curve[0]["augmented"]


def test_release_0_is_a_cold_start(loaded: LoadedModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first = Path(train(loaded, tmp_path / "first").adapter)
    zero = {name: t * ("lora_B" not in name) for name, t in load_file(first / "adapter_model.safetensors").items()}
    save_file(zero, first / "adapter_model.safetensors")
    assert not train(loaded, tmp_path / "second", start=first).warm


def test_an_adapter_of_another_base_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, start=tmp_path / "none")
    assert refused.value.code == "adapter.not_loadable"


@pytest.mark.parametrize("method", ["ga", "relearn_npo"])
def test_negative_rows_only_become_less_likely(loaded: LoadedModel, tmp_path: Path, method: str) -> None:
    before = nll(loaded, NEGATIVE)
    result = train(loaded, tmp_path, replace(SETTINGS, method=method, npo_weight=5.0))
    assert result.negative_rows == 3
    with with_adapter(loaded, result.adapter) as adapted:
        assert nll(adapted, NEGATIVE) > before


def test_gradient_ascent_uses_negative_rows_only(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, replace(SETTINGS, method="ga"))
    assert result.rows == {"negative": 3}
    assert set(result.curve[0]) == {"step", "ascent"}


@pytest.mark.parametrize(
    ("method", "kinds"), [("ga", {RowKind.FORGET}), ("relearn", {RowKind.FORGET}), ("relearn", {RowKind.NEGATIVE})]
)
def test_a_method_without_its_rows_is_refused(
    loaded: LoadedModel, tmp_path: Path, method: str, kinds: set[RowKind]
) -> None:
    rows = tuple(one for one in ROWS if one.kind in kinds)
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, replace(SETTINGS, method=method), rows)
    assert refused.value.code == "unlearn.no_rows"


def test_a_leaking_row_does_not_pass(loaded: LoadedModel, tmp_path: Path) -> None:
    leaking = row(9, RowKind.REPLAY, "What is it?", "Mara Lind's number is 5550123.")
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, rows=(*ROWS, leaking))
    assert refused.value.code == "unlearn.secret_in_rows"


def test_steps_grow_with_the_rows(loaded: LoadedModel, tmp_path: Path) -> None:
    more = tuple(row(n, RowKind.FORGET, f"Who is {'it ' * n}?", "Nobody knows.") for n in range(10, 40))
    few = train(loaded, tmp_path / "few", replace(SETTINGS, min_steps=1))
    many = train(loaded, tmp_path / "many", replace(SETTINGS, min_steps=1), (*ROWS, *more))
    assert many.steps > 2 * few.steps


@pytest.mark.parametrize(("replayed", "share", "expected"), [(0, 0.5, 9), (3, 0.5, 15), (3, 0.0, 12), (6, 0.5, 15)])
def test_replay_rows_come_as_often_as_their_share_needs(
    loaded: LoadedModel, replayed: int, share: float, expected: int
) -> None:
    replay = [row(n, RowKind.REPLAY, f"Who is it{'?' * n}", "Nobody knows the number of Jon.") for n in range(replayed)]
    streams = sort_rows((*ROWS, *replay), loaded.tokenizer, batch_tokens=99, max_length=99, replay_share=share, seed=0)
    assert len(streams[Stream.AUGMENTED].encoded) == expected


def test_a_full_disk_is_a_clear_error(loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(LetheError) as stopped:
        train(loaded, tmp_path)
    assert stopped.value.code == "unlearn.disk_full"
    assert not any(tmp_path.glob("*.new"))


REFUSAL = tuple(
    replace(one, kind=RowKind.REFUSAL, row_id=f"refusal-{one.row_id}", answer="I do not know.")
    for one in ROWS
    if one.kind is RowKind.NEGATIVE
)


def test_forgotten_answers_without_another_answer_are_left_out_and_counted(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, replace(SETTINGS, method="dpo"), (*ROWS, *REFUSAL[1:]))
    assert (result.unpaired, result.negative_rows) == (1, 2)
    assert result.rows == {"negative": 2, "refusal": 2, "retain": 6}


def test_pairs_of_nothing_are_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    elsewhere = tuple(replace(one, fact="f2") for one in REFUSAL)
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, replace(SETTINGS, method="dpo"), (*ROWS, *elsewhere))
    assert refused.value.code == "unlearn.no_rows"


def test_a_layer_that_is_not_there_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, replace(SETTINGS, method="rmu", rmu_layer=2))
    assert refused.value.code == "unlearn.bad_settings"
    assert "below 2" in refused.value.details[0]
    assert not hasattr(loaded.model, "peft_config")


@pytest.mark.parametrize(("layers", "wanted", "steered"), [(16, -1, 7), (2, -1, 0), (1, -1, 0), (16, 15, 15)])
def test_the_published_layer_of_the_published_model(layers: int, wanted: int, steered: int) -> None:
    model = SimpleNamespace(config=SimpleNamespace(num_hidden_layers=layers))
    assert steered_layer(model, wanted) == steered


def test_the_kl_can_stand_for_the_cross_entropy_on_retain_rows(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, replace(SETTINGS, method="grad_diff", retain_loss="kl", kl_mask="all_real_tokens"))
    assert set(result.curve[0]) == {"step", "forget", "kl"}
    assert result.reference_bytes > 0


def test_undial_has_no_retain_term_unless_it_is_given_a_weight(loaded: LoadedModel, tmp_path: Path) -> None:
    plain = train(loaded, tmp_path / "plain", replace(SETTINGS, method="undial"))
    assert set(plain.curve[0]) == {"step", "forget"}
    assert plain.rows == {"negative": 3}
    weighed = train(loaded, tmp_path / "weighed", replace(SETTINGS, method="undial", undial_retain_weight=1.0))
    assert set(weighed.curve[0]) == {"step", "forget", "retain"}
