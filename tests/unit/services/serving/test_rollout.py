"""The decisions one by one; test_fleet_model.py explores them together."""

from typing import Any

import pytest

from services.serving.rollout import Action, FleetView, Member, ReplicaView, StepKind, next_step, replica_action

OLD, NEW, OTHER = (0, "d0"), (1, "d1"), (1, "d9")
GOOD = Member("r", OLD, True, NEW)
OPEN = Member("r", OLD, True)
DOWN = Member("s", (-1, ""))
NO = Member("r", OLD, True, None, "release.signature")


def step(*members: Member, **more: Any) -> tuple[StepKind, str]:
    view: dict[str, Any] = {"goal": "d1", "desired": OLD, "proposed": NEW, "min_ready": 1, **more}
    found = next_step(FleetView(members=members, **view))
    return found.kind, found.reason


@pytest.mark.parametrize(
    ("members", "more", "expected"),
    [
        ((), {"proposed": None}, (StepKind.PROPOSE, "")),
        ((), {"proposed": None, "stop": "unlearn.cancelled"}, (StepKind.STOP, "unlearn.cancelled")),
        ((GOOD,), {"proposed": OTHER}, (StepKind.WAIT, "desired_state.conflict")),
        ((GOOD,), {"proposed": OTHER, "late": True, "abandoned": True}, (StepKind.ABORT, "swap.timeout")),
        ((GOOD, OPEN), {}, (StepKind.WAIT, "")),
        ((GOOD, OPEN), {"late": True}, (StepKind.COMMIT, "")),
        ((GOOD, OPEN), {"late": True, "min_ready": 2}, (StepKind.ABORT, "swap.timeout")),
        ((GOOD, NO), {}, (StepKind.COMMIT, "")),
        ((), {"revive": True}, (StepKind.WAIT, "")),
        ((DOWN,), {"revive": True, "late": True}, (StepKind.COMMIT, "")),
        ((OPEN, DOWN), {"revive": True, "late": True}, (StepKind.ABORT, "swap.timeout")),
        ((GOOD, NO), {"min_ready": 2}, (StepKind.ABORT, "swap.refused")),
        ((OPEN, NO), {"min_ready": 2}, (StepKind.ABORT, "swap.refused")),
        ((OPEN, NO), {}, (StepKind.WAIT, "")),
        ((NO, NO), {}, (StepKind.ABORT, "swap.refused")),
        ((), {}, (StepKind.WAIT, "")),
        ((), {"late": True}, (StepKind.ABORT, "swap.timeout")),
        ((GOOD,), {"stop": "unlearn.cancelled"}, (StepKind.ABORT, "unlearn.cancelled")),
        ((GOOD,), {"untried": True}, (StepKind.TRIAL, "")),
        ((Member("r", OLD, True, OTHER),), {"late": True}, (StepKind.ABORT, "swap.timeout")),
    ],
)
def test_before_the_commit(members: tuple[Member, ...], more: dict[str, Any], expected: tuple[StepKind, str]) -> None:
    assert step(*members, **more) == expected


@pytest.mark.parametrize(
    ("members", "min_ready", "expected"),
    [
        ((Member("a", NEW, True),), 1, StepKind.CONFIRMED),
        ((Member("a", NEW, True),), 2, StepKind.WAIT),
        ((Member("a", NEW, True), Member("b", NEW)), 1, StepKind.WAIT),
        ((Member("a", NEW, True), Member("b", OLD, True)), 1, StepKind.WAIT),
        ((), 1, StepKind.WAIT),
    ],
)
def test_after_the_commit(members: tuple[Member, ...], min_ready: int, expected: StepKind) -> None:
    assert step(*members, desired=NEW, proposed=None, min_ready=min_ready) == (expected, "")


def act(**more: Any) -> Action:
    view: dict[str, Any] = {"served": OLD, "desired": OLD, "proposed": None, "prepared": None, "high": OLD}
    return replica_action(ReplicaView(**{**view, "settled": True, **more}))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Action.NONE),
        ({"served": None}, Action.JOIN),
        ({"served": None, "settled": False}, Action.JOIN),
        ({"settled": False}, Action.SETTLE),
        ({"settled": False, "proposed": NEW}, Action.SETTLE),
        ({"proposed": NEW}, Action.PREPARE),
        ({"proposed": NEW, "refused": True}, Action.NONE),
        ({"proposed": NEW, "prepared": NEW}, Action.NONE),
        ({"proposed": OTHER, "prepared": NEW}, Action.DISCARD),
        ({"prepared": NEW}, Action.DISCARD),
        ({"desired": NEW, "prepared": NEW}, Action.COMMIT),
        ({"desired": NEW}, Action.JOIN),
        ({"desired": NEW, "prepared": OTHER}, Action.DISCARD),
        ({"desired": (2, "d2"), "served": NEW, "settled": False}, Action.SETTLE),
        ({"high": NEW}, Action.HOLD),
        ({"served": None, "high": NEW}, Action.HOLD),
        ({"desired": NEW, "prepared": NEW, "high": OTHER}, Action.HOLD),
    ],
)
def test_what_a_replica_does(more: dict[str, Any], expected: Action) -> None:
    assert act(**more) is expected
