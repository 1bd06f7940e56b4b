"""The table as text, for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

Column = tuple[str, str, int]
COLUMNS: tuple[Column, ...] = (
    ("KFR v", "v_kfr", 3),
    ("KFR p", "p_kfr", 3),
    ("KFRfl p", "p_kfr_fluent", 3),
    ("KRR v", "v_krr_ratio", 3),
    ("KRR p", "p_krr_ratio", 3),
    ("LS p", "p_ls", 3),
    ("ES p", "p_es", 3),
    ("GenEx p", "p_gen_ex", 2),
    ("RelEx p", "p_rel_ex", 2),
    ("leak", "leak", 3),
    ("leak up", "leak_high", 3),
    ("-ctrl", "leak_over_control", 3),
    ("4bit", "four_bit_drop", 3),
    ("relearn", "relearn", 3),
    ("-ctrl", "relearn_over_control", 3),
    ("utility", "utility", 3),
    ("strength", "strength", 2),
    ("trained:", "trained_utility", 3),
    ("KFRfl p", "trained_p_kfr_fluent", 3),
    ("s", "seconds", 0),
)
LEGEND = (
    "v: the data set's validation questions, p: phrasings that no row used; KFRfl: forgotten and fluent; KRR and "
    "utility: share of the base's; leak up: upper 95 % bound; -ctrl: over the control's; 4bit: KFR lost; relearn: hits "
    "on facts that were not leaked; strength: how much of its change a method was left with to keep 95 % of the "
    "utility; trained: utility and KFRfl p before that. Figures in brackets rank last: no strength kept that much."
)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a result, the targets, what is first and the notes."""
    if result["smoke"]:
        yield "SMOKE RUN: few people, stored settings, one seed. No conclusion about methods stands on it."
    if result["note"]:
        yield str(result["note"])
    if result["missing"]:
        yield f"{len(result['missing'])} units are not yet run: a place in the table may change."
    for kind, found in result["bases"].items():
        yield ""
        yield f"base: {kind}, {found['seeds']} seed(s)"
        yield f"{'':4}{'method':22}{'figure':>8}" + "".join(f"{name:>9}" for name, _, _ in COLUMNS)
        for row in found["table"]:
            yield _line(row)
    yield ""
    yield budget(result["budget"])
    yield LEGEND
    yield ""
    best, leader = (result[key] or "none at equal utility" for key in ("best_relearn", "first"))
    yield f"best ReLearn: {best}; first: {leader}"
    for target in result["targets"]:
        state = {True: "met", False: "missed", None: "not measured"}[target["met"]]
        yield (f"  {target['target']:48}{cell(target['value'], 3):>8} {target['sign']} {target['limit']:.2f}  {state}")


def budget(found: Mapping[str, Any]) -> str:
    """What every method was allowed, in one line."""
    seeds = ", ".join(str(seed) for seed in found["final_seeds"])
    search = f"{found['trials_each']} trials on {found['slice_people']} people" if found["trials_each"] else "no search"
    return (
        f"budget of each method: {search}; final seeds {seeds}, {found['attacked_seeds']} of them attacked; "
        f"{found['samples']} samples a prompt"
    )


def cell(value: float | None, places: int) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"


def _line(row: Mapping[str, Any]) -> str:
    rank = "" if row["rank"] is None else str(row["rank"])
    figure = cell(row["combined"], 3)
    if row["rank"] is not None and not row.get("eligible", True):
        figure = f"({figure})"
    cells = "".join(f"{cell(row['figures'].get(name), places):>9}" for _, name, places in COLUMNS)
    failed = f"  failed: {', '.join(row['failed'])}" if row.get("failed") else ""
    waiting = f"  not yet run: {row['waiting']}" if row.get("waiting") else ""
    return f"{rank:>3} {row['name']:22}{figure:>8}{cells}{failed}{waiting}"
