"""The protocol of a swap, explored whole in small worlds; and that the exploration finds faults that are put in."""

import pytest

from services.serving import rollout
from services.serving.rollout import FleetView, Step, StepKind, Version
from tests.unit.services.serving.fleet_model import Rules, Violation, World, explore


def commits_without_waiting(view: FleetView) -> Step:
    step = rollout.next_step(view)
    return Step(StepKind.COMMIT) if step.kind is StepKind.WAIT and view.proposed and not step.reason else step


def confirms_without_waiting(view: FleetView) -> Step:
    committed = view.desired[1] == view.goal and view.proposed is None
    return Step(StepKind.CONFIRMED) if committed else rollout.next_step(view)


def never_gives_up(view: FleetView) -> Step:
    step = rollout.next_step(view)
    return Step(StepKind.WAIT) if step.kind is StepKind.ABORT else step


def renews_whoever_asks(served: Version, desired: Version) -> bool:
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "at_least"),
    [
        (World(replicas=1, faults=2, proposals=2), 10_000),
        (World(replicas=2, faults=0, proposals=2), 5_000),
        (World(replicas=2, faults=1, proposals=1), 50_000),
        (World(replicas=2, faults=0, proposals=1, min_ready=2), 1_000),
        (World(replicas=1, faults=1, proposals=2, goals=("d1", "d2")), 1_000),
    ],
)
def test_no_order_of_steps_and_crashes_breaks_a_promise(world: World, at_least: int) -> None:
    states = explore(world)
    print(f"{world.replicas} replicas, {world.faults} faults, {len(world.goals)} swaps: {states} states")
    assert states > at_least


@pytest.mark.parametrize(
    ("world", "found"),
    [
        (World(faults=0, proposals=1, rules=Rules(next_step=commits_without_waiting)), "too few prepared"),
        (World(faults=0, proposals=1, rules=Rules(next_step=confirms_without_waiting)), "after the swap was confirmed"),
        # Fencing and the statement each suffice here; without either, an old generation is answered with.
        (World(faults=0, proposals=1, rules=Rules(renews=renews_whoever_asks, remembers=False)), "was confirmed"),
        (World(replicas=1, faults=1, proposals=1, rules=Rules(next_step=never_gives_up)), "no way to an end"),
        (World(replicas=1, faults=2, proposals=1, rules=Rules(remembers=False)), "generation behind"),
    ],
)
def test_a_fault_that_is_put_in_is_found(world: World, found: str) -> None:
    with pytest.raises(Violation, match=found):
        explore(world)
