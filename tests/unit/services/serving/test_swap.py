"""The coordinator's side, against a real store and rows as replicas write them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from policies.errors import LetheError
from services.installation import create_installation
from services.serving.swap import READY, refused_state, request_swap, wait_confirmed
from services.settings import load_settings
from services.store.engine import Store
from services.store.releases import add_release, init_desired, report_replica
from services.store.types import utc_now

BASE = "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = create_installation(load_settings(tmp_path / "home")).open_store(with_keys=False)
    with opened.write() as session:
        for digest, watermark in (("d0", ()), ("d1", ("t1",)), ("d2", ("t1", "t2"))):
            release = add_release(
                session, digest=digest, base_digest=BASE, path="", watermark=watermark, verdict={}, actor="system:test"
            )
            if digest == "d0":
                init_desired(session, release, actor="system:test")
    yield opened
    opened.close()


def swap(store: Store, digest: str = "d1", expected: int = 0) -> int:
    with store.write() as session:
        return request_swap(session, BASE, digest, expected)


def report(store: Store, replica: str, state: str, generation: int, digest: str, lease_s: float = 60) -> None:
    with store.write() as session:
        report_replica(
            session,
            replica,
            base_digest=BASE,
            state=state,
            generation=generation,
            release_digest=digest,
            lease_s=lease_s,
            acked=state == READY,
        )


def failure(store: Store, generation: int, *, min_ready: int = 1) -> LetheError:
    with pytest.raises(LetheError) as caught:
        wait_confirmed(store, BASE, generation, 0.0, min_ready=min_ready)
    return caught.value


def test_a_receipt_names_every_replica(store: Store) -> None:
    generation = swap(store)
    assert generation == 1
    report(store, "r1", READY, 1, "d1")
    report(store, "r2", READY, 1, "d1")
    receipt = wait_confirmed(store, BASE, generation, 0.0)
    assert [r.replica_id for r in receipt.replicas] == ["r1", "r2"]
    assert {r.digest for r in receipt.replicas} == {receipt.digest} == {"d1"}
    assert 0 <= receipt.seconds < 30


def test_a_replica_that_is_behind_or_still_draining_is_waited_for(store: Store) -> None:
    generation = swap(store)
    report(store, "r1", READY, 1, "d1")
    for state, at, digest in ((READY, 0, "d0"), ("draining", 1, "d1")):
        report(store, "r2", state, at, digest)
        error = failure(store, generation)
        assert error.code == "swap.timeout"
        assert error.details == (f"r2: {state}, generation {at}",)


def test_a_replica_without_a_lease_does_not_count(store: Store) -> None:
    generation = swap(store)
    report(store, "r1", READY, 1, "d1", lease_s=-1)
    assert failure(store, generation).code == "swap.timeout"
    report(store, "r2", READY, 1, "d1")
    assert failure(store, generation, min_ready=2).code == "swap.timeout"
    assert len(wait_confirmed(store, BASE, generation, 0.0).replicas) == 1


def test_a_refusal_counts_for_its_own_generation_only(store: Store) -> None:
    generation = swap(store)
    report(store, "r1", refused_state(1, "release.non_finite"), 0, "d0")
    error = failure(store, generation)
    assert error.code == "swap.refused"
    assert error.details == ("r1: release.non_finite",)
    assert failure(store, swap(store, "d2", 1)).code == "swap.timeout"


def test_somebody_else_was_faster(store: Store) -> None:
    generation = swap(store)
    with pytest.raises(LetheError) as caught:
        swap(store, "d2", 0)
    assert caught.value.code == "desired_state.conflict"
    swap(store, "d2", 1)
    assert failure(store, generation).code == "swap.superseded"


def test_old_acknowledgements_prove_nothing(store: Store) -> None:
    with store.write() as session:
        report_replica(
            session,
            "r1",
            base_digest=BASE,
            state=READY,
            generation=0,
            release_digest="d0",
            lease_s=60,
            acked=True,
            at=utc_now() - timedelta(seconds=1),
        )
    assert failure(store, swap(store)).code == "swap.timeout"
