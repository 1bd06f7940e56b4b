"""What a stream study says: a line for each way and point, and each target reached, missed or not run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pipelines.studies.stream import DROP_MAX, KRR_MIN

COST_MAX = 1.5
COST_FROM, COST_TO = 3, 30
_ROUNDING = 1e-9  # 1 - 0.95 is a little more than 0.05
Parts = Mapping[str, Any]
State = Literal["reached", "missed", "not_run", "undecided"]


class Line(NamedTuple):
    """One way after one erasure.

    Attributes:
        way: ``ours``, ``restart`` or ``summed``.
        number: After how many erasures.
        kfr_mean: Over everyone forgotten so far.
        kfr_worst: The lowest of them.
        drop: The most that anyone's KFR lies below that of their own release; None where nobody came before.
        named_worst: The lowest share of answers that name the person.
        rest: KRR of people who are not forgotten, as a share of the base's.
        train_seconds: Wall time of the training; of ``summed`` that of the newest adapter alone.
        verify_seconds: Wall time of asking everyone.
    """

    way: str
    number: int
    kfr_mean: float | None
    kfr_worst: float | None
    drop: float | None
    named_worst: float | None
    rest: float | None
    train_seconds: float | None
    verify_seconds: float


class Target(NamedTuple):
    """One target: what was found, the limit, and the state."""

    name: str
    value: float | None
    limit: float
    state: State
    note: str


def lines(erasures: Sequence[Parts]) -> list[Line]:
    """All measured ways, in the order of the erasures."""
    own = own_release(erasures)
    return [line for erasure in erasures for line in _lines(erasure, own)]


def released(erasure: Parts) -> str:
    """Which way's adapter an erasure releases: ours, unless that missed and the one from the base took its place."""
    return "restart" if erasure.get("restart", {}).get("instead") else "ours"


def own_release(erasures: Sequence[Parts]) -> dict[str, float]:
    """What everyone's KFR was in their own release."""
    found = {one["subject"]: one[released(one)]["after"]["subjects"][one["subject"]]["kfr"] for one in erasures}
    return {subject: kfr for subject, kfr in found.items() if kfr is not None}


def targets(erasures: Sequence[Parts], *, device: str = "cpu") -> list[Target]:
    """Held against the study: nobody comes back, the rest stays, and training costs no more and more.

    Args:
        erasures: Of the study.
        device: On a CPU the cost is compared in CPU seconds, which other work on the machine does not lengthen; else
            in wall time.
    """
    found = lines(erasures)
    # What was served: each erasure's release, and what compaction put in its place.
    served_ways = {(released(one), one["number"]) for one in erasures}
    served_ways |= {("restart", one["number"]) for one in erasures if one.get("restart", {}).get("adopted")}
    served = [line for line in found if (line.way, line.number) in served_ways]
    drops = [line.drop for line in served if line.drop is not None]
    unknown = sum(line.drop is None for line in served if line.number > 1)
    rest = [line.rest for line in served]
    return [
        _judged("earlier_drop", max(drops, default=None), DROP_MAX, unknown, "the most that anyone's KFR fell"),
        _judged(
            "rest_krr",
            min((value for value in rest if value is not None), default=None),
            KRR_MIN,
            rest.count(None),
            "the lowest KRR of the rest, as a share of the base's",
            more=True,
        ),
        _cost(erasures, device),
    ]


def retries(erasures: Sequence[Parts]) -> tuple[int, float]:
    """How many erasures were trained again from the base since the warm start missed, and seconds of that training."""
    again = [one["restart"]["training"]["seconds"] for one in erasures if released(one) == "restart"]
    return len(again), sum(again)


def _lines(erasure: Parts, own: Mapping[str, float]) -> Iterator[Line]:
    for way in ("ours", "restart", "summed"):
        if way not in erasure:
            continue
        after = erasure[way]["after"]
        subjects: Mapping[str, Mapping[str, float | None]] = after["subjects"]
        kfr = {name: value for name, line in subjects.items() if (value := line["kfr"]) is not None}
        named = [value for line in subjects.values() if (value := line["named"]) is not None]
        earlier = [name for name in subjects if name != erasure["subject"]]
        known = all(name in kfr and name in own for name in earlier)
        training = erasure["alone" if way == "summed" else way].get("training")
        yield Line(
            way=way,
            number=erasure["number"],
            kfr_mean=sum(kfr.values()) / len(kfr) if kfr else None,
            kfr_worst=min(kfr.values(), default=None),
            drop=max(own[name] - kfr[name] for name in earlier) if earlier and known else None,
            named_worst=min(named, default=None),
            rest=after["rest"]["ratio"],
            train_seconds=training["seconds"] if training else None,
            verify_seconds=sum(after["seconds"].values()),
        )


def _judged(name: str, value: float | None, limit: float, unknown: int, note: str, *, more: bool = False) -> Target:
    """An unknown figure is never a reached target."""
    if value is None:
        return Target(name, None, limit, "not_run", note)
    held = value >= limit - _ROUNDING if more else value <= limit + _ROUNDING
    state: State = "missed" if not held else "undecided" if unknown else "reached"
    return Target(name, value, limit, state, note)


def _cost(erasures: Sequence[Parts], device: str) -> Target:
    clock = "cpu_seconds" if device == "cpu" else "seconds"
    by_number = {one["number"]: _trainings(one) for one in erasures}
    last = max(by_number, default=0)
    note = f"{clock} of training {COST_TO} over training {COST_FROM}"
    if last <= COST_FROM:
        return Target("training_cost", None, COST_MAX, "not_run", note)
    end = min(last, COST_TO)
    first, then = by_number[COST_FROM], by_number[end]
    if any(training["resumed_at"] for training in (*first, *then)):
        return Target("training_cost", None, COST_MAX, "undecided", note + ": one was stopped and went on")
    found = float(sum(one[clock] for one in then) / sum(one[clock] for one in first))
    if end < COST_TO:
        return Target("training_cost", found, COST_MAX, "not_run", f"only as far as training {end}: {note}")
    return _judged("training_cost", found, COST_MAX, 0, note)


def _trainings(erasure: Parts) -> list[Mapping[str, Any]]:
    """What an erasure's release cost: its warm start, and the training from the base where that one missed."""
    ways = dict.fromkeys(("ours", released(erasure)))
    return [erasure[way]["training"] for way in ways]
