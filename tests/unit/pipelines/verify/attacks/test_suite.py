"""The frame: what is finished stays finished, a fault is told, a cancel passes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from pipelines.verify.attacks import registry, scoring, suite
from pipelines.verify.attacks.port import Attack, AttackContext, AttackResult, Tier
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.verify.attacks.taught import FORGET, SUBJECT

ALL: frozenset[Tier] = frozenset({0, 1, 2})


class Fake:
    """An attack that counts how often it ran."""

    source = "a test"

    def __init__(self, name: str, tier: Tier, error: Exception | None = None) -> None:
        self.name = name
        self.tier: Tier = tier
        self.error = error
        self.runs = 0

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        self.runs += 1
        yield scoring.kfr_result(f"{self.name}:a", self.tier, context, ["Nobody knows."] * len(context.forget))
        if self.error:
            raise self.error
        yield scoring.not_run(f"{self.name}:b", self.tier, "kfr", "nothing there")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    made = [Fake("one", 0), Fake("two", 1), Fake("three", 2)]
    monkeypatch.setattr(
        registry,
        "attacks",
        lambda tiers=None: tuple(cast("list[Attack]", [f for f in made if tiers is None or f.tier in tiers])),
    )
    return made


@pytest.fixture
def context(tmp_path: Path) -> AttackContext:
    return AttackContext(
        loaded=tiny(tmp_path / "base"),
        adapter=tmp_path / "adapter",
        forget=FORGET,
        forgotten={SUBJECT: 0.75},
        backends=Backends(embedder=ExactEmbedder()),
    )


def test_what_ran_and_what_did_not_is_told(fakes: list[Fake], context: AttackContext) -> None:
    told: list[tuple[str, int, int]] = []
    watched = replace(context, progress=lambda *step: told.append(step))
    found = suite.run_attacks(watched, tiers=frozenset({0, 1}))
    assert [result.name for result in found.results] == ["one:a", "one:b", "two:a", "two:b"]
    assert found.not_run == {"three": "tier 2 was not chosen", "one:b": "nothing there", "two:b": "nothing there"}
    assert found.tiers == (0, 1)
    assert [step for step in told if step[0] == "attacks"] == [("attacks", 1, 2), ("attacks", 2, 2)]
    first = found.named("one:a")
    assert first is not None
    assert (first.before, first.value) == (0.75, 1.0)
    assert found.seconds == pytest.approx(sum(result.seconds for result in found.results))
    assert suite.AttackSuite.model_validate_json(found.model_dump_json()) == found


def test_some_by_name(fakes: list[Fake], context: AttackContext) -> None:
    found = suite.run_attacks(context, tiers=ALL, only=["two"])
    assert {result.name for result in found.results} == {"two:a", "two:b"}
    assert found.not_run["one"] == "it was not among those asked for"
    with pytest.raises(LetheError, match=r"verify\.unknown_attack"):
        suite.run_attacks(context, tiers=ALL, only=["four"])


def test_what_is_finished_is_read_back_and_the_rest_runs(
    fakes: list[Fake], context: AttackContext, tmp_path: Path
) -> None:
    fakes[1].error = LetheError("verify.model_unavailable", "The judge is down.")
    out = tmp_path / "out"
    first = suite.run_attacks(context, tiers=ALL, out_dir=out)
    failed = first.named("two")
    assert failed is not None
    assert (failed.state, failed.value, failed.note) == ("undecided", None, "verify.model_unavailable")
    assert sorted(file.name for file in out.glob("*.json")) == ["one.json", "three.json"]
    fakes[1].error = None
    second = suite.run_attacks(context, tiers=ALL, out_dir=out)
    assert [fake.runs for fake in fakes] == [1, 2, 1]
    assert second.named("two:b") is not None
    assert second.named("one:a") == first.named("one:a")
    assert suite.run_attacks(context, tiers=ALL, out_dir=out) == second
    assert [fake.runs for fake in fakes] == [1, 2, 1]


@pytest.mark.parametrize("change", ["key", "seed", "probes", "texts", "adapter", "before", "code"])
def test_another_case_is_run_anew(
    fakes: list[Fake], context: AttackContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    suite.run_attacks(context, tiers=ALL, out_dir=out, key="a")
    key = "b" if change == "key" else "a"
    if change == "seed":
        context = replace(context, settings=context.settings.model_copy(update={"seed": 1}))
    if change == "probes":
        context = replace(context, forget=FORGET[:-1])
    if change == "texts":  # the same ids
        context = replace(context, forget=(replace(FORGET[0], question="Another question?"), *FORGET[1:]))
    if change == "code":
        monkeypatch.setattr(suite, "source_digest", lambda: "other")
    if change == "before":
        context = replace(context, forgotten={SUBJECT: 0.5})
    if change == "adapter":
        context.adapter.mkdir()
        (context.adapter / "adapter_model.safetensors").write_bytes(b"other")
    suite.run_attacks(context, tiers=ALL, out_dir=out, key=key)
    assert [fake.runs for fake in fakes] == [2, 2, 2]


@pytest.mark.parametrize("content", ["", "{", '{"attack": "one"}', "null"])
def test_a_file_that_cannot_be_read_counts_for_nothing(
    fakes: list[Fake], context: AttackContext, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "one.json").write_text(content)
    suite.run_attacks(context, tiers=frozenset({0}), out_dir=out)
    assert fakes[0].runs == 1
    assert json.loads((out / "one.json").read_text())["attack"] == "one"


def test_files_hold_no_text(fakes: list[Fake], context: AttackContext, tmp_path: Path) -> None:
    suite.run_attacks(context, tiers=ALL, out_dir=tmp_path / "out")
    assert ((tmp_path / "out" / ".key").stat().st_mode & 0o077) == 0
    for file in (tmp_path / "out").glob("*.json"):
        text = file.read_text()
        assert not any(probe.question in text or (probe.value or "?") in text for probe in FORGET)
        assert "Mara" not in text


def test_a_fault_of_ours_is_no_result(fakes: list[Fake], context: AttackContext) -> None:
    fakes[0].error = ZeroDivisionError("a fault")
    with pytest.raises(ZeroDivisionError):
        suite.run_attacks(context, tiers=ALL)


def test_a_cancel_keeps_what_is_finished(fakes: list[Fake], context: AttackContext, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped = replace(context, should_cancel=lambda: fakes[0].runs > 0)
    with pytest.raises(LetheError, match=r"unlearn\.cancelled"):
        suite.run_attacks(stopped, tiers=ALL, out_dir=out)
    assert [file.name for file in out.glob("*.json")] == ["one.json"]
    fakes[1].error = LetheError("unlearn.cancelled", "The run was cancelled.")
    with pytest.raises(LetheError, match=r"unlearn\.cancelled"):
        suite.run_attacks(context, tiers=ALL, out_dir=out)
    assert [fake.runs for fake in fakes] == [1, 1, 0]


def test_the_figure_without_an_attack_is_measured_where_it_is_missing(
    fakes: list[Fake], context: AttackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = [probe.answer if n % 2 else "Nobody knows." for n, probe in enumerate(FORGET)]
    monkeypatch.setattr(suite, "ask", lambda context, attack, prompts: half)
    found = suite.run_attacks(replace(context, forgotten={}), tiers=ALL)
    assert {result.before for result in found.results if result.value is not None} == {0.5}


def test_attacks_register_once() -> None:
    names = [attack.name for attack in registry.attacks()]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="already"):
        registry.attack(type(registry.attacks()[0]))
