"""The lifecycles of a ticket and of a run: one table each, and one pure function that applies it.

The store calls ``TICKET.apply`` or ``RUN.apply`` inside the transaction that writes the new status and the audit entry,
so a status never changes without its entry. Nothing else decides what may follow what.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from policies.errors import LetheError


class TicketStatus(StrEnum):
    """Where a ticket stands."""

    RECEIVED = "received"  # stored, the clock runs; to be decided (again)
    AWAITING_IDENTITY = "awaiting_identity"  # a person must show who asks
    AWAITING_APPROVAL = "awaiting_approval"  # a person must approve or deny
    APPROVED = "approved"  # its records are being looked up
    AWAITING_REVIEW = "awaiting_review"  # ambiguous matches (a namesake): a person must sort them
    READY = "ready"  # the forget set is fixed; waits for a run
    IN_RUN = "in_run"  # a run works on it
    COMPLETED = "completed"  # the swap is confirmed
    NOTHING_FOUND = "nothing_found"  # the corpus holds nothing about the subject: a recorded finding
    DENIED = "denied"  # refused, with article and reason
    ON_HOLD = "on_hold"  # a legal hold or a recorded pause; nothing is deleted and nothing is trained
    REJECTED = "rejected"  # the verdict missed a threshold; nothing was swapped
    QUARANTINED = "quarantined"  # the augmented set failed its checks; nothing was trained
    FAILED = "failed"  # the run broke
    CANCELLED = "cancelled"  # withdrawn


class TicketEvent(StrEnum):
    """What happens to a ticket."""

    RECEIVE = "receive"
    REQUIRE_IDENTITY = "require_identity"
    VERIFY_IDENTITY = "verify_identity"
    IDENTITY_FAILED = "identity_failed"
    REQUIRE_APPROVAL = "require_approval"
    RECORD_APPROVAL = "record_approval"  # one of several that the pack needs
    APPROVE = "approve"  # the last one, or none is needed
    DENY = "deny"
    HOLD = "hold"
    RELEASE_HOLD = "release_hold"
    RESTRICT = "restrict"  # a person has the subject suppressed in output, approved or not (GDPR Art. 18)
    UNRESTRICT = "unrestrict"
    MATCHES_AMBIGUOUS = "matches_ambiguous"
    MATCHES_REVIEWED = "matches_reviewed"
    NOTHING_FOUND = "nothing_found"
    FORGET_SET_FIXED = "forget_set_fixed"
    RUN_STARTED = "run_started"
    RUN_REJECTED = "run_rejected"
    RUN_QUARANTINED = "run_quarantined"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"  # because of another ticket of the same run: this one is planned again
    PROBES_FAILED = "probes_failed"  # its release was live, and a replica still told: the person stays suppressed
    SWAP_CONFIRMED = "swap_confirmed"
    RETRY = "retry"
    CANCEL = "cancel"
    EXEMPT = "exempt"  # a person keeps a category or a record under an exemption: decided anew
    END_EXEMPTION = "end_exemption"


class RunStatus(StrEnum):
    """Which step a run is at."""

    PLANNED = "planned"
    AUGMENTING = "augmenting"
    CHECKING = "checking"
    TRAINING = "training"
    VERIFYING = "verifying"
    RELEASING = "releasing"
    SWAPPING = "swapping"
    REPORTING = "reporting"
    COMPLETED = "completed"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunEvent(StrEnum):
    """What happens to a run."""

    PLAN = "plan"
    START = "start"
    AUGMENTED = "augmented"
    CHECKED = "checked"
    TRAINED = "trained"
    VERIFIED = "verified"
    RELEASED = "released"
    SWAPPED = "swapped"
    REPORTED = "reported"
    PROBES_FAILED = "probes_failed"  # its release was live and did not keep what its verdict said
    QUARANTINE = "quarantine"
    REJECT = "reject"
    FAIL = "fail"
    CANCEL = "cancel"
    RESUME = "resume"  # a worker takes the run up again where it was; the store raises the attempt number


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketContext:
    """What the guards of a ticket look at. The defaults fail closed."""

    identity_verified: bool = False
    approvals_given: int = 0
    approvals_needed: int = 1
    legal_hold: bool = False
    person_held: bool = False  # this ticket, or another that shares an identifier, stands under a legal hold
    reason_given: bool = False
    ambiguous_open: int = 0
    forget_records: int = 0
    swap_committed: bool = False  # the release of its latest run is the one that is served
    repeated: bool = False  # other tickets were closed as its repetition: its answer is theirs
    was_live: bool = False  # it is in the desired watermark: replicas take no release without it


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What the guards of a run look at. The defaults fail closed."""

    tickets_ready: int = 0
    held_tickets: int = 0
    checks_passed: bool = False
    verdict_passed: bool = False
    swap_committed: bool = False


