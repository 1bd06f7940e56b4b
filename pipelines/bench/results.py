"""From finished units to the result: means over seeds, ranks, paired differences, targets. Ids and figures only."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.bench import as_published, figure, paper
from pipelines.bench.candidates import PLAIN, RELEARN
from pipelines.gates.subject import REPEAT_FLOOR
from pipelines.verify import bounds

FORMAT = "lethe.bench/1"
RESAMPLES = 10_000
SCRATCH_NOTE = (
    "All results are from small models trained from scratch here; a larger model may rank the methods otherwise."
)
TARGETS: tuple[tuple[str, str, str, float], ...] = (
    ("KFR, validation questions", "v_kfr", ">=", 0.95),
    ("KFR, unseen phrasings", "p_kfr", ">=", 0.95),
    ("KRR of the base's, validation questions", "v_krr_ratio", ">=", 0.90),
    ("KRR of the base's, unseen phrasings", "p_krr_ratio", ">=", 0.90),
    ("Fluent answers, unseen phrasings", "p_fluent", ">=", 0.95),
    ("LS, as a share of the reference hedges' LS", "p_ls_ratio", ">=", 0.9),
    ("median PPL over the reference hedges'", "p_ppl_ratio", "<=", 2.0),
    ("repeated 4-grams over the reference hedges'", "p_repeat_ratio", "<=", 1.2),
    ("Person named in the answer, unseen phrasings", "p_named", ">=", 0.95),
    ("leak@k over the control's", "leak_over_control", "<=", 0.05),
    ("KFR lost to 4 bits", "four_bit_drop", "<=", 0.05),
    ("hits after relearning, over the control's", "relearn_over_control", "<=", 0.10),
)


def with_ratios(figures: Mapping[str, float | None], base: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures of one model with those that need its own base's or the reference's beside them."""
    made = dict(figures)
    for which in ("v", "p"):
        made[f"{which}_krr_ratio"] = _ratio(figures.get(f"{which}_krr"), base.get(f"{which}_krr"))
        for name, least in (("ls", 0.0), ("ppl", 0.0), ("repeat", REPEAT_FLOOR)):
            reference = figures.get(f"{which}_{name}_reference")
            reference = None if reference is None else max(reference, least)
            made[f"{which}_{name}_ratio"] = _ratio(figures.get(f"{which}_{name}"), reference)
    return made


