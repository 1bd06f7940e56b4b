import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from policies.pack import load_pack
from services.cli import app
from services.simulate.arrivals import YEAR, Costs, Scene, alone, play, smallest, speed_of, tickets_of
from services.simulate.plot import draw


def scene(a_month: float = 40, **changes: object) -> Scene:
    pack = load_pack("gdpr")
    fields = {
        "a_month": a_month,
        "rules": pack.data.deadlines,
        "zone": pack.data.zone,
        "costs": Costs(fixed_s=3600, ticket_s=600),
        "window": timedelta(days=7),
        "most": 20,
        "reserve": timedelta(days=3),
    }
    return Scene(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_same_seed_is_the_same_year() -> None:
    assert play(scene(), 1) == play(scene(), 1)
    assert play(scene(), 1) != play(scene(seed=1), 1)


def test_about_as_many_arrive_as_was_said_and_all_of_them_are_done() -> None:
    found = play(scene(100), 1)
    assert found.tickets == len(tickets_of(scene(100)))
    assert 1200 - 4 * 35 < found.tickets < 1200 + 4 * 35  # four standard deviations of a Poisson count


def test_sharing_saves_what_a_run_costs_whatever_its_tickets() -> None:
    shared, single = play(scene(100), 1), play(alone(scene(100)), 1)
    assert shared.tickets == single.tickets == single.runs
    assert shared.gpu_hours == pytest.approx(shared.runs * 1.0 + shared.tickets / 6, rel=1e-6)
    assert single.hours_a_ticket == pytest.approx(1 + 1 / 6, rel=1e-6)
    assert shared.hours_a_ticket < single.hours_a_ticket / 2


def test_few_tickets_are_done_in_time_and_wait_no_longer_than_they_must() -> None:
    found = play(scene(10), 1)
    assert found.missed == found.unavoidable
    assert found.busiest < 0.05


def test_where_one_gpu_is_too_few_the_smallest_number_that_misses_none_is_found() -> None:
    heavy = scene(200, costs=Costs(fixed_s=20_000, ticket_s=20_000))
    few, enough = play(heavy, 1), smallest(heavy)
    assert few.missed > few.unavoidable
    assert enough.gpus > 1
    assert enough.missed == enough.unavoidable
    half = play(heavy, enough.gpus // 2)
    assert half.missed > half.unavoidable


def test_runs_that_come_to_nothing_cost_and_their_tickets_are_done_all_the_same() -> None:
    sure, unlucky = play(scene(), 1), play(scene(costs=Costs(fixed_s=3600, ticket_s=600, failed=0.3)), 1)
    assert unlucky.tickets == sure.tickets
    assert unlucky.gpu_hours > sure.gpu_hours


def test_people_forgotten_before_are_verified_again_up_to_a_limit() -> None:
    costs = Costs(fixed_s=0, ticket_s=1, earlier_s=10, earlier_most=3)
    assert [costs.run(earlier, 1.0).fixed_s for earlier in (0, 2, 3, 50)] == [0, 20, 30, 30]
    assert costs.run(2, 4.0).fixed_s == 5


def test_a_doubling_of_gpus_adds_what_was_said() -> None:
    assert speed_of(1, 0.8) == 1
    assert speed_of(4, 0.8) == pytest.approx(1.8**2)
    assert speed_of(8, 1.0) == 8
    assert speed_of(8, 0.0) == 1


def test_gpu_hours_are_those_of_every_gpu_of_a_run() -> None:
    one, four = play(scene(scaling=1.0), 1), play(scene(scaling=1.0), 4)
    assert four.busiest < one.busiest
    assert four.gpu_hours == pytest.approx(four.busiest * YEAR / timedelta(hours=1) * 4)


def test_the_command_prints_every_rate_and_draws(tmp_path: object) -> None:
    from pathlib import Path

    plot = Path(str(tmp_path)) / "year.svg"
    call = ["simulate", "arrivals", "--per-month", "10", "--per-month", "30", "--plot", str(plot)]
    told = CliRunner().invoke(app, [*call, "--json"])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.output)["years"]
    assert [row["per_month"] for row in rows] == [10, 30]
    assert all(row["missed"] == row["missed_by_people"] for row in rows)
    assert "tickets share runs" in plot.read_text()
    shown = CliRunner().invoke(app, call)
    assert "GPU h/ticket" in shown.output
    years = [(play(scene(10), 1), play(alone(scene(10)), 1))]
    assert draw(years) == draw(years)