S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Transition(Generic[S, C]):
    """Where an event leads, if its guard (a pure predicate, named for the message) lets it."""

    status: S
    guard: Callable[[C], bool] | None = None


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[S, E, C]):
    """A table of transitions. The status None is "not there yet"."""

    name: str
    table: Mapping[tuple[S | None, E], Transition[S, C]]

    def apply(self, status: S | None, event: E, context: C) -> S:
        """The status that follows.

        Raises:
            LetheError: ``lifecycle.forbidden`` where the table has no such row, ``lifecycle.guarded`` where its
                guard says no. Both name status and event.
        """
        transition = self.table.get((status, event))
        shown = "none" if status is None else status.value
        if transition is None:
            allowed = ", ".join(e.value for e in self.allowed(status)) or "nothing"
            raise LetheError(
                "lifecycle.forbidden",
                f"a {self.name} with status {shown} does not take the event {event.value}; allowed: {allowed}",
            )
        if transition.guard is not None and not transition.guard(context):
            raise LetheError(
                "lifecycle.guarded",
                f"a {self.name} with status {shown} takes the event {event.value} only if"
                f" {transition.guard.__name__.replace('_', ' ')}",
            )
        return transition.status

    def allowed(self, status: S | None) -> tuple[E, ...]:
        """The events that the table knows for a status (their guards not asked)."""
        return tuple(event for (from_status, event) in self.table if from_status == status)


def identity_is_verified(context: TicketContext) -> bool:
    """Somebody recorded how the requester was recognised."""
    return context.identity_verified


def no_hold_stands(context: TicketContext) -> bool:
    """A legal hold on any ticket of the person blocks the deletion of training data and unlearning alike."""
    return not context.legal_hold and not context.person_held


def its_own_hold_is_over(context: TicketContext) -> bool:
    """Two holds on one person end one after the other."""
    return not context.legal_hold


def identity_and_approvals_are_complete_and_no_hold_stands(context: TicketContext) -> bool:
    """Everything that a person has to give is there."""
    enough = context.approvals_given >= context.approvals_needed
    return context.identity_verified and enough and no_hold_stands(context)


def matches_are_ambiguous(context: TicketContext) -> bool:
    """At least one match waits for a person."""
    return context.ambiguous_open > 0


def no_match_is_ambiguous(context: TicketContext) -> bool:
    """A person has sorted every ambiguous match."""
    return context.ambiguous_open == 0


def no_record_is_left_to_forget(context: TicketContext) -> bool:
    """Neither a match nor an open question."""
    return context.forget_records == 0 and context.ambiguous_open == 0


def the_forget_set_is_sorted_and_not_empty_and_no_hold_stands(context: TicketContext) -> bool:
    """There is something to forget, nothing ambiguous in it, and nothing forbids forgetting it."""
    return context.forget_records > 0 and context.ambiguous_open == 0 and no_hold_stands(context)


def the_swap_is_committed(context: TicketContext | RunContext) -> bool:
    """The adapter with this ticket in its watermark is the one that is served."""
    return context.swap_committed


def the_ticket_was_never_live(context: TicketContext) -> bool:
    """Once live, a ticket is erased or its person suppressed: nothing in between would be served."""
    return not context.swap_committed and not context.was_live


def the_ticket_was_never_live_and_none_repeats_it(context: TicketContext) -> bool:
    """Another request that waits for its answer would be lost; a denial is an answer to both."""
    return not context.repeated and the_ticket_was_never_live(context)


def a_reason_is_given_and_the_ticket_was_never_live(context: TicketContext) -> bool:
    """A refusal without one is no answer (GDPR Art. 12(4)); once live, it would bring the person back."""
    return context.reason_given and the_ticket_was_never_live(context)


def the_identity_is_verified_and_a_reason_is_given(context: TicketContext) -> bool:
    """Who is restricted was recognised, and somebody says why."""
    return context.identity_verified and context.reason_given


def a_reason_is_given(context: TicketContext) -> bool:
    """The subject is told before a restriction is lifted (GDPR Art. 18(3))."""
    return context.reason_given


