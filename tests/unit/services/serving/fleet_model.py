"""A small model of a fleet: every order of steps, crashes and lost leases, decided by the very functions that decide.

Time is left out: a deadline may pass, and a lease may end, at any moment; only that a replica stops by itself before
the store takes its lease for ended is kept (lease.py). A store is restored only while nobody holds a lease (swap.md).
What a replica knows of the store is what it saw when it last looked, however long ago.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.serving import rollout
from services.serving.rollout import Action, FleetView, Member, ReplicaView, Step, StepKind, Version

NOTHING: Version = (-1, "")
FIRST: Version = (0, "d0")


class Row(NamedTuple):
    """A replica's row in the store."""

    served: Version
    settled: bool
    prepared: Version | None
    refused: bool
    leased: bool


class Store(NamedTuple):
    """Desired state and rows. ``number`` tells one proposal of a version from the next."""

    desired: Version
    proposed: Version | None
    number: int
    late: bool
    abandoned: bool
    rows: tuple[Row, ...]


class Seen(NamedTuple):
    """What a replica saw when it last looked."""

    desired: Version
    proposed: Version | None
    number: int


class Node(NamedTuple):
    """A replica: its process, and its memory, which outlives it."""

    up: bool
    served: Version | None
    prepared: Version | None
    settled: bool
    leased: bool
    told: int
    refused: int
    seen: Seen | None
    memory: Version
    ever: int  # the highest generation that it has answered with: what must never fall


class Coordinator(NamedTuple):
    """One call of ``swap_to``."""

    goal: int
    alive: bool
    replaces: int | None
    proposed: bool
    committed: bool


class State(NamedTuple):
    """The whole world."""

    store: Store
    statement: Version
    nodes: tuple[Node, ...]
    coordinator: Coordinator
    confirmed: int
    faults: int


@dataclass(frozen=True)
class Rules:
    """What is decided by whom, so that a fault can be seeded.

    Attributes:
        next_step: The coordinator's decision.
        replica_action: A replica's decision.
        renews: Whether the store renews the lease of a replica, given what it serves and what is desired.
        remembers: Whether a replica heeds memory and statement.
    """

    next_step: Callable[[FleetView], Step] = rollout.next_step
    replica_action: Callable[[ReplicaView], Action] = rollout.replica_action
    renews: Callable[[Version, Version], bool] = lambda served, desired: served == desired or served[0] > desired[0]
    remembers: bool = True


