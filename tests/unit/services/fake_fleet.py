"""Replicas for unit tests that have no engine: a fake decides as a real one does and writes the rows it would write."""

import threading
from dataclasses import dataclass, field

from policies.errors import LetheError
from services.serving.rollout import Action, ReplicaView, Version, replica_action
from services.serving.swap import READY
from services.serving.wanted import Wanted, read_wanted
from services.store.engine import Store
from services.store.releases import report_prepared, report_replica


@dataclass
class FakeReplica:
    """A fake: it verifies and loads nothing.

    Attributes:
        refuses: The code with which it refuses every proposal.
        silent: It keeps its lease and does nothing else.
        rules: The suppression version that it says it applies.
    """

    store: Store
    base: str
    replica_id: str = "r-1"
    refuses: str | None = None
    silent: bool = False
    rules: int = 0
    lease_s: float = 60.0
    served: Version | None = None
    prepared: Version | None = None
    settled: bool = True

    def turn(self) -> Action:
        """One look, one action."""
        wanted = read_wanted(self.store, self.base)
        action = replica_action(
            ReplicaView(
                served=self.served,
                desired=wanted.desired,
                proposed=wanted.proposed,
                prepared=self.prepared,
                high=self.served or (-1, ""),
                settled=self.settled,
            )
        )
        if action is Action.JOIN or not self.silent:
            self._act(action, wanted)
        return action

    def _act(self, action: Action, wanted: Wanted) -> None:
        if action in {Action.JOIN, Action.COMMIT}:
            self.served, self.prepared, self.settled = wanted.desired, None, False
            self.report("draining")
        elif action is Action.SETTLE:
            self.settled = True
            self.report(READY, acked=True)
        elif action is Action.DISCARD:
            self.prepared = None
        elif action is Action.PREPARE and wanted.proposed_at is not None:
            self.prepared = None if self.refuses else wanted.proposed
            with self.store.write() as session:
                at = wanted.proposed_at
                report_prepared(session, self.replica_id, base_digest=self.base, proposed_at=at, refused=self.refuses)

    def report(self, state: str, *, acked: bool = False) -> None:
        generation, digest = self.served or (-1, None)
        with self.store.write() as session:
            report_replica(
                session,
                self.replica_id,
                base_digest=self.base,
                state=state,
                generation=generation,
                release_digest=digest,
                lease_s=self.lease_s,
                about={"engine": "fake"},
                address=f"http://{self.replica_id}",
                suppression_version=self.rules,
                acked=acked,
            )


@dataclass
class FakeFleet:
    """Turns its replicas in a thread, until it is closed."""

    replicas: dict[str, FakeReplica] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def add(self, replica: FakeReplica) -> FakeReplica:
        """Add one, or put another in its place; it serves what is desired before this returns."""
        while replica.turn() is not Action.NONE and not (replica.silent and replica.served):
            continue
        if replica.silent:
            replica.report(READY, acked=True)
        self.replicas[replica.replica_id] = replica
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="fake fleet", daemon=True)
            self.thread.start()
        return replica

    def close(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join()

    def _run(self) -> None:
        while not self.stop.wait(0.01):
            for replica in list(self.replicas.values()):
                try:
                    replica.turn()
                except LetheError:  # the store is busy or closed
                    continue
