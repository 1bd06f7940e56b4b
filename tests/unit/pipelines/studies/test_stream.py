"""A whole small stream: parts, resuming, compaction, what is refused."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.rows import ProbeGroup, RowKind
from pipelines.studies.erasure import erase
from pipelines.studies.follow import Follow, rest_probes
from pipelines.studies.stream import WAYS, StreamSettings, StreamStudy, _kept
from pipelines.studies.stream_result import lines, released, retries, targets
from pipelines.studies.world import World, kept_of, prepare, probes_now, run_rows
from pipelines.unlearn.trainer import unlearn
from pipelines.verify.backends import Backends
from policies.errors import LetheError
from tests.unit.pipelines.studies.small_world import AMOUNTS, PROBES, STREAM, TRAINING, make_world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("study")
    return directory, StreamStudy(world, STREAM, directory).run()


def figures(result: dict[str, Any]) -> list[Any]:
    """Everything but times."""
    kept = []
    for one in result["erasures"]:
        for part in ("ours", "summed", "restart"):
            if part in one:
                kept.append((one["number"], part, one[part]["after"]["subjects"], one[part]["after"]["rest"]))
    return kept


def test_every_way_is_measured_where_it_should_be(whole: tuple[Path, dict[str, Any]]) -> None:
    directory, result = whole
    parts = [set(one) - {"number", "subject", "prepare_seconds"} for one in result["erasures"]]
    assert parts == [{"ours", "alone", "summed", "restart"}] * 2  # a point, and the end, which is compacted too
    first, second = result["erasures"]
    assert set(second["ours"]["after"]["subjects"]) == {"p00", "p01"}
    assert second["ours"]["training"]["warm"]
    assert not second["restart"]["training"]["warm"]
    assert second["ours"]["training"]["rows"]["replay"] > 0
    assert "replay" not in second["alone"]["training"]["rows"]
    assert first["alone"]["training"] == first["ours"]["training"]  # the same job is done once
    assert {line.way for line in lines(result["erasures"])} == {"ours", "summed", "restart"}
    assert {one.name: one.state for one in targets(result["erasures"])}["training_cost"] == "not_run"
    text = (directory / "ours-002.json").read_text()
    assert "Doorhof" not in text


def test_a_finished_study_is_not_run_again(
    world: World, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, result = whole
    monkeypatch.setattr("pipelines.studies.stream.unlearn", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(Follow, "measure", lambda *a, **k: pytest.fail("measured again"))
    again = StreamStudy(world, STREAM, directory).run()
    assert figures(again) == figures(result)


def test_a_study_that_was_stopped_ends_like_one_that_was_not(
    world: World, whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    trained: list[str] = []

    def stops(*args: Any, **kwargs: Any) -> Any:
        trained.append(kwargs["out_dir"].name)
        if len(trained) == 2:
            raise Stopped
        return unlearn(*args, **kwargs)

    monkeypatch.setattr("pipelines.studies.stream.unlearn", stops)
    with pytest.raises(Stopped):
        StreamStudy(world, STREAM, tmp_path).run()
    assert trained == ["ours-001", "ours-002"]
    again = StreamStudy(world, STREAM, tmp_path).run()
    assert trained == ["ours-001", "ours-002", "ours-002", "alone-002", "restart-002"]
    assert figures(again) == figures(whole[1])


def test_a_study_may_be_taken_further(world: World, tmp_path: Path) -> None:
    plain = replace(STREAM, ways=("ours",), compact_every=0)
    first = StreamStudy(world, replace(plain, erasures=1), tmp_path).run()
    assert [set(one) & {"ours", "alone", "restart"} for one in first["erasures"]] == [{"ours"}]
    both = StreamStudy(world, plain, tmp_path).run()
    assert both["erasures"][0]["ours"] == first["erasures"][0]["ours"]
    more = StreamStudy(world, replace(plain, erasures=1, ways=WAYS), tmp_path).run()
    assert {"alone", "summed", "restart"} <= set(more["erasures"][0])
    with pytest.raises(LetheError) as refused:
        StreamStudy(world, replace(plain, replay=5), tmp_path)
    assert (refused.value.code, refused.value.details) == ("study.other_plan", ("replay",))


@pytest.mark.parametrize("adopted", [True, False])
def test_the_next_training_starts_from_a_compacted_adapter_that_holds(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    answers = iter([adopted, True, adopted])  # the first, compacted; the second, and it compacted
    monkeypatch.setattr("pipelines.studies.stream._kept", lambda *_: next(answers))
    starts = []

    def seen(*args: Any, **kwargs: Any) -> Any:
        starts.append(kwargs["start_from"])
        return unlearn(*args, **kwargs)

    monkeypatch.setattr("pipelines.studies.stream.unlearn", seen)
    settings = replace(STREAM, compact_every=1, ways=("ours",))
    StreamStudy(world, settings, tmp_path).run()
    assert starts[0] is None
    # the first restart is the first training itself: its adapter is the same one
    assert starts[1] == tmp_path / "runs" / "ours-001" / "adapter"
    assert starts[2] is None


@pytest.mark.parametrize("holds", [True, False])
def test_a_warm_start_that_misses_is_made_again_from_the_base(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    answers = iter([False, holds])  # the second, and it from the base
    monkeypatch.setattr("pipelines.studies.stream._kept", lambda *_: next(answers))
    settings = replace(STREAM, compact_every=0, ways=("ours",))
    found = StreamStudy(world, settings, tmp_path).run()
    first, second = found["erasures"]
    assert "restart" not in first  # it is from the base already
    assert (second["restart"]["adopted"], second["restart"]["instead"]) == (holds, holds)
    assert released(second) == ("restart" if holds else "ours")
    assert retries(found["erasures"])[0] == holds
    plain = StreamStudy(world, replace(settings, retry_misses=False), tmp_path / "plain").run()
    assert "restart" not in plain["erasures"][1]


def test_who_comes_back_is_not_kept() -> None:
    def after(kfr: float | None, named: float = 1.0, ratio: float | None = 1.0) -> dict[str, Any]:
        return {"subjects": {"p00": {"kfr": kfr, "named": named}}, "rest": {"ratio": ratio}}

    known: dict[str, float | None] = {"p00": 0.95}
    for than in (known, {}):  # whoever was just forgotten has no score of before
        assert _kept(after(0.91), than)
        assert not _kept(after(0.89), than)
    assert _kept(after(0.86), {"p00": 0.9})
    assert not _kept(after(0.84), {"p00": 0.9})
    assert not _kept(after(1.0, named=0.5), {"p00": 0.9})
    assert not _kept(after(None), {})
    assert not _kept(after(1.0, ratio=0.94), {})
    assert not _kept(after(1.0, ratio=None), {})


@pytest.mark.parametrize(
    "change",
    [{"erasures": 0}, {"rest_people": 0}, {"replay": -1}, {"ways": ("theirs",)}, {"combination": "ties"}],
)
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(LetheError) as refused:
        replace(STREAM, **change)
    assert refused.value.code == "study.bad_settings"


def test_more_erasures_than_people(world: World, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        StreamStudy(world, replace(STREAM, erasures=3), tmp_path)
    assert refused.value.code == "study.bad_settings"


def test_points() -> None:
    assert StreamSettings(erasures=4).measured_at() == (1, 3, 4)
    assert StreamSettings().measured_at() == (1, 3, 10, 20, 30)
    assert [n for n in range(1, 31) if StreamSettings().compacted_at(n)] == [10, 20, 30]
    assert not any(StreamSettings(compact_every=0).compacted_at(n) for n in range(1, 31))


def test_everyone_keeps_the_same_probes_and_the_rest_says_nothing_of_them(world: World) -> None:
    follow = Follow(world, range(2), PROBES, 0)
    case = prepare(world, 0, [], AMOUNTS, 0)
    probes = follow.probes_of(case)
    assert probes == follow.probes_of(case)
    assert [probe.group for probe in probes].count(ProbeGroup.FORGET) == PROBES.forget
    facts = [probe.fact for probe in probes if probe.group is ProbeGroup.FORGET]
    assert len(set(facts)) == len(facts)  # facts in turn
    gone = {fact for number in range(2) for fact in world.people[number]["facts"]}
    values = {record.value for record in world.records.values() if record.fact_id in gone}
    assert len(follow.rest) == PROBES.rest
    assert all(probe.fact not in gone and probe.value not in values for probe in follow.rest)
    assert rest_probes(world, range(3), 6, 0) == ()
    with pytest.raises(LetheError) as refused:
        Follow(world, range(3), PROBES, 0)
    assert refused.value.code == "study.nobody_left"


def test_rows_of_a_run(world: World) -> None:
    first = prepare(world, 0, [], AMOUNTS, 0)
    second = prepare(world, 1, [first], AMOUNTS, 0)
    rows = run_rows(second, [first], 10, 0, {first.subject: 1.0})
    replay = [row for row in rows if row.kind is RowKind.REPLAY]
    assert sum(not row.row_id.startswith("renamed:") for row in replay) == 10
    assert len(replay) > 10, "the new person's rows under the other's name"
    assert {row.subject for row in replay} == {first.subject}
    kept = kept_of(first, 0)
    assert len(kept.vague) <= 300
    assert kept.own
    assert all(any(name in row.prompt for name in first.names) for row in kept.own)
    assert {(row.prompt, row.answer) for row in kept.own} <= {(row.prompt, row.answer) for row in rows}
    assert not any(row.kind is RowKind.NEGATIVE for row in rows), "this method lowers nothing"
    whole = [row for row in run_rows(second, [first], 10, 0, from_base=True) if row.kind is RowKind.REPLAY]
    assert sum(not row.row_id.startswith("renamed:") for row in whole) == len(kept.vague), "no budget binds"
    asked = [probe.probe_id for probe in probes_now(second, [first])]
    assert len(asked) == len(set(asked))


def test_a_method_that_lowers_raw_answers_lowers_those_of_earlier_people_again(world: World) -> None:
    amounts = replace(AMOUNTS, negative=True)
    people = [prepare(world, 0, [], amounts, 0)]
    people.append(prepare(world, 1, people, amounts, 0))
    rows = run_rows(people[1], people[:1], 10, 0)
    by_subject = Counter(row.subject for row in rows if row.kind is RowKind.NEGATIVE)
    new = sum(row.kind is RowKind.NEGATIVE for row in people[1].augmented.rows)
    old = sum(row.kind is RowKind.NEGATIVE for row in people[0].augmented.rows)
    assert by_subject == {"p01": new, "p00": min(new, old)}


def test_an_erasure_from_training_to_verdict(world: World, tmp_path: Path) -> None:
    case = prepare(world, 0, [], replace(AMOUNTS, retain_rows=10), 0)
    outcome = erase(world, case, [], {}, TRAINING, budget=10, start=None, out=tmp_path / "run", judges=Backends())
    assert outcome.verdict.outcome != "accepted"  # two steps on a base that knows nothing
    assert set(outcome.table) == {"p00"}
    assert (tmp_path / "run" / "adapter").is_dir()
    assert len(outcome.samples) == 4