@dataclass(frozen=True)
class World:
    """How large it is.

    Attributes:
        replicas: How many.
        goals: Digests that are swapped to, one after the other.
        min_ready: As in the settings.
        faults: Crashes, lost disks, restored stores, refusals: so many in all.
        proposals: After so many the coordinator is not started again; else the model would not end.
        rules: Who decides.
    """

    replicas: int = 2
    goals: tuple[str, ...] = ("d1",)
    min_ready: int = 1
    faults: int = 1
    proposals: int = 2
    rules: Rules = Rules()

    def start(self) -> State:
        row = Row(FIRST, True, None, False, True)
        node = Node(True, FIRST, None, True, True, -1, -1, Seen(FIRST, None, 0), FIRST, 0)
        store = Store(FIRST, None, 0, False, False, (row,) * self.replicas)
        idle = Coordinator(0, False, None, False, False)
        return State(store, FIRST, (node,) * self.replicas, idle, 0, self.faults)

    # every step that the world can take; ``fault`` marks those that nobody may rely upon

    def steps(self, state: State) -> Iterator[tuple[str, State, bool]]:
        yield from self._coordinator_steps(state)
        yield from self._time(state)
        for i, node in enumerate(state.nodes):
            for name, after, fault in self._node_steps(state, i, node):
                yield f"{name} {i}", after, fault
        if state.faults and not any(node.leased for node in state.nodes):
            yield "restore the store", state._replace(store=self._backup(), faults=state.faults - 1), True

    def _backup(self) -> Store:
        row = Row(FIRST, True, None, False, False)
        return Store(FIRST, None, 0, False, False, (row,) * self.replicas)

    def _time(self, state: State) -> Iterator[tuple[str, State, bool]]:
        store = state.store
        if store.proposed is not None and not store.late:
            yield "late", state._replace(store=store._replace(late=True)), False
        if store.proposed is not None and store.late and not store.abandoned:
            yield "abandoned", state._replace(store=store._replace(abandoned=True)), False

    # the coordinator

    def _coordinator_steps(self, state: State) -> Iterator[tuple[str, State, bool]]:
        mind = state.coordinator
        if mind.goal == len(self.goals):
            return
        if not mind.alive:
            if state.store.number < self.proposals or state.store.proposed or self._is_goal(state):
                begun = Coordinator(mind.goal, True, None, False, False)
                yield "coordinator begins", state._replace(coordinator=begun), False
            else:  # given up: the next goal is another's
                yield (
                    "next goal",
                    state._replace(coordinator=Coordinator(mind.goal + 1, False, None, False, False)),
                    False,
                )
            return
        if state.faults:
            dead = Coordinator(mind.goal, False, None, False, False)
            yield "coordinator dies", state._replace(coordinator=dead, faults=state.faults - 1), True
        yield "coordinator", self._turn(state), False

    def _is_goal(self, state: State) -> bool:
        return state.store.desired[1] == self.goals[state.coordinator.goal]

    def _turn(self, state: State) -> State:
        """As ``Swap.turn``: what is raised there ends the coordinator here."""
        mind, store, reached = state.coordinator, state.store, self._is_goal(state)
        failed = state._replace(coordinator=Coordinator(mind.goal, False, None, False, False))
        if mind.replaces is None:
            mind = mind._replace(replaces=store.desired[0] - reached)
        assert mind.replaces is not None
        if store.desired[0] != mind.replaces + reached or (mind.committed and not reached):
            return failed
        if reached and not mind.committed:  # the statement, before anything else is done
            statement = max(state.statement, store.desired)
            return state._replace(coordinator=mind._replace(committed=True), statement=statement)
        state = state._replace(coordinator=mind)
        step = self.rules.next_step(self._fleet(state))
        if step.kind is StepKind.PROPOSE:
            return failed if mind.proposed else self._propose(state)
        if step.kind is StepKind.COMMIT:
            assert store.proposed is not None
            committed = store._replace(desired=store.proposed, proposed=None, late=False, abandoned=False)
            return state._replace(store=committed)
        if step.kind is StepKind.ABORT:
            own = store.proposed is not None and store.proposed[1] == self.goals[mind.goal]
            return (failed if own else state)._replace(store=store._replace(proposed=None, late=False, abandoned=False))
        if step.kind is StepKind.CONFIRMED:
            done = Coordinator(mind.goal + 1, False, None, False, False)
            return state._replace(coordinator=done, confirmed=max(state.confirmed, store.desired[0]))
        return failed if step.reason else state

    def _propose(self, state: State) -> State:
        store = state.store
        rows = tuple(row._replace(prepared=None, refused=False) for row in store.rows)
        version = (store.desired[0] + 1, self.goals[state.coordinator.goal])
        store = store._replace(proposed=version, number=store.number + 1, late=False, abandoned=False, rows=rows)
        return state._replace(store=store, coordinator=state.coordinator._replace(proposed=True))

    def _fleet(self, state: State) -> FleetView:
        store = state.store
        return FleetView(
            goal=self.goals[state.coordinator.goal],
            desired=store.desired,
            proposed=store.proposed,
            members=tuple(
                Member(str(i), row.served, row.settled, row.prepared, "release.refused" if row.refused else None)
                for i, row in enumerate(store.rows)
                if row.leased
            ),
            min_ready=self.min_ready,
            late=store.late,
            abandoned=store.abandoned,
        )

    # the replicas

    def _node_steps(self, state: State, i: int, node: Node) -> Iterator[tuple[str, State, bool]]:
        row = state.store.rows[i]
        if row.leased and not node.leased:
            yield "its lease is over", _with_row(state, i, row._replace(leased=False)), False
        if not node.up:
            yield "starts", _with_node(state, i, node._replace(up=True)), False
            return
        if node.leased:
            yield "stops by itself", _with_node(state, i, node._replace(leased=False)), False
        if state.faults:
            dead = Node(False, None, None, True, False, -1, -1, None, node.memory, node.ever)
            less = state._replace(faults=state.faults - 1)
            yield "dies", _with_node(less, i, dead), True
            # A disk is lost: what it has seen is what the statement tells.
            yield "is lost", _with_node(less, i, dead._replace(memory=NOTHING, ever=state.statement[0])), True
        store = state.store
        seen = Seen(store.desired, store.proposed, store.number)
        if node.seen != seen:
            yield "looks", _with_node(state, i, node._replace(seen=seen)), False
        reported = self._report(state, i, node)
        if reported != state:
            yield "reports", reported, False
        if node.seen is not None:
            yield from self._act(state, i, node, node.seen)

    def _high(self, state: State, node: Node) -> Version:
        return max(node.memory, state.statement) if self.rules.remembers else NOTHING

    def _report(self, state: State, i: int, node: Node) -> State:
        row, served = state.store.rows[i], node.served or NOTHING
        row = row._replace(served=served, settled=node.settled and node.served is not None)
        if node.served is None:
            row = row._replace(prepared=None)
        if self.rules.renews(served, state.store.desired):
            row = row._replace(leased=True)
            if served[0] >= self._high(state, node)[0]:
                node = node._replace(leased=True, ever=max(node.ever, served[0]))
        return _with_node(_with_row(state, i, row), i, node)

    def _act(self, state: State, i: int, node: Node, seen: Seen) -> Iterator[tuple[str, State, bool]]:
        high = self._high(state, node)
        action = self.rules.replica_action(
            ReplicaView(
                served=node.served,
                desired=seen.desired,
                proposed=seen.proposed,
                prepared=node.prepared,
                high=high,
                settled=node.settled,
                refused=node.refused == seen.number,
            )
        )
        if action in {Action.JOIN, Action.COMMIT}:
            if node.memory != seen.desired:  # it remembers first, and may die before it serves
                yield action, _with_node(state, i, node._replace(memory=seen.desired)), False
                return
            ever = max(node.ever, seen.desired[0]) if node.leased else node.ever
            flipped = node._replace(
                served=seen.desired, prepared=None, settled=node.served is None and node.settled, ever=ever
            )
            yield action, _with_node(state, i, flipped), False
        elif action is Action.SETTLE:
            yield action, self._report(state, i, node._replace(settled=True)), False
        elif action is Action.DISCARD:
            yield action, _with_node(state, i, node._replace(prepared=None, told=-1)), False
        elif action is Action.PREPARE:
            yield action, _with_node(state, i, node._replace(prepared=seen.proposed)), False
            if state.faults:
                less = state._replace(faults=state.faults - 1)
                yield "refuses", _with_node(less, i, node._replace(refused=seen.number)), True
        elif action is Action.NONE and seen.proposed is not None and node.told != seen.number:
            yield "tells", self._tell(state, i, node, seen), False

    def _tell(self, state: State, i: int, node: Node, seen: Seen) -> State:
        told = _with_node(state, i, node._replace(told=seen.number))
        store, row = state.store, state.store.rows[i]
        if store.proposed is None or store.number != seen.number or not self.rules.renews(row.served, store.desired):
            return told
        refused = node.refused == seen.number
        word = row._replace(refused=refused, prepared=row.prepared if refused else store.proposed)
        return _with_row(told, i, word)


