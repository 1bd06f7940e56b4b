import threading
from datetime import timedelta

import pytest

from policies.errors import LetheError
from services.store import leases, releases
from services.store.engine import Store
from tests.unit.services.store.samples import BASE, NOW, a_release


def begin(store: Store) -> None:
    with store.write() as session:
        releases.init_desired(session, a_release(session, "r0"), actor="t")


def test_of_many_that_read_the_same_generation_one_wins(store: Store) -> None:
    begin(store)
    with store.write() as session:
        for i in range(8):
            a_release(session, f"new-{i}", (f"t-{i}",))
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def swap(worker: int) -> None:
        barrier.wait()
        try:
            with store.write() as session:
                releases.compare_and_swap(
                    session,
                    BASE,
                    expected_generation=0,
                    release_digest=f"new-{worker}",
                    suppressed=[f"t-{i}" for i in range(8)],
                    actor="t",
                )
            outcomes.append("won")
        except LetheError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=swap, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["desired_state.conflict"] * 7 + ["won"]
    with store.read() as session:
        assert releases.get_desired(session, BASE).generation == 1


def test_an_adapter_that_does_not_know_an_erased_ticket_is_not_activated(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "r1", ("t-1",))
        releases.compare_and_swap(session, BASE, expected_generation=0, release_digest="r1", actor="t")
    with pytest.raises(LetheError) as behind, store.write() as session:
        releases.compare_and_swap(session, BASE, expected_generation=1, release_digest="r0", actor="t")
    assert behind.value.code == "release.watermark"
    with store.write() as session:  # with suppression for the difference it may be
        state = releases.compare_and_swap(
            session, BASE, expected_generation=1, release_digest="r0", actor="t", suppressed=["t-1"]
        )
    assert (state.generation, state.watermark) == (2, ["t-1"])  # forward, and the ticket is not forgotten


def test_a_release_of_another_base_or_none_is_refused(store: Store) -> None:
    begin(store)
    with store.write() as session:
        a_release(session, "other", base="c" * 64)
    for digest, code in (("other", "release.wrong_base"), ("nothing", "release.not_found")):
        with pytest.raises(LetheError) as refused, store.write() as session:
            releases.compare_and_swap(session, BASE, expected_generation=0, release_digest=digest, actor="t")
        assert refused.value.code == code


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
        assert releases.bump_suppression(session, BASE) == 1
        assert releases.bump_suppression(session, BASE) == 2
        assert releases.get_desired(session, BASE).generation == 0
    for base in ("nothing",):
        with pytest.raises(LetheError) as missing, store.write() as session:
            releases.bump_suppression(session, base)
        assert missing.value.code == "desired_state.missing"


def test_a_replica_counts_while_its_lease_runs(store: Store) -> None:
    with store.write() as session:
        for name, lease_s in (("a", 5.0), ("b", 50.0)):
            releases.report_replica(
                session,
                name,
                base_digest=BASE,
                state="ready",
                generation=1,
                release_digest="r1",
                lease_s=lease_s,
                acked=True,
                at=NOW,
            )
    with store.read() as session:
        later = NOW + timedelta(seconds=10)
        assert [r.replica_id for r in releases.live_replicas(session, BASE, at=later)] == ["b"]
        assert [r.acked_at for r in releases.live_replicas(session, BASE, at=NOW)] == [NOW, NOW]


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
