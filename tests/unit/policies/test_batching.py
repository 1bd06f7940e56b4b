from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.batching import BatchRules, Plan, RunCost, Waiting, by_date, latest_start, plan_batch

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rules(
    window_h: float = 24, most: int = 10, fixed_h: float = 1, ticket_h: float = 0.5, reserve_h: float = 48
) -> BatchRules:
    cost = RunCost(fixed_s=fixed_h * 3600, ticket_s=ticket_h * 3600)
    return BatchRules(window=window_h * HOUR, most=most, cost=cost, reserve=reserve_h * HOUR)


def ticket(name: str, *, since_h: float = 0, due_h: float | None = 720) -> Waiting:
    return Waiting(ticket_id=name, since=NOW + since_h * HOUR, due=None if due_h is None else NOW + due_h * HOUR)


def named(given: list[tuple[int, int | None]]) -> list[Waiting]:
    return [ticket(f"t-{n}", since_h=-since, due_h=due) for n, (since, due) in enumerate(given)]


HOURS = st.integers(-200, 900)
queues = st.lists(st.tuples(st.integers(0, 48), st.none() | HOURS), max_size=16).map(named)
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = st.builds(
    rules,
    window_h=st.integers(0, 100),
    most=st.integers(1, 12),
    fixed_h=st.floats(0.1, 10),
    ticket_h=st.floats(0, 3),
    reserve_h=st.integers(0, 72),
)


def run_dry(waiting: list[Waiting], wanted: BatchRules, start: datetime) -> dict[str, datetime]:
    """What becomes of a queue that nobody joins: when each is done, runs taking as long as was expected."""
    left, now, done = list(waiting), start, {}
    while left:
        plan = plan_batch(left, wanted, now)
        if not plan.batch:
            assert plan.wake is not None
            assert plan.wake > now
            now = plan.wake
            continue
        now += wanted.cost.of(len(plan.batch))
        for name in plan.batch:
            assert name not in done
            done[name] = now
        left = [one for one in left if one.ticket_id not in plan.batch]
    return done


def test_nobody_waits_for_nobody() -> None:
    assert plan_batch([], rules(), NOW) == Plan()


def test_tickets_wait_for_others_until_the_window_ends() -> None:
    queue = [ticket("a"), ticket("b", since_h=1)]
    assert plan_batch(queue, rules(window_h=24), NOW + 23 * HOUR) == Plan(wake=NOW + 24 * HOUR)
    assert plan_batch(queue, rules(window_h=24), NOW + 24 * HOUR).batch == ("a", "b")


def test_a_full_batch_does_not_wait() -> None:
    queue = [ticket(str(n)) for n in range(4)]
    assert plan_batch(queue, rules(most=4), NOW).batch == ("0", "1", "2", "3")


def test_who_is_due_soon_ends_the_waiting_for_all() -> None:
    # Due in 60 hours, 48 of reserve, a run of 1 h and twice half an hour: 10 hours from now it must begin.
    queue = [ticket("calm"), ticket("urgent", due_h=60)]
    assert plan_batch(queue, rules(window_h=200), NOW) == Plan(wake=NOW + 10 * HOUR)
    assert plan_batch(queue, rules(window_h=200), NOW + 10 * HOUR).batch == ("urgent", "calm")


def test_a_long_queue_begins_early_enough_for_its_last_batch() -> None:
    queue = [ticket(str(n), due_h=100) for n in range(6)]
    wanted = rules(most=2, fixed_h=1, ticket_h=0.5, reserve_h=0)
    assert latest_start(by_date(queue), wanted) == NOW + (100 - 3 * 2) * HOUR


def test_who_will_be_late_is_named_and_still_done_first() -> None:
    plan = plan_batch([ticket("calm"), ticket("lost", due_h=1)], rules(), NOW)
    assert plan.batch == ("lost", "calm")
    assert plan.late == ("lost",)


def test_a_run_of_nobody_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least one"):
        rules(most=0)


@quiet
@given(queues, RULES)
def test_everybody_comes_to_exactly_one_run_and_no_run_is_too_large(waiting: list[Waiting], wanted: BatchRules) -> None:
    plan = plan_batch(waiting, wanted, NOW)
    assert len(plan.batch) <= wanted.most
    assert run_dry(waiting, wanted, NOW).keys() == {one.ticket_id for one in waiting}


@quiet
@given(queues, RULES)
def test_waiting_never_costs_anybody_the_date(waiting: list[Waiting], wanted: BatchRules) -> None:
    """Whoever would be in time if every run started at once is in time with all the waiting that the rules allow."""
    queue = by_date(waiting)
    end = NOW
    at_once: dict[str, datetime] = {}
    for first in range(0, len(queue), wanted.most):
        batch = queue[first : first + wanted.most]
        end += wanted.cost.of(len(batch))
        at_once |= {one.ticket_id: end for one in batch}
    feasible = all(one.due is None or at_once[one.ticket_id] + wanted.reserve <= one.due for one in queue)
    if feasible:
        done = run_dry(waiting, wanted, NOW)
        slack = timedelta(milliseconds=1)  # lengths are rounded to microseconds
        assert all(one.due is None or done[one.ticket_id] + wanted.reserve <= one.due + slack for one in waiting)


@quiet
@given(queues, RULES)
def test_nobody_waits_longer_than_the_window_for_others(waiting: list[Waiting], wanted: BatchRules) -> None:
    plan = plan_batch(waiting, wanted, NOW)
    if waiting and not plan.batch:
        assert plan.wake is not None
        assert NOW < plan.wake <= min(one.since for one in waiting) + wanted.window


@quiet
@given(queues, RULES)
def test_the_most_urgent_are_in_the_first_run_and_the_order_of_filing_does_not_matter(
    waiting: list[Waiting], wanted: BatchRules
) -> None:
    plan = plan_batch(waiting, wanted, NOW)
    assert plan == plan_batch(list(reversed(waiting)), wanted, NOW)
    due = {one.ticket_id: one.due for one in waiting}
    in_run = [due[name] for name in plan.batch]
    left = [one.due for one in waiting if one.ticket_id not in plan.batch and one.due is not None]
    if plan.batch and left:
        assert all(date is not None and date <= min(left) for date in in_run)


@quiet
@given(queues, RULES, st.integers(0, 400))
def test_one_more_ticket_never_lets_the_queue_begin_later(
    waiting: list[Waiting], wanted: BatchRules, due_h: int
) -> None:
    more = [*waiting, ticket("new", due_h=due_h)]
    before, after = (latest_start(by_date(one), wanted) for one in (waiting, more))
    assert after is not None
    assert before is None or after <= before + timedelta(milliseconds=1)
