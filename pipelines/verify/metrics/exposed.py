"""How a list of exposures becomes a metric: its mean with the 90 % interval, and whether that is equivalent to none."""

from collections.abc import Sequence

from pipelines.verify.exposure import MIN_FACTS, MIN_ITEMS, SOURCE, TAU, judge_exposure
from pipelines.verify.metrics.from_tokens import items_of
from pipelines.verify.metrics.registry import Context
from pipelines.verify.results import MetricResult

_WORDS = {
    "equivalent": "equivalent to none",
    "under_unlearned": "under-unlearned: still exposed",
    "over_unlearned": "over-unlearned: less likely than to a model that never saw it, which shows too",
    "undecided": "the interval holds 0 and reaches beyond the range that counts as none",
}


def tau_of(context: Context, per_token: bool) -> float:
    """The range that counts as none: 0.1 nats a token; for whole answers, times their mean number of tokens."""
    lengths = [tokens.n for tokens in context.tokens or () if tokens.n]
    return TAU if per_token or not lengths else TAU * sum(lengths) / len(lengths)


def exposed(
    context: Context,
    name: str,
    values: Sequence[float | None],
    *,
    per_token: bool,
    judged: Sequence[float | None] | None = None,
    note: str = "",
) -> MetricResult:
    """A metric from exposures.

    Args:
        context: Of the answers.
        name: Its key in a report.
        values: The exposure of each answer, in nats; None where it has none.
        per_token: Whether they are per token.
        judged: The figures that are held against the range, where they are others than the values.
        note: What a reader must know beside the judgement.

    Returns:
        ``parts`` has tau, ``equivalent`` (1 or 0; None: undecided), quantiles, the shares above and below the range and
        the worst item; with ``judged`` also its mean and interval.
    """
    tau = tau_of(context, per_token)
    told = judge_exposure([a.fact for a in context.answers], values, tau, context.seed)
    against = told if judged is None else judge_exposure([a.fact for a in context.answers], judged, tau, context.seed)
    few = against.n < MIN_ITEMS or against.facts < MIN_FACTS
    words = (
        f"{against.n} items of {against.facts} facts; {MIN_ITEMS} of {MIN_FACTS} are needed"
        if few
        else _WORDS[against.state]
    )
    parts: dict[str, float | None] = {
        "tau": tau,
        "equivalent": None if against.state == "undecided" else float(against.state == "equivalent"),
        "share_above": against.share_above,
        "share_below": against.share_below,
        "worst": against.worst,
        **{f"q{level}": value for level, value in against.quantiles.items()},
    }
    if judged is not None:
        parts |= {"calibrated": against.mean, "calibrated_lower": against.lower, "calibrated_upper": against.upper}
    return MetricResult(
        name=name,
        statistic="exposure",
        value=told.mean,
        n=told.n,
        facts=told.facts,
        undecided=len(values) - told.n,
        lower=told.lower,
        upper=told.upper,
        bound_method="bootstrap over facts" if told.n else None,
        direction="none",
        state="undecided" if few else "measured",
        source=SOURCE,
        note="; ".join(part for part in (words, note) if part),
        parts=parts,
        items=items_of(context, values),
    )