def the_swap_is_not_committed(context: TicketContext | RunContext) -> bool:
    """What is live can be replaced, but no longer stopped."""
    return not context.swap_committed


def tickets_are_ready_and_none_is_held(context: RunContext) -> bool:
    """A run has work, and all of it may be done."""
    return context.tickets_ready > 0 and context.held_tickets == 0


def no_ticket_is_held(context: RunContext) -> bool:
    """No ticket of the run came under a hold meanwhile."""
    return context.held_tickets == 0


def the_checks_passed(context: RunContext) -> bool:
    """Every expectation over the augmented set held."""
    return context.checks_passed


def the_verdict_passed_and_no_ticket_is_held(context: RunContext) -> bool:
    """Every threshold of the policy was met, and no hold came in meanwhile."""
    return context.verdict_passed and context.held_tickets == 0


def the_verdict_did_not_pass(context: RunContext) -> bool:
    """At least one threshold was missed or could not be decided."""
    return not context.verdict_passed


def the_checks_did_not_pass(context: RunContext) -> bool:
    """At least one expectation failed."""
    return not context.checks_passed


TicketRow = Transition[TicketStatus, TicketContext]
TicketTable = dict[tuple[TicketStatus | None, TicketEvent], TicketRow]
RunRow = Transition[RunStatus, RunContext]
RunTable = dict[tuple[RunStatus | None, RunEvent], RunRow]

CLOSED_TICKET = frozenset(
    {TicketStatus.COMPLETED, TicketStatus.NOTHING_FOUND, TicketStatus.DENIED, TicketStatus.CANCELLED}
)
CLOSED_RUN = frozenset(
    {RunStatus.COMPLETED, RunStatus.QUARANTINED, RunStatus.REJECTED, RunStatus.FAILED, RunStatus.CANCELLED}
)
OPEN_RUN = tuple(s for s in RunStatus if s not in CLOSED_RUN)
ACTIVE_RUN = tuple(s for s in RunStatus if s not in CLOSED_RUN and s is not RunStatus.PLANNED)


def _ticket_table() -> TicketTable:
    s, e = TicketStatus, TicketEvent
    to, complete = Transition, identity_and_approvals_are_complete_and_no_hold_stands
    sorted_set = the_forget_set_is_sorted_and_not_empty_and_no_hold_stands
    table: TicketTable = {
        (None, e.RECEIVE): to(s.RECEIVED),
        (s.RECEIVED, e.REQUIRE_IDENTITY): to(s.AWAITING_IDENTITY),
        (s.RECEIVED, e.VERIFY_IDENTITY): to(s.RECEIVED, identity_is_verified),
        (s.RECEIVED, e.IDENTITY_FAILED): to(s.AWAITING_IDENTITY),
        (s.RECEIVED, e.REQUIRE_APPROVAL): to(s.AWAITING_APPROVAL, identity_is_verified),
        (s.RECEIVED, e.APPROVE): to(s.APPROVED, complete),
        (s.AWAITING_IDENTITY, e.VERIFY_IDENTITY): to(s.RECEIVED, identity_is_verified),
        # A failed attempt is recorded; only a decision denies (GDPR Art. 12(6): ask for more first).
        (s.AWAITING_IDENTITY, e.IDENTITY_FAILED): to(s.AWAITING_IDENTITY),
        (s.AWAITING_APPROVAL, e.RECORD_APPROVAL): to(s.AWAITING_APPROVAL),
        (s.AWAITING_APPROVAL, e.APPROVE): to(s.APPROVED, complete),
        (s.APPROVED, e.MATCHES_AMBIGUOUS): to(s.AWAITING_REVIEW, matches_are_ambiguous),
        (s.APPROVED, e.NOTHING_FOUND): to(s.NOTHING_FOUND, no_record_is_left_to_forget),
        (s.APPROVED, e.FORGET_SET_FIXED): to(s.READY, sorted_set),
        (s.AWAITING_REVIEW, e.MATCHES_REVIEWED): to(s.APPROVED, no_match_is_ambiguous),
        # The forget set is computed again (the corpus changed before the run started).
        (s.READY, e.FORGET_SET_FIXED): to(s.READY, sorted_set),
        (s.READY, e.RUN_STARTED): to(s.IN_RUN, sorted_set),
        (s.IN_RUN, e.RUN_REJECTED): to(s.REJECTED, the_swap_is_not_committed),
        (s.IN_RUN, e.RUN_QUARANTINED): to(s.QUARANTINED, the_swap_is_not_committed),
        (s.IN_RUN, e.RUN_FAILED): to(s.FAILED, the_swap_is_not_committed),
        (s.IN_RUN, e.RUN_CANCELLED): to(s.READY, the_swap_is_not_committed),
        (s.IN_RUN, e.SWAP_CONFIRMED): to(s.COMPLETED, the_swap_is_committed),
        (s.IN_RUN, e.PROBES_FAILED): to(s.FAILED),
        # Back through the decision: what was true before the hold may not be true after it.
        (s.ON_HOLD, e.RELEASE_HOLD): to(s.RECEIVED, its_own_hold_is_over),
    }
    for status in (s.REJECTED, s.QUARANTINED, s.FAILED):
        table[status, e.RETRY] = to(s.READY, sorted_set)
    open_statuses = [status for status in s if status not in CLOSED_TICKET]
    for status in open_statuses:
        table[status, e.RESTRICT] = to(status, the_identity_is_verified_and_a_reason_is_given)
        table[status, e.UNRESTRICT] = to(status, a_reason_is_given)
        table[status, e.CANCEL] = to(s.CANCELLED, the_ticket_was_never_live_and_none_repeats_it)
        if status is not s.IN_RUN:  # what a run was begun for does not change under it: hold the ticket first
            # Back through the decision: people approved something else than what would happen now.
            after = s.ON_HOLD if status is s.ON_HOLD else s.RECEIVED
            table[status, e.EXEMPT] = to(after, a_reason_is_given_and_the_ticket_was_never_live)
            table[status, e.END_EXEMPTION] = to(after, a_reason_is_given_and_the_ticket_was_never_live)
        if status is not s.ON_HOLD:
            table[status, e.HOLD] = to(s.ON_HOLD, the_ticket_was_never_live)
        if status is not s.IN_RUN:  # whoever wants to deny then cancels the run first, by a hold
            table[status, e.DENY] = to(s.DENIED, a_reason_is_given_and_the_ticket_was_never_live)
    return table


