from dataclasses import replace
from typing import Any

import pytest

from policies import lifecycle
from policies.errors import LetheError
from policies.lifecycle import (
    CLOSED_RUN,
    CLOSED_TICKET,
    RUN,
    TICKET,
    RunContext,
    RunEvent,
    RunStatus,
    TicketContext,
    TicketEvent,
    TicketStatus,
    asks_the_ticket_alone,
)

T, TE, R, RE = TicketStatus, TicketEvent, RunStatus, RunEvent

# Written out by hand on purpose: a change of the table must be made twice, once here.
TICKET_ALLOWED: dict[TicketStatus | None, dict[TicketEvent, TicketStatus]] = {
    None: {TE.RECEIVE: T.RECEIVED},
    T.RECEIVED: {
        TE.REQUIRE_IDENTITY: T.AWAITING_IDENTITY,
        TE.VERIFY_IDENTITY: T.RECEIVED,
        TE.IDENTITY_FAILED: T.AWAITING_IDENTITY,
        TE.REQUIRE_APPROVAL: T.AWAITING_APPROVAL,
        TE.APPROVE: T.APPROVED,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.AWAITING_IDENTITY: {
        TE.VERIFY_IDENTITY: T.RECEIVED,
        TE.IDENTITY_FAILED: T.AWAITING_IDENTITY,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.AWAITING_APPROVAL: {
        TE.RECORD_APPROVAL: T.AWAITING_APPROVAL,
        TE.APPROVE: T.APPROVED,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.APPROVED: {
        TE.MATCHES_AMBIGUOUS: T.AWAITING_REVIEW,
        TE.NOTHING_FOUND: T.NOTHING_FOUND,
        TE.FORGET_SET_FIXED: T.READY,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.AWAITING_REVIEW: {
        TE.MATCHES_REVIEWED: T.APPROVED,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.READY: {
        TE.FORGET_SET_FIXED: T.READY,
        TE.RUN_STARTED: T.IN_RUN,
        TE.DENY: T.DENIED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.IN_RUN: {
        TE.RUN_REJECTED: T.REJECTED,
        TE.RUN_QUARANTINED: T.QUARANTINED,
        TE.RUN_FAILED: T.FAILED,
        TE.RUN_CANCELLED: T.READY,
        TE.SWAP_CONFIRMED: T.COMPLETED,
        TE.PROBES_FAILED: T.FAILED,
        TE.HOLD: T.ON_HOLD,
        TE.CANCEL: T.CANCELLED,
    },
    T.REJECTED: {TE.RETRY: T.READY, TE.DENY: T.DENIED, TE.HOLD: T.ON_HOLD, TE.CANCEL: T.CANCELLED},
    T.QUARANTINED: {TE.RETRY: T.READY, TE.DENY: T.DENIED, TE.HOLD: T.ON_HOLD, TE.CANCEL: T.CANCELLED},
    T.FAILED: {TE.RETRY: T.READY, TE.DENY: T.DENIED, TE.HOLD: T.ON_HOLD, TE.CANCEL: T.CANCELLED},
    T.ON_HOLD: {TE.RELEASE_HOLD: T.RECEIVED, TE.DENY: T.DENIED, TE.CANCEL: T.CANCELLED},
    T.COMPLETED: {},
    T.NOTHING_FOUND: {},
    T.DENIED: {},
    T.CANCELLED: {},
}
for _status, _allowed in TICKET_ALLOWED.items():
    if _status is not None and _allowed:  # a restriction leaves every open ticket where it is
        _allowed |= {TE.RESTRICT: _status, TE.UNRESTRICT: _status}
        if _status is not T.IN_RUN:  # an exemption leads back through the decision; a hold stands meanwhile
            _after = T.ON_HOLD if _status is T.ON_HOLD else T.RECEIVED
            _allowed |= {TE.EXEMPT: _after, TE.END_EXEMPTION: _after}


def _step(status: RunStatus, **moves: RunStatus) -> dict[RunEvent, RunStatus]:
    rows = {RunEvent[name.upper()]: to for name, to in moves.items()}
    return rows | {RE.RESUME: status, RE.CANCEL: R.CANCELLED, RE.FAIL: R.FAILED}


RUN_ALLOWED: dict[RunStatus | None, dict[RunEvent, RunStatus]] = {
    None: {RE.PLAN: R.PLANNED},
    R.PLANNED: _step(R.PLANNED, start=R.AUGMENTING),
    R.AUGMENTING: _step(R.AUGMENTING, augmented=R.CHECKING),
    R.CHECKING: _step(R.CHECKING, checked=R.TRAINING, quarantine=R.QUARANTINED),
    R.TRAINING: _step(R.TRAINING, trained=R.VERIFYING),
    R.VERIFYING: _step(R.VERIFYING, verified=R.RELEASING, reject=R.REJECTED),
    R.RELEASING: _step(R.RELEASING, released=R.SWAPPING),
    R.SWAPPING: _step(R.SWAPPING, swapped=R.REPORTING, probes_failed=R.FAILED),
    R.REPORTING: {RE.REPORTED: R.COMPLETED, RE.RESUME: R.REPORTING},
    **{status: {} for status in CLOSED_RUN},
}

OPEN = TicketContext(identity_verified=True, approvals_given=1, approvals_needed=1, reason_given=True, forget_records=5)
# A context in which each guarded event may happen.
TICKET_FITS: dict[TicketEvent, TicketContext] = {
    TE.MATCHES_AMBIGUOUS: replace(OPEN, ambiguous_open=2),
    TE.NOTHING_FOUND: replace(OPEN, forget_records=0),
    TE.SWAP_CONFIRMED: replace(OPEN, swap_committed=True),
}
GOOD = RunContext(tickets_ready=1, checks_passed=True, verdict_passed=True)
RUN_FITS: dict[RunEvent, RunContext] = {
    RE.QUARANTINE: replace(GOOD, checks_passed=False),
    RE.REJECT: replace(GOOD, verdict_passed=False),
    RE.SWAPPED: replace(GOOD, swap_committed=True),
}


@pytest.mark.parametrize("event", TicketEvent)
@pytest.mark.parametrize("status", [None, *TicketStatus])
def test_every_pair_of_the_ticket(status: TicketStatus | None, event: TicketEvent) -> None:
    expected = TICKET_ALLOWED[status].get(event)
    context = TICKET_FITS.get(event, OPEN)
    if expected is not None:
        assert TICKET.apply(status, event, context) is expected
        return
    with pytest.raises(LetheError) as caught:
        TICKET.apply(status, event, context)
    assert caught.value.code == "lifecycle.forbidden"
    assert (status or "none") in caught.value.message
    assert event.value in caught.value.message
    for allowed in TICKET_ALLOWED[status]:
        assert allowed.value in caught.value.message


@pytest.mark.parametrize("event", RunEvent)
@pytest.mark.parametrize("status", [None, *RunStatus])
def test_every_pair_of_the_run(status: RunStatus | None, event: RunEvent) -> None:
    expected = RUN_ALLOWED[status].get(event)
    context = RUN_FITS.get(event, GOOD)
    if expected is not None:
        assert RUN.apply(status, event, context) is expected
        return
    with pytest.raises(LetheError) as caught:
        RUN.apply(status, event, context)
    assert caught.value.code == "lifecycle.forbidden"
    for allowed in RUN_ALLOWED[status]:
        assert allowed.value in caught.value.message


@pytest.mark.parametrize(
    ("status", "event", "context"),
    [
        (T.AWAITING_IDENTITY, TE.VERIFY_IDENTITY, replace(OPEN, identity_verified=False)),
        (T.AWAITING_APPROVAL, TE.APPROVE, replace(OPEN, identity_verified=False)),
        (T.AWAITING_APPROVAL, TE.APPROVE, replace(OPEN, approvals_needed=2)),
        (T.AWAITING_APPROVAL, TE.APPROVE, replace(OPEN, legal_hold=True)),
        (T.RECEIVED, TE.DENY, replace(OPEN, reason_given=False)),
        (T.APPROVED, TE.FORGET_SET_FIXED, replace(OPEN, ambiguous_open=1)),
        (T.APPROVED, TE.FORGET_SET_FIXED, replace(OPEN, forget_records=0)),
        (T.APPROVED, TE.NOTHING_FOUND, OPEN),
        (T.APPROVED, TE.MATCHES_AMBIGUOUS, OPEN),
        (T.AWAITING_REVIEW, TE.MATCHES_REVIEWED, replace(OPEN, ambiguous_open=1)),
        (T.READY, TE.RUN_STARTED, replace(OPEN, legal_hold=True)),
        (T.AWAITING_APPROVAL, TE.APPROVE, replace(OPEN, person_held=True)),
        (T.APPROVED, TE.FORGET_SET_FIXED, replace(OPEN, person_held=True)),
        (T.READY, TE.RUN_STARTED, replace(OPEN, person_held=True)),
        (T.REJECTED, TE.RETRY, replace(OPEN, person_held=True)),
        (T.IN_RUN, TE.SWAP_CONFIRMED, OPEN),
        (T.IN_RUN, TE.HOLD, replace(OPEN, swap_committed=True)),
        (T.FAILED, TE.HOLD, replace(OPEN, was_live=True)),
        (T.FAILED, TE.CANCEL, replace(OPEN, was_live=True)),
        (T.READY, TE.CANCEL, replace(OPEN, repeated=True)),
        (T.FAILED, TE.DENY, replace(OPEN, was_live=True)),
        (T.IN_RUN, TE.CANCEL, replace(OPEN, swap_committed=True)),
        (T.IN_RUN, TE.RUN_FAILED, replace(OPEN, swap_committed=True)),
        (T.REJECTED, TE.RETRY, replace(OPEN, legal_hold=True)),
        (T.ON_HOLD, TE.RELEASE_HOLD, replace(OPEN, legal_hold=True)),
        (T.AWAITING_IDENTITY, TE.RESTRICT, replace(OPEN, identity_verified=False)),
        (T.READY, TE.RESTRICT, replace(OPEN, reason_given=False)),
        (T.READY, TE.UNRESTRICT, replace(OPEN, reason_given=False)),
    ],
)
def test_a_ticket_guard_refuses(status: TicketStatus, event: TicketEvent, context: TicketContext) -> None:
    with pytest.raises(LetheError, match=event.value) as caught:
        TICKET.apply(status, event, context)
    assert caught.value.code == "lifecycle.guarded"


@pytest.mark.parametrize(
    ("status", "event", "context"),
    [
        (None, RE.PLAN, RunContext()),
        (None, RE.PLAN, replace(GOOD, held_tickets=1)),
        (R.CHECKING, RE.CHECKED, replace(GOOD, checks_passed=False)),
        (R.CHECKING, RE.QUARANTINE, GOOD),
        (R.TRAINING, RE.TRAINED, replace(GOOD, held_tickets=1)),
        (R.VERIFYING, RE.VERIFIED, replace(GOOD, verdict_passed=False)),
        (R.VERIFYING, RE.VERIFIED, replace(GOOD, held_tickets=1)),
        (R.VERIFYING, RE.REJECT, GOOD),
        (R.SWAPPING, RE.SWAPPED, GOOD),
        (R.SWAPPING, RE.CANCEL, replace(GOOD, swap_committed=True)),
        (R.SWAPPING, RE.FAIL, replace(GOOD, swap_committed=True)),
    ],
)
def test_a_run_guard_refuses(status: RunStatus | None, event: RunEvent, context: RunContext) -> None:
    with pytest.raises(LetheError, match=event.value) as caught:
        RUN.apply(status, event, context)
    assert caught.value.code == "lifecycle.guarded"


def _reachable(machine: Any) -> set[Any]:
    found: set[Any] = {None}
    while True:
        more = {row.status for (status, _), row in machine.table.items() if status in found} - found
        if not more:
            return found
        found |= more


def test_every_status_can_be_reached_and_every_open_one_left() -> None:
    assert _reachable(TICKET) == {None, *TicketStatus}
    assert _reachable(RUN) == {None, *RunStatus}
    assert {s for s in TicketStatus if not TICKET.allowed(s)} == CLOSED_TICKET
    assert {s for s in RunStatus if not RUN.allowed(s)} == CLOSED_RUN


def test_every_guard_has_its_own_words() -> None:
    for machine in (TICKET.table.values(), RUN.table.values()):
        for row in machine:
            if row.guard is not None:
                assert row.guard.__doc__
                assert hasattr(lifecycle, row.guard.__name__)


@pytest.mark.parametrize("event", TicketEvent)
@pytest.mark.parametrize("status", TicketStatus)
def test_what_is_judged_by_the_ticket_alone_does_not_look_at_the_rest(status: TicketStatus, event: TicketEvent) -> None:
    transition = TICKET.table.get((status, event))
    if transition is None or not asks_the_ticket_alone(status, event):
        return
    rest: list[dict[str, Any]] = [{}, {"ambiguous_open": 2}, {"forget_records": 5}, {"swap_committed": True}]
    rest += [{"was_live": True}, {"person_held": True}]
    for own in (OPEN, TicketContext(), replace(OPEN, reason_given=False), replace(OPEN, legal_hold=True)):
        bare = replace(own, forget_records=0)
        answers = {transition.guard is None or transition.guard(replace(bare, **more)) for more in rest}
        assert len(answers) == 1


def test_what_a_burst_asks_for_is_judged_by_the_ticket_alone() -> None:
    assert asks_the_ticket_alone(TicketStatus.RECEIVED, TE.REQUIRE_APPROVAL)
    assert not asks_the_ticket_alone(TicketStatus.IN_RUN, TE.SWAP_CONFIRMED)
