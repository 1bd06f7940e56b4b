import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from policies.errors import LetheError
from services.store import leases, releases
from services.store.engine import Store
from services.store.tables import AuditEntryRow, DesiredState
from tests.unit.services.store.samples import BASE, NOW, a_release, swap


def begin(store: Store) -> None:
    with store.write() as session:
        releases.init_desired(session, a_release(session, "r0"), actor="t")


def propose(store: Store, digest: str, expected: int = 0, **more: Any) -> DesiredState:
    with store.write() as session:
        about = {"expected_generation": expected, "release_digest": digest, "prepare_s": 60, "actor": "t", **more}
        return releases.propose(session, BASE, **about)


def commit(store: Store, digest: str, generation: int = 1) -> DesiredState:
    with store.write() as session:
        return releases.commit(session, BASE, generation=generation, release_digest=digest, actor="t")


def abort(store: Store, digest: str, generation: int = 1) -> DesiredState:
    with store.write() as session:
        return releases.abort(session, BASE, generation=generation, release_digest=digest, reason="r", actor="t")


def proposal(state: DesiredState) -> tuple[int | None, str | None, datetime | None]:
    return state.proposed_generation, state.proposed_digest, state.prepare_until


def code_of(work: Callable[..., object], *args: Any, **more: Any) -> str:
    with pytest.raises(LetheError) as caught:
        work(*args, **more)
    return caught.value.code


def kinds(store: Store) -> list[str]:
    with store.read() as session:
        found = session.scalars(select(AuditEntryRow.kind).order_by(AuditEntryRow.seq))
        return [kind for kind in found if kind.startswith("desired_state.")]


@pytest.mark.parametrize("step", [propose, commit])
def test_of_many_that_read_the_same_generation_one_wins(store: Store, step: Callable[..., DesiredState]) -> None:
    begin(store)
    with store.write() as session:
        for i in range(8):
            a_release(session, f"new-{i}")
    if step is commit:
        propose(store, "new-3")
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def race(worker: int) -> None:
        barrier.wait()
        try:
            step(store, f"new-{worker}")
            outcomes.append("won")
        except LetheError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=race, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["desired_state.conflict"] * 7 + ["won"]
    with store.read() as session:
        assert releases.get_desired(session, BASE).generation == (1 if step is commit else 0)


def test_a_proposal_is_committed_or_taken_back_and_each_leaves_an_entry(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "r1", ("t-1",))
    first = propose(store, "r1")
    assert proposal(first)[:2] == (1, "r1")
    assert (first.generation, first.release_digest, first.watermark) == (0, "r0", [])
    assert propose(store, "r1").proposed_at == first.proposed_at  # the same again is the same
    assert proposal(abort(store, "r1")) == (None, None, None)
    assert code_of(commit, store, "r1") == "desired_state.conflict"
    assert code_of(abort, store, "r1") == "desired_state.conflict"
    propose(store, "r1")
    state = commit(store, "r1")
    assert (state.generation, state.release_digest, state.watermark) == (1, "r1", ["t-1"])
    assert proposal(state) == (None, None, None)
    assert code_of(propose, store, "r0", suppressed=["t-1"]) == "desired_state.conflict"  # it read generation 0
    assert kinds(store) == [
        f"desired_state.{what}" for what in ("changed", "proposed", "aborted", "proposed", "changed")
    ]


def test_an_adapter_that_does_not_know_an_erased_ticket_is_not_activated(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "r1", ("t-1",))
        swap(session, "r1")
    assert code_of(propose, store, "r0", 1) == "release.watermark"
    with store.write() as session:  # with suppression for the difference it may be
        state = swap(session, "r0", expected=1, suppressed=("t-1",))
    assert (state.generation, state.watermark) == (2, ["t-1"])  # forward, and the ticket is not forgotten


def test_a_release_of_another_base_or_none_is_refused(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "other", base="c" * 64)
    for digest, code in (("other", "release.wrong_base"), ("nothing", "release.not_found")):
        assert code_of(propose, store, digest) == code


def test_a_lineage_begins_once_and_a_release_is_stored_once(store: Store) -> None:
    begin(store)
    begin(store)
    with store.read() as session:
        assert [s.generation for s in releases.list_desired(session)] == [0]
        assert [r.digest for r in releases.list_releases(session, BASE)] == ["r0"]
    with pytest.raises(LetheError) as other, store.write() as session:
        a_release(session, "r0", ("t-1",))
    assert other.value.code == "release.exists"


def test_suppression_has_a_version_of_its_own(store: Store) -> None:
    begin(store)
    with store.write() as session:
        begun = releases.get_desired(session, BASE).changed_at
        assert releases.bump_suppression(session, BASE) == 1
        assert releases.bump_suppression(session, BASE) == 2
        state = releases.get_desired(session, BASE)
        assert (state.generation, state.changed_at) == (0, begun)
    for base in ("nothing",):
        with pytest.raises(LetheError) as missing, store.write() as session:
            releases.bump_suppression(session, base)
        assert missing.value.code == "desired_state.missing"


