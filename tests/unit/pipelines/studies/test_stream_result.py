"""Lines and targets of a stream, by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.studies.stream_page import write_stream_page
from pipelines.studies.stream_result import lines, own_release, retries, targets


def after(kfr: dict[str, float | None], ratio: float | None = 1.0, named: float = 1.0) -> dict[str, Any]:
    subjects = {name: {"kfr": value, "named": named, "own": 1.0} for name, value in kfr.items()}
    return {"subjects": subjects, "rest": {"ratio": ratio}, "seconds": {"generate": 2.0, "score": 0.5}}


def training(seconds: float, cpu: float, resumed_at: int = 0) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": cpu, "steps": 10, "resumed_at": resumed_at}


def erasure(number: int, kfr: dict[str, float | None], **kinds: Any) -> dict[str, Any]:
    given = {"ratio": 1.0, "cpu": 4.0, **kinds}
    ours = {"training": training(9.0, given["cpu"]), "after": after(kfr, given["ratio"])}
    return {"number": number, "subject": f"p{number}", "ours": ours}


def three() -> list[dict[str, Any]]:
    return [
        erasure(1, {"p1": 1.0}),
        erasure(2, {"p1": 0.98, "p2": 0.9}, ratio=0.97),
        erasure(3, {"p1": 0.99, "p2": 0.86, "p3": 1.0}),
    ]


def test_a_line_says_who_came_back_most() -> None:
    found = lines(three())
    assert [line.number for line in found] == [1, 2, 3]
    assert found[0].drop is None
    assert found[1].drop == pytest.approx(0.02)
    assert found[2].drop == pytest.approx(0.04)  # p2 came down from 0.9 in its own release
    assert found[2].kfr_worst == 0.86
    assert found[2].kfr_mean == pytest.approx(0.95)
    assert found[2].verify_seconds == 2.5
    assert own_release(three()) == {"p1": 1.0, "p2": 0.9, "p3": 1.0}


def test_a_person_who_could_not_be_asked_is_no_reached_target() -> None:
    erasures = three()
    erasures[2]["ours"]["after"]["subjects"]["p1"]["kfr"] = None
    assert lines(erasures)[2].drop is None
    assert targets(erasures)[0].state == "undecided"
    erasures[1]["ours"]["after"]["subjects"]["p1"]["kfr"] = 0.7
    assert targets(erasures)[0].state == "missed"


def test_targets() -> None:
    drop, rest, cost = targets(three())
    assert (drop.name, drop.state) == ("earlier_drop", "reached")
    assert drop.value == pytest.approx(0.04)
    assert (rest.name, rest.value, rest.state) == ("rest_krr", 0.97, "reached")
    assert (cost.name, cost.value, cost.state) == ("training_cost", None, "not_run")
    worse = [*three(), erasure(4, {"p1": 0.93, "p2": 0.9, "p3": 1.0, "p4": 1.0}, ratio=0.94)]
    drop, rest, _ = targets(worse)
    assert (drop.state, rest.state) == ("missed", "missed")
    assert drop.value == pytest.approx(0.07)


def test_a_drop_of_just_the_limit_is_within_it() -> None:
    drop = targets([erasure(1, {"p1": 1.0}), erasure(2, {"p1": 0.95, "p2": 1.0}, ratio=0.95)])[0]
    assert drop.value is not None
    assert drop.value > drop.limit  # by a rounding error
    assert drop.state == "reached"


def test_a_compacted_adapter_that_was_adopted_counts_and_another_does_not() -> None:
    erasures = three()
    erasures[2]["restart"] = {
        "training": training(1, 1),
        "after": after({"p1": 0.5, "p2": 1, "p3": 1}),
        "adopted": False,
    }
    assert targets(erasures)[0].state == "reached"
    erasures[2]["restart"]["adopted"] = True
    assert targets(erasures)[0].value == pytest.approx(0.5)


def test_a_warm_start_that_missed_and_was_not_released_does_not_count() -> None:
    erasures = three()
    erasures[2]["ours"]["after"] = after({"p1": 0.5, "p2": 1, "p3": 0.4}, ratio=0.9)
    assert [one.state for one in targets(erasures)[:2]] == ["missed", "missed"]
    again: dict[str, Any] = {
        "training": training(7, 9),
        "after": after({"p1": 1, "p2": 1, "p3": 0.96}),
        "adopted": True,
    }
    erasures[2]["restart"] = again | {"instead": True}
    assert [one.state for one in targets(erasures)[:2]] == ["reached", "reached"]
    assert own_release(erasures)["p3"] == 0.96
    assert retries(erasures) == (1, 7)


def test_the_cost_is_that_of_the_thirtieth_over_the_third() -> None:
    whole = [erasure(n, {f"p{n}": 1.0}, cpu=4.0 + 0.1 * n) for n in range(1, 31)]
    cost = targets(whole)[2]
    assert cost.value == pytest.approx(7.0 / 4.3)
    assert cost.state == "missed"
    assert targets(whole, device="cuda")[2].value == 1.0  # wall time, which is 9 s throughout
    whole[29]["ours"]["training"]["resumed_at"] = 25
    assert targets(whole)[2].state == "undecided"
    whole[29]["ours"]["training"]["resumed_at"] = 0
    again = {"training": training(20.0, 8.0), "after": after({"p30": 1.0}), "adopted": True, "instead": False}
    whole[29]["restart"] = again
    assert targets(whole)[2].value == pytest.approx(7.0 / 4.3), "a compaction is told apart"
    whole[29]["restart"] = again | {"instead": True}
    assert targets(whole)[2].value == pytest.approx(15.0 / 4.3), (
        "what stands in a missed warm start's place is its cost"
    )
    short = targets(whole[:5])[2]
    assert short.state == "not_run"
    assert short.value == pytest.approx(4.5 / 4.3)


def test_added_adapters_have_the_newest_ones_cost() -> None:
    erasures = three()
    erasures[1] |= {"alone": {"training": training(7.0, 3.0)}, "summed": {"after": after({"p1": 0.2, "p2": 0.1}, 0.3)}}
    (line,) = [line for line in lines(erasures) if line.way == "summed"]
    assert (line.train_seconds, line.rest, line.kfr_worst) == (7.0, 0.3, 0.1)
    assert math.isclose(line.drop or 0, 0.8)


def test_the_page_has_every_plot_as_svg_and_png(tmp_path: Path) -> None:
    erasures = three()
    erasures[2]["ours"]["after"]["subjects"]["p1"]["kfr"] = None
    result = {"erasures": erasures, "people": 5, "rest_probes": 7}
    page = write_stream_page(result, tmp_path)
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "earlier_drop" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "index.html",
        *(f"{n}.{k}" for n in ("comes-back", "worst", "rest", "cost") for k in ("svg", "png")),
    }
    first = page.read_bytes()
    write_stream_page(result, tmp_path)
    assert page.read_bytes() == first
