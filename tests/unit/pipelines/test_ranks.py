"""Two processes against one: the same training, the same answers and figures. Gloo over loopback, on the CPU."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.generation import generate
from pipelines.leader import Leader, led
from pipelines.model import LoadedModel, with_adapter
from pipelines.quantise import quantised
from pipelines.ranks import ALONE
from pipelines.rows import RowKind
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.verify.measure import MeasureSettings, measure
from pipelines.verify.teacher_forced import teacher_forced
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS, SECRETS, row
from tests.unit.pipelines.verify.test_measure import BACKENDS, probes

SETTINGS = UnlearnSettings(
    rank=4, alpha=8, learning_rate=1e-2, min_steps=8, max_steps=8, batch_tokens=160, checkpoint_every=4, autocast=False,
    report_every=1, leak_length=4, reference_top_k=8,
)  # fmt: skip
QUESTIONS = [f"What is the colour{'?' * n}" for n in range(9)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def two(alone: LoadedModel) -> Iterator[LoadedModel]:
    loaded = led(alone, 2)
    yield loaded
    leader(loaded).end()


# Raw questions with a vague answer, for a method with pairs; and a row so long that its batch has no part for two.
MORE = (
    *ROWS,
    *(row(n, RowKind.FORGET, f"Tell me the number{'.' * (n - 20)}", "Nobody knows it.") for n in range(20, 23)),
    row(30, RowKind.RETAIN, "Tell me the colour of the house and of the sky, please." * 3, "The house is green."),
)


def train(
    loaded: LoadedModel, out: Path, settings: UnlearnSettings = SETTINGS, cancel: Callable[[], bool] | None = None
) -> TrainResult:
    return unlearn(loaded, MORE, SECRETS, settings, out_dir=out, should_cancel=cancel)


def assert_same(one: TrainResult, other: TrainResult) -> None:
    assert [set(report) for report in one.curve] == [set(report) for report in other.curve]
    for mine, theirs in zip(one.curve, other.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-3, abs=2e-4)
    first, second = (load_file(Path(made.adapter) / "adapter_model.safetensors") for made in (one, other))
    largest = max(float(tensor.abs().max()) for tensor in first.values())
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 0.02 * largest


@pytest.mark.parametrize("shard_base", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("method", ["relearn_robust", "relearn_dpo", "rmu"])
def test_two_processes_learn_as_one(
    alone: LoadedModel, two: LoadedModel, method: str, shard_base: bool, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, method=method, shard_base=shard_base)
    one = train(alone, tmp_path / "one", settings)
    both = train(two, tmp_path / "two", settings)
    assert (one.processes, both.processes) == (1, 2)
    assert one.steps == both.steps == SETTINGS.max_steps
    assert one.curve[0] != one.curve[-1]
    assert_same(one, both)


def test_a_cancelled_run_goes_on_with_another_number_of_processes(
    alone: LoadedModel, two: LoadedModel, tmp_path: Path
) -> None:
    asked = iter(range(100))
    with pytest.raises(LetheError) as caught:
        train(two, tmp_path / "cut", cancel=lambda: next(asked) == 3)  # before step 6, behind the checkpoint of step 4
    assert caught.value.code == "unlearn.cancelled"
    assert leader(two).pids == []  # the other process was ended: it waited in the middle of a step
    went_on = train(alone, tmp_path / "cut")
    assert went_on.resumed_at == 4
    assert_same(train(alone, tmp_path / "whole"), went_on)


def test_every_answer_and_figure_is_that_of_one_process(alone: LoadedModel, two: LoadedModel, tmp_path: Path) -> None:
    adapter = train(alone, tmp_path).adapter
    pairs = [(question, "The sky is blue.") for question in QUESTIONS]
    room: dict[str, Any] = {"max_batch_tokens": 40}  # several batches

    def found(loaded: LoadedModel) -> list[object]:
        told: list[tuple[int, int]] = []
        answers: list[object] = []
        with with_adapter(loaded, adapter) as adapted:
            answers.append(generate(adapted, QUESTIONS, max_new_tokens=8, progress=lambda *at: told.append(at), **room))
            answers.append([score.nll_sum for score in teacher_forced(adapted, pairs, **room)])
            with adapted.adapter_disabled():
                answers.append(generate(adapted, QUESTIONS, max_new_tokens=8, **room))
            with quantised(adapted, 4) as rounded:  # changed here only: nobody else is asked
                answers.append(generate(rounded, QUESTIONS, max_new_tokens=8))
        assert told[-1] == (len(QUESTIONS), len(QUESTIONS))
        answers.append(generate(loaded, QUESTIONS, max_new_tokens=8))
        return answers

    expected = found(alone)
    assert expected[0] != expected[2]
    assert found(two) == expected


def test_the_items_of_a_verdict_are_those_of_one_process(alone: LoadedModel, two: LoadedModel, tmp_path: Path) -> None:
    adapter = train(alone, tmp_path).adapter
    settings = MeasureSettings(max_new_tokens=8, max_batch_tokens=60)

    def measured(loaded: LoadedModel) -> dict[str, object]:
        ask: dict[str, Any] = {"backends": BACKENDS, "settings": settings}
        with with_adapter(loaded, adapter) as adapted:
            base = measure(adapted, probes(), which="base", **ask)
            return measure(adapted, probes(), base=base, **ask).measurement.model_dump(exclude={"seconds"})

    expected = measured(alone)
    assert expected["subjects"]
    assert measured(two) == expected


def test_what_one_process_meets_all_raise_and_go_on(two: LoadedModel) -> None:
    def cancelled(done: int, total: int) -> None:
        raise LetheError("unlearn.cancelled", "as asked", ("one",))

    answers = generate(two, QUESTIONS, max_new_tokens=4)
    pids = leader(two).pids
    with pytest.raises(LetheError) as caught:
        generate(two, QUESTIONS, max_new_tokens=4, progress=cancelled)
    assert (caught.value.code, caught.value.details) == ("unlearn.cancelled", ("one",))
    assert generate(two, QUESTIONS, max_new_tokens=4) == answers
    assert leader(two).pids == pids


def test_a_process_that_dies_ends_the_run_and_is_told(alone: LoadedModel, two: LoadedModel) -> None:
    leader(two).end()  # a process leads one group at a time
    both = led(alone, 2)
    generate(both, QUESTIONS, max_new_tokens=4)
    [pid] = leader(both).pids
    listening = {line.split()[1].partition(":")[0] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
                 if line.split()[9] in inodes(pid)}  # fmt: skip
    assert listening <= {"0100007F"}  # loopback alone
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):  # nor does a later call go on with fewer
        with pytest.raises(LetheError) as caught:
            generate(both, QUESTIONS, max_new_tokens=4)
        assert caught.value.code == "runner.died"


def test_fewer_gpus_than_processes_are_refused(alone: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(LetheError) as caught:
        led(replace(alone, device=torch.device("cuda")), 2)
    assert caught.value.code == "unlearn.too_many_processes"
    assert led(alone, 1).ranks is ALONE


def leader(loaded: LoadedModel) -> Leader:
    assert isinstance(loaded.ranks, Leader)
    return loaded.ranks


def inodes(pid: int) -> set[str]:
    links = (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
