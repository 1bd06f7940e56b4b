"""The decisions of a fleet swap, pure: what its coordinator does next, and what a replica does next.

swap.py and replica.py only carry them out; the tests explore these very functions with every crash there is. A version
is a generation with the digest of its release. docs/swap.md tells the protocol.
"""

from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, str]


class StepKind(StrEnum):
    """What a coordinator can do."""

    PROPOSE = "propose"  # ask every replica to prepare
    WAIT = "wait"
    TRIAL = "trial"  # enough have prepared: let the trial's judge say whether it may be committed
    COMMIT = "commit"
    ABORT = "abort"  # take the proposal back
    STOP = "stop"  # nothing is proposed, and nothing shall be
    CONFIRMED = "confirmed"  # nobody answers from an older generation any more


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and why where somebody is told."""

    kind: StepKind
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A replica whose lease runs, by its row.

    Attributes:
        replica_id: Which.
        served: What it serves; generation -1 while it starts.
        settled: It has unloaded whatever came before, and said so.
        prepared: What it holds loaded and probed beside.
        refused: Why it will not prepare what is proposed.
    """

    replica_id: str
    served: Version
    settled: bool = False
    prepared: Version | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """All that a coordinator decides by, read in one transaction.

    Attributes:
        goal: Digest of the release that it wants served.
        desired: What is committed.
        proposed: What is to be prepared.
        late: The time to prepare is over.
        abandoned: It has been over for so long that nobody can be at work on it.
        members: Every replica with a running lease.
        min_ready: Fewer may not commit.
        stop: Why the swap shall not be made.
        untried: A trial is wanted, and it was not passed yet.
        revive: Commit also where nobody has prepared because nobody serves anything: what is desired cannot be served.
    """

    goal: str
    desired: Version
    proposed: Version | None
    members: tuple[Member, ...]
    min_ready: int
    late: bool = False
    abandoned: bool = False
    stop: str | None = None
    untried: bool = False
    revive: bool = False


def next_step(view: FleetView) -> Step:
    """What the coordinator does next."""
    if view.desired[1] == view.goal and view.proposed is None:
        return _after_commit(view)
    if view.proposed is None:
        return Step(StepKind.STOP, view.stop) if view.stop else Step(StepKind.PROPOSE)
    if view.proposed[1] != view.goal:
        return Step(StepKind.ABORT, "swap.timeout") if view.abandoned else Step(StepKind.WAIT, "desired_state.conflict")
    return _while_proposed(view, view.proposed)


def _while_proposed(view: FleetView, proposed: Version) -> Step:
    if view.stop:
        return Step(StepKind.ABORT, view.stop)
    prepared = sum(member.prepared == proposed for member in view.members)
    refused = sum(member.refused is not None for member in view.members)
    undecided = len(view.members) - prepared - refused
    if refused and prepared + undecided < view.min_ready:
        return Step(StepKind.ABORT, "swap.refused")
    if view.revive and view.late and all(member.served[0] < 0 for member in view.members):
        return Step(StepKind.COMMIT)  # each replica verifies by itself before it joins
    if prepared < view.min_ready:
        return Step(StepKind.ABORT, "swap.timeout") if view.late else Step(StepKind.WAIT)
    if undecided and not view.late:
        return Step(StepKind.WAIT)
    return Step(StepKind.TRIAL if view.untried else StepKind.COMMIT)


def _after_commit(view: FleetView) -> Step:
    """Done when all that may answer serve it: a fenced replica counts until its lease has run out."""
    done = [member for member in view.members if member.served == view.desired and member.settled]
    if len(done) == len(view.members) and len(done) >= view.min_ready:
        return Step(StepKind.CONFIRMED)
    return Step(StepKind.WAIT)


class Action(StrEnum):
    """What a replica can do."""

    NONE = "none"
    HOLD = "hold"  # the store is behind what this replica has seen: nothing of it is believed
    JOIN = "join"  # verify, load and probe what is desired, and serve it
    COMMIT = "commit"  # serve what was prepared
    SETTLE = "settle"  # drain what came before, unload it, confirm, acknowledge
    PREPARE = "prepare"  # verify, load and probe what is proposed
    DISCARD = "discard"  # unload what was prepared for a proposal that is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """All that a replica decides by.

    Attributes:
        served: What it serves; None while it serves nothing.
        desired: What the store says.
        proposed: What the store says is to be prepared.
        prepared: What it holds loaded and probed beside.
        high: The highest version that it, or a signed statement, has seen served.
        settled: Nothing but what is served and prepared is loaded, and the store knows it.
        refused: It has refused this very proposal.
    """

    served: Version | None
    desired: Version
    proposed: Version | None
    prepared: Version | None
    high: Version
    settled: bool
    refused: bool = False


def behind(desired: Version, high: Version) -> bool:
    """Whether the store is older than what was served, or another history."""
    return desired[0] < high[0] or (desired[0] == high[0] and desired[1] != high[1])


def replica_action(view: ReplicaView) -> Action:
    """What the replica does next. At most two adapters are loaded beside each other at any time."""
    if behind(view.desired, view.high):
        return Action.HOLD
    if view.served == view.desired and not view.settled:
        return Action.SETTLE
    if view.served != view.desired:
        if view.prepared == view.desired:
            return Action.COMMIT
        if view.prepared is not None:
            return Action.DISCARD
        return Action.JOIN if view.settled or view.served is None else Action.SETTLE
    if view.prepared is not None and view.prepared != view.proposed:
        return Action.DISCARD
    if view.proposed is not None and view.prepared is None and not view.refused:
        return Action.PREPARE
    return Action.NONE