def _with_node(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))


def _with_row(state: State, i: int, row: Row) -> State:
    rows = (*state.store.rows[:i], row, *state.store.rows[i + 1 :])
    return state._replace(store=state.store._replace(rows=rows))


# what must hold


def fault_of(before: State, after: State, min_ready: int) -> str | None:
    """What is wrong with a step, if anything."""
    for node in after.nodes:
        answers = node.up and node.served is not None and node.leased
        served = node.served or NOTHING
        if answers and served[0] < node.ever:
            return "a replica answers from a generation behind what it has answered with"
        if answers and served[0] < after.confirmed:
            return "a replica answers from an older generation after the swap was confirmed"
        if (node.served is not None) + (node.prepared is not None) + (not node.settled) > 2:
            return "more than two adapters are loaded"
    if after.store.desired[0] > before.store.desired[0]:
        ready = sum(row.leased and row.prepared == after.store.desired for row in before.store.rows)
        if ready < min_ready:
            return "it was committed with too few prepared"
    return None


class Violation(AssertionError):
    """A property that does not hold, with the way to it."""


def explore(world: World, limit: int = 2_000_000) -> int:
    """Visit every state that can be reached; gives how many there are.

    Raises:
        Violation: With the shortest way to a state that must not be, or from which the swap cannot come to an end.
    """
    start = world.start()
    came: dict[State, tuple[State, str] | None] = {start: None}
    back: dict[State, list[State]] = {}
    alone: dict[State, list[State]] = {}  # by steps that need nobody to come back
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for name, after, fault in world.steps(state):
            wrong = fault_of(state, after, world.min_ready)
            if wrong is not None:
                raise Violation(f"{wrong}: {' / '.join([*_way(came, state), name])}")
            after = _sorted(after)
            if not fault:
                back.setdefault(after, []).append(state)
                if not name.startswith("starts"):
                    alone.setdefault(after, []).append(state)
            if after not in came:
                came[after] = (state, name)
                queue.append(after)
        if len(came) > limit:
            raise AssertionError("too many states: make the world smaller")
    over = [state for state in came if state.coordinator.goal == len(world.goals) and state.store.proposed is None]
    _check_reached(came, back, over, "no way to an end")
    decided = [state for state in came if state.store.proposed is None]
    _check_reached(came, alone, decided, "whoever is dead must come back before it is decided")
    return len(came)


def _sorted(state: State) -> State:
    """Replicas are alike: of the worlds that differ in their order only, one."""
    pairs = sorted(zip(state.nodes, state.store.rows, strict=True), key=hash)
    nodes, rows = zip(*pairs, strict=True)
    return state._replace(nodes=nodes, store=state.store._replace(rows=rows))


def _check_reached(
    came: dict[State, tuple[State, str] | None], back: dict[State, list[State]], ends: list[State], wrong: str
) -> None:
    """From everywhere, without another fault, there is a way to one of the ends."""
    good = set(ends)
    queue = deque(ends)
    while queue:
        for before in back.get(queue.popleft(), ()):
            if before not in good:
                good.add(before)
                queue.append(before)
    for state in came:
        if state not in good:
            raise Violation(f"{wrong}: {' / '.join(_way(came, state))}")


def _way(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return names[::-1]
