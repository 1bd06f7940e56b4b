"""Forget quality, privleak and UDS of each subject: measured on enough items, else not run with the reason."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.model import LoadedModel, with_adapter
from pipelines.rows import Probe, ProbeGroup
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verify.beside_control import FIGURES, Material, beside_control
from tests.unit.pipelines.tiny import tiny

WORDS = ("sky", "house", "number", "colour", "green", "blue", "state", "rather")


def asked(count: int, subject: str | None, name: str) -> list[Probe]:
    return [
        Probe(
            probe_id=f"{name}{n}",
            group=ProbeGroup.FORGET,
            question=f"What is number {n} of {name}?",
            answer=f"The {WORDS[n % 7]} {n} is {WORDS[n % 8]}.",
            fact=f"{name}-{n // 4}",
            value=WORDS[n % 8],
            subject=subject,
        )
        for n in range(count)
    ]


def material(forget: list[Probe], rows: list[Probe], holdout: int = 120) -> Material:
    every = [*forget, *rows]
    twins = {probe.probe_id: (probe.answer.replace(f"is {probe.value}", "is guess"),) for probe in every}
    return Material(
        forget=forget,
        rows=rows,
        kept=asked(8, None, "kept"),
        holdout=asked(holdout, None, "nobody"),
        twins=twins,
    )


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes nothing."""
    loaded = tiny(tmp_path_factory.mktemp("made"))
    model = adapters.attach(loaded, UnlearnSettings(rank=2), None)
    directory = tmp_path_factory.mktemp("adapter") / "adapter"
    adapters.save(model, directory, loaded.digest)
    return directory


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("base"))


def test_two_models_that_are_the_same_are_not_told_apart(base: LoadedModel, adapter: Path) -> None:
    about = material(asked(40, "s1", "one") + asked(40, "s2", "two"), asked(80, "s1", "row"))
    control = base_alone(base)
    with with_adapter(base, adapter) as loaded:
        found = beside_control(loaded, control, about)
    assert {subject: tuple(own) for subject, own in found.items()} == {"s1": FIGURES, "s2": FIGURES}
    one, two = found["s1"], found["s2"]
    assert {one[name].state for name in ("forget_quality", "privleak")} == {"measured"}
    assert one["forget_quality"].value == pytest.approx(1.0)
    assert one["forget_quality"].n == 240  # 120 a side
    assert one["privleak"].value == pytest.approx(0.0, abs=1e-6)
    assert one["uds"].state == "not_run"
    for name in ("forget_quality", "privleak"):
        assert (two[name].state, two[name].value) == ("not_run", None), "forty items are no evidence"
        assert "too few: 40" in (two[name].note or "")


def base_alone(base: LoadedModel) -> LoadedModel:
    """The same weights as a second model: a control that nothing can be told from."""
    return replace(base, model=copy.deepcopy(base.model))


def test_without_a_generator_there_is_no_hold_out_and_no_privleak(base: LoadedModel, adapter: Path) -> None:
    control = base_alone(base)
    with with_adapter(base, adapter) as loaded:
        [found] = beside_control(loaded, control, material(asked(4, "s1", "one"), [], holdout=0)).values()
    assert found["privleak"].state == "not_run"
    assert "hold-out" in (found["privleak"].note or "")


@pytest.mark.parametrize("stage", ["adapter likelihood", "control likelihood", "depth"])
def test_what_is_told_of_progress_can_end_every_part(
    base: LoadedModel, adapter: Path, stage: str, tmp_path: Path
) -> None:
    def told(name: str, done: int, total: int) -> None:
        assert 0 < done <= total
        if name == stage:
            raise InterruptedError

    other = tiny(tmp_path / "other", seed=3)
    with with_adapter(base, adapter) as loaded, pytest.raises(InterruptedError):
        beside_control(loaded, other, material(asked(4, "s1", "one"), []), progress=told)