def report(store: Store, generation: int, digest: str | None, *, name: str = "a", **more: Any) -> bool:
    with store.write() as session:
        about: dict[str, Any] = {"state": "ready", "lease_s": 5.0, "at": NOW, **more}
        return releases.report_replica(
            session, name, base_digest=BASE, generation=generation, release_digest=digest, **about
        )


def live(store: Store, seconds: float) -> list[str]:
    with store.read() as session:
        at = NOW + timedelta(seconds=seconds)
        return [r.replica_id for r in releases.live_replicas(session, BASE, at=at)]


def test_a_replica_counts_while_its_lease_runs(store: Store) -> None:
    begin(store)
    for name, lease_s in (("a", 5.0), ("b", 50.0)):
        assert report(store, 0, "r0", name=name, lease_s=lease_s, acked=True)
    assert live(store, 10) == ["b"]
    assert live(store, 0) == ["a", "b"]
    report(store, 0, "r0", name="b", state="stopped", lease_s=0.0)  # given back
    assert live(store, 0) == ["a"]


def test_the_lease_of_a_replica_that_is_behind_is_not_extended(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "r1")
    assert report(store, 0, "r0")
    with store.write() as session:
        swap(session, "r1")
    later = NOW + timedelta(seconds=3)
    assert not report(store, 0, "r0", at=later)
    assert (live(store, 4), live(store, 5)) == (["a"], [])  # what it had runs on, and out
    assert not report(store, -1, None, name="new", state="starting")
    assert not report(store, 1, "r0")  # another history
    assert live(store, 5) == []
    assert report(store, 1, "r1", at=later)
    assert live(store, 5) == ["a"]
    assert report(store, 7, "r7", at=later)  # ahead: it is the store that is behind


def test_a_replica_of_no_lineage_gets_no_lease(store: Store) -> None:
    assert not report(store, 0, "r0")
    assert live(store, 0) == []


def test_a_word_counts_for_its_own_proposal_only(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "r1")
    report(store, 0, "r0")

    def say(at: datetime | None, refused: str | None = None, name: str = "a") -> bool:
        assert at is not None
        with store.write() as session:
            return releases.report_prepared(session, name, base_digest=BASE, proposed_at=at, refused=refused, at=NOW)

    def said() -> tuple[int, str | None, str | None]:
        with store.read() as session:
            [row] = releases.list_replicas(session, BASE)
            return row.prepared_generation, row.prepared_digest, row.refused

    assert not say(NOW)  # nothing is proposed
    first = propose(store, "r1").proposed_at
    assert not say(NOW)
    assert not say(first, name="nobody")
    assert say(first)
    assert said() == (1, "r1", None)
    abort(store, "r1")
    second = propose(store, "r1").proposed_at
    assert said() == (-1, None, None)
    assert not say(first)
    assert say(second, "release.signature")
    assert said() == (-1, None, "release.signature")
    assert say(second)
    report(store, -1, None, state="starting")  # its engine was started anew
    assert said() == (-1, None, None)
    assert not say(second)


def test_a_worker_that_is_silent_has_lapsed(store: Store) -> None:
    with store.write() as session:
        leases.renew_lease(session, "w-1", "gpu", lease_s=10, at=NOW)
        leases.renew_lease(session, "w-2", "control", lease_s=10, at=NOW)
        leases.renew_lease(session, "w-2", "control", lease_s=10, at=NOW + timedelta(seconds=9))
    later = NOW + timedelta(seconds=12)
    with store.write() as session:
        assert [lease.executor_id for lease in leases.lapsed_leases(session, at=later)] == ["w-1"]
        assert [lease.executor_id for lease in leases.live_leases(session, at=later)] == ["w-2"]
        assert leases.live_leases(session, role="gpu", at=later) == []
        assert leases.lapsed_leases(session, role="control", at=later) == []
        leases.end_lease(session, "w-1")
    with store.read() as session:
        assert leases.lapsed_leases(session, at=later) == []


def test_of_several_lineages_what_is_served_comes_first_and_then_the_one_begun_last(store: Store) -> None:
    begun = ["m" * 64, "z" * 64, "a" * 64, "k" * 64]  # in no order of their digests
    for number, base in enumerate(begun):
        with store.write() as session:
            row = a_release(session, f"{number}" * 64, base=base)
            row.created_at = NOW + timedelta(hours=number)
            releases.init_desired(session, row, actor="t")

    def order() -> list[str]:
        with store.read() as session:
            return [state.base_digest for state in releases.list_served(session)]

    assert order() == list(reversed(begun))
    with store.write() as session:
        said: dict[str, Any] = {"generation": 0, "release_digest": "1" * 64, "lease_s": 60}
        releases.report_replica(session, "r-1", base_digest="z" * 64, state="serving", **said)
    assert order() == ["z" * 64, "k" * 64, "a" * 64, "m" * 64]