def mean_figures(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each figure over the seeds that have it."""
    names = {name for row in rows for name in row}
    made: dict[str, float | None] = {}
    for name in sorted(names):
        known = [value for row in rows if (value := row.get(name)) is not None]
        made[name] = statistics.fmean(known) if known else None
    return made


def spread(rows: Sequence[Mapping[str, float | None]], name: str) -> tuple[float, float] | None:
    """Least and greatest of a figure over the seeds."""
    known = [value for row in rows if (value := row.get(name)) is not None]
    return (min(known), max(known)) if known else None


def table(
    base: Mapping[str, float | None],
    control: Mapping[str, float | None],
    finals: Mapping[str, Sequence[Mapping[str, Any]]],
    waiting: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """The rows of the table of one base: base, control, then the methods in their order.

    Args:
        base: The base's figures with their ratios, mean over seeds.
        control: The control's.
        finals: By method, one result for each finished seed: ``figures`` with the ratios to that seed's base, and
            ``seconds``, or ``failed`` with a code.
        waiting: By method, how many of its units are still to come.
    """
    rows: dict[str, dict[str, float | None]] = {}
    details: dict[str, dict[str, Any]] = {}
    for name, runs in finals.items():
        whole = [run for run in runs if "failed" not in run]
        figures = [run["figures"] for run in whole]
        rows[name] = mean_figures(figures)
        rows[name]["seconds"] = mean_figures([{"seconds": run.get("seconds")} for run in whole]).get("seconds")
        details[name] = {
            "seeds": len(whole),
            "failed": sorted({str(run["failed"]) for run in runs if "failed" in run}),
            "spread": {
                key: spread(figures, key) for key in ("p_kfr_fluent", "utility", "leak_over_control", "strength")
            },
        }
    # The seeds that came to an end say nothing about those that did not.
    ranks = {name: {} if details[name]["failed"] else found for name, found in rows.items()}
    order = figure.ranked(ranks)
    made: list[dict[str, Any]] = [
        _beside("base", base),
        _beside("control", control),
    ]
    for rank, name in enumerate(order, start=1):
        found = rows[name]
        made.append(
            {
                "name": name,
                "kind": _kind(name),
                "rank": rank if figure.combined(ranks[name]) is not None else None,
                "figures": found,
                "combined": figure.combined(ranks[name]),
                "parts": figure.parts_of(found),
                "eligible": figure.eligible(found),
                "waiting": (waiting or {}).get(name, 0),
                **details[name],
            }
        )
    return made


def first(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Who ranks first; None where nobody with a figure keeps the utility."""
    return next((str(row["name"]) for row in rows if row["rank"] == 1 and row["eligible"]), None)


def best_relearn(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The ReLearn variant that ranks first among its kin, at equal utility; the published one is none of them."""
    kin = (row for row in rows if row["name"] in RELEARN and row["eligible"] and row["combined"] is not None)
    return next((str(row["name"]) for row in kin), None)


def differences(
    finals: Mapping[str, Sequence[Mapping[str, Any]]], best: str, metric: str, seed: int = 0
) -> list[dict[str, Any]]:
    """Mean difference of a subject's figure between the best ReLearn and every other method, bootstrapped by subject.

    Each subject's figure is its mean over the seeds first: seeds of one subject are not independent of each other.
    Seeds count where both methods came to an end. The interval is a two-sided 95 % one.
    """
    made = []
    for name in finals:
        mine, theirs = (
            {run["seed"]: run for run in finals.get(one, ()) if "failed" not in run} for one in (best, name)
        )
        pairs = [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]
        ours, others = (_by_subject([pair[side] for pair in pairs], metric) for side in (0, 1))
        both = sorted(ours.keys() & others.keys())
        if name == best or not both:
            continue
        gaps = [ours[ref] - others[ref] for ref in both]
        found = bounds.bootstrap_means(
            both, [gaps], lambda means: means[:, 0], seed=seed, resamples=RESAMPLES, level=0.975
        )
        made.append(
            {
                "other": name,
                "metric": metric,
                "difference": statistics.fmean(gaps),
                "lower": found.lower,
                "upper": found.upper,
                "seeds": len(pairs),
                "subjects": len(both),
                "enough": len(both) >= 5,
            }
        )
    return made


def targets(row: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The targets of the benchmark and whether a row meets them; a figure that is missing meets nothing."""
    figures = row["figures"] if row else {}
    made = []
    for label, name, sign, limit in TARGETS:
        value = figures.get(name)
        met = None if value is None else value >= limit if sign == ">=" else value <= limit
        made.append({"target": label, "sign": sign, "limit": limit, "value": value, "met": met})
    return made


def paper_rows() -> list[dict[str, Any]]:
    """The paper's table, by its own names."""
    return [{"name": name, **dict(zip(paper.COLUMNS, row, strict=True))} for name, row in paper.TABLE_1.items()]


def _beside(name: str, figures: Mapping[str, float | None]) -> dict[str, Any]:
    """The row of a model that takes no part in the ranking."""
    plain: dict[str, Any] = {"name": name, "kind": name, "rank": None, "combined": None, "eligible": True, "failed": []}
    plain["waiting"] = 0
    return {**plain, "figures": figures}


def _by_subject(runs: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for ref, named in run.get("subjects", {}).items():
            if metric in named:
                found.setdefault(ref, []).append(named[metric])
    return {ref: statistics.fmean(values) for ref, values in found.items()}


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _kind(name: str) -> str:
    if name == as_published.NAME:
        return "published"
    return "plain" if name == PLAIN else "relearn" if name in RELEARN else "method"
