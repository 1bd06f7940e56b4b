"""A year of tickets: when they come, when people have decided, which runs there are, and who is late.

Nothing is trained. Dates are those of the policy pack, runs are planned by the function that plans them in the product
(``policies.batching``); arrivals and people are drawn at random from a seed, and the length of runs is given.
"""

import random
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from policies.batching import BatchRules, RunCost, Waiting, plan_batch, urgency
from policies.deadlines import DeadlineRules, deadlines

YEAR = timedelta(days=365)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """How long a run takes on one GPU (or whatever else one worker has).

    Attributes:
        fixed_s: Whatever the number of tickets.
        ticket_s: More for each ticket of the run.
        earlier_s: More for each person forgotten before who is verified again.
        earlier_most: Most people who are verified again in a run.
        failed: Share of runs that come to nothing and are made again.
    """

    fixed_s: float
    ticket_s: float
    earlier_s: float = 0.0
    earlier_most: int = 20
    failed: float = 0.0

    def run(self, earlier: int, speed: float) -> RunCost:
        """Of a run after so many people were forgotten, on a machine so many times as fast."""
        again = self.earlier_s * min(earlier, self.earlier_most)
        return RunCost(fixed_s=(self.fixed_s + again) / speed, ticket_s=self.ticket_s / speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is played.

    Attributes:
        a_month: Tickets that arrive in a month, on average.
        rules: The clocks of the regime.
        zone: The controller's.
        costs: Of runs, on one GPU.
        window: How long an approved ticket waits for others.
        most: Most tickets of one run.
        reserve: Kept between the expected end of a run and the date.
        people_days: How long people take to verify and approve, on average.
        scaling: Speed that each doubling of the GPUs of a run adds: 1 is twice as fast, 0 no faster.
        seed: Of everything drawn.
    """

    a_month: float
    rules: DeadlineRules
    zone: str
    costs: Costs
    window: timedelta
    most: int
    reserve: timedelta
    people_days: float = 5.0
    scaling: float = 0.8
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a year.

    Attributes:
        a_month: Of the scene.
        gpus: That each run had.
        tickets: That arrived.
        runs: That were made, those that came to nothing included.
        missed: Tickets whose erasure was live only after the date.
        unavoidable: Of these, tickets that people decided too late for any run.
        gpu_hours: Of all runs together.
        busiest: Share of the year in which a run was at work.
        days: From receipt to live, the median and the longest.
    """

    a_month: float
    gpus: int
    tickets: int
    runs: int
    missed: int
    unavoidable: int
    gpu_hours: float
    busiest: float
    days: tuple[float, float]

    @property
    def hours_a_ticket(self) -> float:
        """GPU hours per ticket."""
        return self.gpu_hours / self.tickets if self.tickets else 0.0

    @property
    def tickets_a_run(self) -> float:
        """How many shared a training, on average."""
        return self.tickets / self.runs if self.runs else 0.0


@dataclass(frozen=True, slots=True)
class _Ticket:
    received: datetime
    waiting: Waiting


def tickets_of(scene: Scene) -> list[_Ticket]:
    """The tickets of the year in the order in which a run could take them."""
    draw = random.Random(scene.seed)  # noqa: S311 - a simulation, not a key
    found = []
    for number, received in enumerate(_arrivals(draw, scene.a_month)):
        # People: most requests are decided within days, some need a second letter.
        decided = received + timedelta(days=draw.gammavariate(2.0, scene.people_days / 2.0))
        due = deadlines(scene.rules, received, scene.zone).answer_by.astimezone(UTC)
        found.append(_Ticket(received, Waiting(ticket_id=f"{number:07}", since=decided, due=due)))
    return sorted(found, key=lambda one: one.waiting.since)


def _arrivals(draw: random.Random, a_month: float) -> Iterator[datetime]:
    """A Poisson process: no month is like the other, and many may come in one hour."""
    at = START
    a_second = a_month * 12 / YEAR.total_seconds()
    while True:
        at += timedelta(seconds=draw.expovariate(a_second))
        if at >= START + YEAR:
            return
        yield at


def speed_of(gpus: int, scaling: float) -> float:
    """How much faster a run is on so many GPUs: every doubling multiplies by ``1 + scaling``."""
    import math

    return float((1.0 + scaling) ** math.log2(gpus))


def play(scene: Scene, gpus: int, *, stop_at_miss: bool = False) -> Outcome:
    """Play a year through: one base, whose runs are serial, each on all the GPUs.

    Args:
        scene: What arrives and what runs cost.
        gpus: Of each run.
        stop_at_miss: End at the first ticket that is late although it need not be; the figures are then of a part.
    """
    speed = speed_of(gpus, scene.scaling)
    luck = random.Random(f"runs-{scene.seed}")  # noqa: S311 - a simulation, not a key
    coming = tickets_of(scene)
    received = {one.waiting.ticket_id: one.received for one in coming}
    alone = scene.costs.run(0, speed).of(1)
    queue: list[Waiting] = []  # by date
    done: list[tuple[Waiting, datetime]] = []
    now, next_one, runs, busy = START, 0, 0, timedelta()
    missed = unavoidable = 0
    while next_one < len(coming) or queue:
        while next_one < len(coming) and coming[next_one].waiting.since <= now:
            insort(queue, coming[next_one].waiting, key=urgency)
            next_one += 1
        rules = BatchRules(
            window=scene.window, most=scene.most, cost=scene.costs.run(len(done), speed), reserve=scene.reserve
        )
        # Of a long queue those who are due first decide, a few batches of them.
        plan = plan_batch(queue[: 8 * scene.most], rules, now) if queue else None
        if plan is None or not plan.batch:
            upcoming = [coming[next_one].waiting.since] if next_one < len(coming) else []
            now = min([*upcoming, *([plan.wake] if plan is not None and plan.wake is not None else [])])
            continue
        length = rules.cost.of(len(plan.batch))
        runs, busy, now = runs + 1, busy + length, now + length
        if luck.random() < scene.costs.failed:
            continue  # nothing was swapped: its tickets wait for the next one
        batch, queue = queue[: len(plan.batch)], queue[len(plan.batch) :]
        for one in batch:
            done.append((one, now))
            if one.due is not None and now > one.due:
                missed += 1
                unavoidable += one.since + alone > one.due
        if stop_at_miss and missed > unavoidable:
            break
    return _told(scene, gpus, done, received, runs, busy, missed, unavoidable)


def _told(
    scene: Scene,
    gpus: int,
    done: list[tuple[Waiting, datetime]],
    received: dict[str, datetime],
    runs: int,
    busy: timedelta,
    missed: int,
    unavoidable: int,
) -> Outcome:
    days = sorted((end - received[one.ticket_id]) / timedelta(days=1) for one, end in done)
    return Outcome(
        a_month=scene.a_month,
        gpus=gpus,
        tickets=len(done),
        runs=runs,
        missed=missed,
        unavoidable=unavoidable,
        gpu_hours=busy / timedelta(hours=1) * gpus,
        busiest=busy / YEAR,
        days=(days[len(days) // 2], days[-1]) if days else (0.0, 0.0),
    )


def smallest(scene: Scene, most_gpus: int = 1024) -> Outcome:
    """The year with the fewest GPUs, by doublings, with which nobody is late who need not be; else with the most."""
    gpus = 1
    while gpus < most_gpus:
        tried = play(scene, gpus, stop_at_miss=True)
        if tried.missed == tried.unavoidable:
            break
        gpus *= 2
    return play(scene, gpus)


def alone(scene: Scene) -> Scene:
    """The same year without any sharing: every ticket has a run of its own, at once."""
    return replace(scene, most=1, window=timedelta())