def _run_table() -> RunTable:
    s, e, to = RunStatus, RunEvent, Transition
    table: RunTable = {
        (None, e.PLAN): to(s.PLANNED, tickets_are_ready_and_none_is_held),
        (s.PLANNED, e.START): to(s.AUGMENTING, no_ticket_is_held),
        (s.AUGMENTING, e.AUGMENTED): to(s.CHECKING, no_ticket_is_held),
        (s.CHECKING, e.CHECKED): to(s.TRAINING, the_checks_passed),
        (s.CHECKING, e.QUARANTINE): to(s.QUARANTINED, the_checks_did_not_pass),
        (s.TRAINING, e.TRAINED): to(s.VERIFYING, no_ticket_is_held),
        (s.VERIFYING, e.VERIFIED): to(s.RELEASING, the_verdict_passed_and_no_ticket_is_held),
        (s.VERIFYING, e.REJECT): to(s.REJECTED, the_verdict_did_not_pass),
        (s.RELEASING, e.RELEASED): to(s.SWAPPING, no_ticket_is_held),
        (s.SWAPPING, e.SWAPPED): to(s.REPORTING, the_swap_is_committed),
        (s.SWAPPING, e.PROBES_FAILED): to(s.FAILED),
        (s.REPORTING, e.REPORTED): to(s.COMPLETED),
    }
    for status in (s.PLANNED, *ACTIVE_RUN):
        table[status, e.RESUME] = to(status)
        # After the commit nothing stops a run any more: a report that breaks is made again, the erasure is done.
        if status is not s.REPORTING:
            table[status, e.CANCEL] = to(s.CANCELLED, the_swap_is_not_committed)
            table[status, e.FAIL] = to(s.FAILED, the_swap_is_not_committed)
    return table


TICKET: Lifecycle[TicketStatus, TicketEvent, TicketContext] = Lifecycle("ticket", _ticket_table())
_ASKS_THE_TICKET_ALONE = frozenset(
    {
        None,
        identity_is_verified,
        its_own_hold_is_over,
        the_identity_is_verified_and_a_reason_is_given,
        a_reason_is_given,
    }
)
RUN: Lifecycle[RunStatus, RunEvent, RunContext] = Lifecycle("run", _run_table())


def asks_the_ticket_alone(status: TicketStatus, event: TicketEvent) -> bool:
    """Whether an event is judged by the ticket's own row: nothing of matches and other tickets is looked at."""
    transition = TICKET.table.get((status, event))
    return transition is None or transition.guard in _ASKS_THE_TICKET_ALONE
