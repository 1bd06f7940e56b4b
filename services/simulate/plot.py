"""The simulation as a plot: GPU hours per ticket over the rate of arrival, shared and not."""

import io
from collections.abc import Sequence

from services.simulate.arrivals import Outcome

INK, MUTED = "#1c2733", "#8794a1"


def draw(years: Sequence[tuple[Outcome, Outcome]]) -> str:
    """SVG, the same for the same years.

    Args:
        years: For each rate, with tickets sharing runs and without.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "lethe", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        rates = [shared.a_month for shared, _ in years]
        axes.plot(rates, [one.hours_a_ticket for _, one in years], "o--", color=MUTED, label="a run for each ticket")
        axes.plot(rates, [one.hours_a_ticket for one, _ in years], "o-", color=INK, label="tickets share runs")
        for one, _ in years:
            at = (one.a_month, one.hours_a_ticket)
            axes.annotate(f"{one.gpus} GPU", at, (0, 7), textcoords="offset points", ha="center", fontsize=8)
        axes.set(xscale="log", xlabel="tickets a month", ylabel="GPU hours per ticket", ylim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()
