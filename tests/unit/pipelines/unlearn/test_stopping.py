"""Early stopping by exposure: what is asked when, where it stops, and what is told."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.model import LoadedModel
from pipelines.progress import StepProgress
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.stopping import AskExposure, AtCheckpoint
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.verify.exposure import Exposure, judge_exposure
from policies.errors import LetheError
from tests.unit.pipelines.answer_scores import answer_logprobs
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS, SECRET, SECRETS

TAU = 0.5
SETTINGS = UnlearnSettings(
    rank=4,
    alpha=8,
    learning_rate=1e-2,
    passes=1,
    min_steps=14,
    batch_tokens=160,
    checkpoint_every=5,
    report_every=2,
    stop_tau=TAU,
    stop_every=4,
    autocast=False,
)
FACTS = [f"f{n}" for n in range(40)]
SPREAD = [(-1) ** n * 0.01 for n in range(40)]


def judged(value: float, tau: float = TAU, items: int = 40) -> Exposure:
    """The exposure of so many items around a value."""
    return judge_exposure(FACTS[:items], [value + one for one in SPREAD[:items]], tau)


class Asked:
    """Exposures by step: each look gets the next one."""

    def __init__(self, *values: float, **judge: float) -> None:
        self.values, self.judge = list(values), judge
        self.count = 0

    def __call__(self, loaded: LoadedModel) -> Exposure:
        assert not loaded.model.training
        self.count += 1
        return judged(self.values.pop(0), **self.judge)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


def train(
    loaded: LoadedModel,
    out: Path,
    exposure: AskExposure | None = None,
    *,
    settings: UnlearnSettings = SETTINGS,
    checkpoint: AtCheckpoint | None = None,
    progress: Callable[[StepProgress], None] | None = None,
) -> TrainResult:
    return unlearn(
        loaded, ROWS, SECRETS, settings, out_dir=out, exposure=exposure, checkpoint=checkpoint, progress=progress
    )


def weights(result: TrainResult) -> Mapping[str, torch.Tensor]:
    return load_file(Path(result.adapter) / "adapter_model.safetensors")


def steps(result: TrainResult) -> list[int]:
    return [look["step"] for look in result.exposure]


def test_it_stops_at_the_first_look_that_is_equivalent(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, Asked(3.0, 0.2, 0.0))
    assert result.stopped == "early"
    assert result.exposure_state == "equivalent"
    assert (result.steps, result.planned_steps) == (8, 14)
    assert [(look["step"], look["state"]) for look in result.exposure] == [
        (4, "under_unlearned"),
        (8, "equivalent"),
    ]
    assert result.exposure[1]["mean"] == pytest.approx(0.2)
    assert result.curve[-1]["step"] == 8
    assert result.to_json()["stopped"] == "early"


def test_the_adapter_is_the_one_of_that_look(loaded: LoadedModel, tmp_path: Path) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def keep(step: int, adapted: LoadedModel) -> None:
        kept[step] = {name: tensor.clone() for name, tensor in adapters.tensors(adapted.model).items()}

    stopped = train(loaded, tmp_path / "stopped", Asked(3.0, 0.0), checkpoint=keep)
    assert sorted(kept) == [4, 8]
    for name, tensor in weights(stopped).items():
        assert torch.equal(tensor, kept[8][name.replace(".weight", ".default.weight")])
    # The learning rate was that of the whole run: a run that goes on passes through the very same weights.
    train(loaded, tmp_path / "whole", Asked(3.0, 3.0, 3.0, 3.0), checkpoint=keep)
    assert sorted(kept) == [4, 8, 12, 14]
    for name, tensor in weights(stopped).items():
        assert torch.equal(tensor, kept[8][name.replace(".weight", ".default.weight")])


def test_looking_changes_nothing(loaded: LoadedModel, tmp_path: Path) -> None:
    def disturb(step: int, adapted: LoadedModel) -> None:
        torch.manual_seed(step)
        torch.rand(7)

    plain = train(loaded, tmp_path / "plain", settings=replace(SETTINGS, stop_tau=0.0))
    looked = train(loaded, tmp_path / "looked", Asked(3.0, 3.0, 3.0, 3.0), checkpoint=disturb)
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(looked)[name])
    assert looked.look_seconds > 0


def test_a_run_that_never_gets_there_says_so(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, Asked(3.0, 3.0, 3.0, 2.0))
    assert steps(result) == [4, 8, 12, 14]  # every fourth, and the last one
    assert (result.stopped, result.exposure_state) == ("never_reached", "under_unlearned")
    assert result.steps == result.planned_steps == 14


def test_going_from_too_little_to_too_much_is_no_success(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, Asked(3.0, -3.0, -4.0, -5.0))
    assert (result.stopped, result.exposure_state) == ("never_reached", "over_unlearned")


def test_equivalence_at_the_last_step_counts(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, Asked(3.0, 3.0, 3.0, 0.1))
    assert (result.stopped, result.exposure_state, result.steps) == ("early", "equivalent", 14)


def test_too_few_items_decide_nothing(loaded: LoadedModel, tmp_path: Path) -> None:
    result = train(loaded, tmp_path, Asked(0.0, 0.0, 0.0, 0.0, items=29))
    assert (result.stopped, result.exposure_state, result.steps) == ("undecided", "undecided", 14)


def test_nothing_is_asked_unless_a_tolerance_is_given(loaded: LoadedModel, tmp_path: Path) -> None:
    asked, seen = Asked(0.0), list[int]()
    result = train(
        loaded, tmp_path, asked, settings=replace(SETTINGS, stop_tau=0.0), checkpoint=lambda step, _: seen.append(step)
    )
    assert asked.count == 0
    assert seen == [4, 8, 12, 14]  # a study looks all the same
    assert (result.stopped, result.exposure_state, result.exposure) == ("not_asked", None, ())


def test_a_tolerance_of_another_run_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, Asked(0.0, tau=0.1))
    assert refused.value.code == "unlearn.bad_settings"
    assert not hasattr(loaded.model, "peft_config")


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [6, 10])
def test_a_killed_run_asks_on_where_it_was(loaded: LoadedModel, tmp_path: Path, killed_at: int) -> None:
    values = {4: 3.0, 8: 2.0, 12: 0.0}

    def ask_by_step(looked: list[int]) -> tuple[AskExposure, AtCheckpoint]:
        def checkpoint(step: int, _: LoadedModel) -> None:
            looked.append(step)

        return (lambda _: judged(values[looked[-1]])), checkpoint

    def kill(progress: StepProgress) -> None:
        if progress.step >= killed_at:
            raise Killed

    first, again, whole_looks = list[int](), list[int](), list[int]()
    exposure, checkpoint = ask_by_step(whole_looks)
    whole = train(loaded, tmp_path / "whole", exposure, checkpoint=checkpoint)
    exposure, checkpoint = ask_by_step(first)
    with pytest.raises(Killed):
        train(loaded, tmp_path / "killed", exposure, checkpoint=checkpoint, progress=kill)
    exposure, checkpoint = ask_by_step(again)
    resumed = train(loaded, tmp_path / "killed", exposure, checkpoint=checkpoint)
    assert resumed.exposure == whole.exposure
    assert (resumed.steps, resumed.stopped) == (whole.steps, whole.stopped) == (12, "early")
    assert resumed.resumed_at == 5
    assert again == [step for step in (4, 8, 12) if step > resumed.resumed_at]
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name])


def test_a_run_that_asks_does_not_go_on_from_one_that_did_not(loaded: LoadedModel, tmp_path: Path) -> None:
    def kill(progress: StepProgress) -> None:
        if progress.step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(loaded, tmp_path, progress=kill)
    assert train(loaded, tmp_path, Asked(3.0, 3.0, 3.0, 3.0)).resumed_at == 0


def test_gradient_ascent_runs_past_the_mark(loaded: LoadedModel, tmp_path: Path) -> None:
    """Measured on the model itself: forgotten answers begin a nat a token too likely, and end far less likely."""
    asked = [("Tell me the number" + "." * n, SECRET.answers[0]) for n in range(3)]
    before = [score.nll_sum / score.n_tokens for score in answer_logprobs(loaded, asked)]

    def exposure(adapted: LoadedModel) -> Exposure:
        now = [score.nll_sum / score.n_tokens for score in answer_logprobs(adapted, asked)]
        values = [1.0 + start - end for start, end in zip(before, now, strict=True)]
        return judge_exposure(FACTS, (values * 14)[:40], 0.01)

    settings = replace(SETTINGS, method="ga", stop_tau=0.01, stop_every=1, learning_rate=6e-3, min_steps=40)
    result = train(loaded, tmp_path, exposure, settings=settings)
    states = [look["state"] for look in result.exposure]
    assert states[0] == "under_unlearned"
    assert states[-1] == "over_unlearned"
    assert result.stopped == "never_reached"
