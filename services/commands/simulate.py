"""`lethe simulate`: what arrivals would ask of an installation, before they come."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.simulate.arrivals import Outcome, Scene

app = typer.Typer(no_args_is_help=True, help="Play arrivals through: runs, GPU hours, missed dates.")
RATES = (10.0, 100.0, 1_000.0, 10_000.0)
_HEAD = "a month  tickets  GPUs   runs  tickets/run  GPU h/ticket  unshared  missed (by people)  busy  days p50/max"


@app.callback()
def simulate() -> None:
    """Play arrivals through: runs, GPU hours, missed dates."""


@app.command()
def arrivals(
    per_month: Annotated[list[float] | None, typer.Option(min=0.1, max=100_000, help="Tickets a month.")] = None,
    regime: Annotated[str, typer.Option(help="Whose clocks count: a pack's name or path.")] = "gdpr",
    run_s: Annotated[float, typer.Option(min=0, help="Seconds of a run on one GPU, whatever its tickets.")] = 10.0,
    ticket_s: Annotated[float, typer.Option(min=0, help="Seconds that each ticket of a run adds.")] = 37.0,
    earlier_s: Annotated[float, typer.Option(min=0, help="Seconds for each earlier person verified again.")] = 20.0,
    earlier_most: Annotated[int, typer.Option(min=0, help="Most earlier people verified again in a run.")] = 20,
    failed: Annotated[float, typer.Option(min=0, max=0.9, help="Share of runs that come to nothing.")] = 0.05,
    window_days: Annotated[float, typer.Option(min=0, help="How long a ticket waits for others.")] = 7.0,
    most: Annotated[int, typer.Option(min=1, help="Most tickets of one run.")] = 50,
    reserve_days: Annotated[float, typer.Option(min=0, help="Kept between a run's expected end and the date.")] = 3.0,
    people_days: Annotated[float, typer.Option(min=0.1, help="Days until people have approved, on average.")] = 5.0,
    scaling: Annotated[float, typer.Option(min=0, max=1, help="Speed that a doubling of the GPUs adds.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (SVG) here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A year of arrivals: GPU hours per ticket, and the fewest GPUs with which nobody's date is missed.

    The defaults are the lengths of runs of the demo's model on two CPU cores (docs/deadlines.md): give your own.
    """
    from policies.pack import load_pack
    from services.simulate.arrivals import Costs, Scene, alone, play, smallest

    pack = load_pack(regime)
    costs = Costs(fixed_s=run_s, ticket_s=ticket_s, earlier_s=earlier_s, earlier_most=earlier_most, failed=failed)
    years = []
    if not as_json:
        print(_HEAD)
    for rate in per_month or RATES:
        scene = Scene(
            a_month=rate,
            rules=pack.data.deadlines,
            zone=pack.data.zone,
            costs=costs,
            window=timedelta(days=window_days),
            most=most,
            reserve=timedelta(days=reserve_days),
            people_days=people_days,
            scaling=scaling,
            seed=seed,
        )
        best = smallest(scene)
        years.append((scene, best, play(alone(scene), best.gpus)))
        if not as_json:
            print(_line(*years[-1]), flush=True)
    if plot is not None:
        from services.simulate.plot import draw

        plot.write_text(draw([(best, single) for _, best, single in years]), encoding="utf-8")
    if as_json:
        print(json.dumps({"regime": regime, "seed": seed, "years": [_row(*year) for year in years]}))


def _row(scene: "Scene", best: "Outcome", single: "Outcome") -> dict[str, Any]:
    return {
        "per_month": scene.a_month,
        "tickets": best.tickets,
        "gpus": best.gpus,
        "runs": best.runs,
        "tickets_per_run": round(best.tickets_a_run, 2),
        "gpu_hours": round(best.gpu_hours, 3),
        "gpu_hours_per_ticket": round(best.hours_a_ticket, 6),
        "gpu_hours_per_ticket_unshared": round(single.hours_a_ticket, 6),
        "missed": best.missed,
        "missed_by_people": best.unavoidable,
        "busy": round(best.busiest, 4),
        "days_median": round(best.days[0], 2),
        "days_longest": round(best.days[1], 2),
    }


def _line(scene: "Scene", best: "Outcome", single: "Outcome") -> str:
    return (
        f"{scene.a_month:>7g}  {best.tickets:>7}  {best.gpus:>4}  {best.runs:>5}  {best.tickets_a_run:>11.1f}"
        f"  {best.hours_a_ticket:>12.4f}  {single.hours_a_ticket:>8.4f}  {best.missed:>6} ({best.unavoidable:>9})"
        f"  {best.busiest:>4.0%}  {best.days[0]:>5.1f} / {best.days[1]:.1f}"
    )
