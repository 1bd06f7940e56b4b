"""The one figure that ranks the methods, written down before any run, and what it may not do.

It is the harmonic mean of five shares, so that no merit buys off a fault: what is forgotten *in fluent answers*
on phrasings that no row used; what is kept of the base's knowledge; what sampling does not bring out beyond a control
that never knew; what a little relearning does not bring back beyond the same control; and how many answers about the
erased are fluent. The control is subtracted because a model that never saw a person also guesses right now and then:
being better than never having known is no merit. Methods are compared at equal utility (``strength``). One whose
utility fell by more than 5 % all the same is not eligible, whatever its figure: it is listed after all that are. A
part that was not measured leaves the figure open; it is never taken for a pass.
"""

from collections.abc import Mapping, Sequence

UTILITY_MIN = 0.95
PARTS = ("forgotten_fluently", "kept", "not_sampled", "not_relearnt", "fluent")


def harmonic(shares: Sequence[float]) -> float:
    """Harmonic mean of shares within 0..1; 0 where one of them is 0.

    Raises:
        ValueError: There is none, or one is outside 0..1.
    """
    if not shares or any(not 0 <= share <= 1 for share in shares):
        raise ValueError("a harmonic mean needs shares within 0..1")
    return 0.0 if min(shares) == 0 else len(shares) / sum(1 / share for share in shares)


def parts_of(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """The five shares from the figures of a row (``judging``), clipped to 0..1; None where one was not measured."""

    def excess(name: str) -> float | None:
        found = figures.get(name)
        return None if found is None else 1.0 - max(0.0, found)

    made = {
        "forgotten_fluently": figures.get("p_kfr_fluent"),
        "kept": figures.get("utility"),
        "not_sampled": excess("leak_over_control"),
        "not_relearnt": excess("relearn_over_control"),
        "fluent": figures.get("p_fluent"),
    }
    return {name: None if one is None else min(1.0, max(0.0, one)) for name, one in made.items()}


def combined(figures: Mapping[str, float | None]) -> float | None:
    """The combined figure; None where a part was not measured."""
    parts = [one for one in parts_of(figures).values() if one is not None]
    return harmonic(parts) if len(parts) == len(PARTS) else None


def eligible(figures: Mapping[str, float | None]) -> bool:
    """Whether the utility is at least 95 % of the base's: only then two methods may be compared."""
    return keeps(figures.get("utility"))


def keeps(utility: float | None) -> bool:
    """Whether a utility is enough; one that was not measured is not."""
    return utility is not None and utility >= UTILITY_MIN


def search_figure(figures: Mapping[str, float | None]) -> float:
    """What the search of a method's settings maximises on the validation slice: the three parts without an attack.

    A part that was not measured counts 0: a trial that could not be judged is never chosen.
    """
    parts = parts_of(figures)
    return harmonic([parts[name] or 0.0 for name in ("forgotten_fluently", "kept", "fluent")])


def best_trial(trials: Sequence[Mapping[str, float | None]]) -> int:
    """The trial that a method goes on with: the best figure among those at equal utility, else the highest utility.

    Raises:
        ValueError: There is no trial.
    """
    if not trials:
        raise ValueError("there is no trial to choose from")
    allowed = [number for number, figures in enumerate(trials) if eligible(figures)]
    if allowed:
        return max(allowed, key=lambda number: (search_figure(trials[number]), -number))
    return max(range(len(trials)), key=lambda number: (trials[number].get("utility") or 0.0, -number))


def ranked(rows: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Names in their order: eligible ones by their figure, then the others by theirs, then those without a figure."""

    def key(name: str) -> tuple[bool, bool, float, str]:
        found = combined(rows[name])
        return (found is None, not eligible(rows[name]), -(found or 0.0), name)

    return sorted(rows, key=key)
