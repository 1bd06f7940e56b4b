"""The coordinator, against a real store and fakes that write rows as replicas do."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.adapter import Trust
from policies.errors import LetheError
from services import keys
from services.installation import Installation, create_installation
from services.serving.statement import read_statement
from services.serving.swap import SwapReceipt, as_json, swap_to
from services.settings import load_settings
from services.store import releases
from services.store.engine import Store
from services.store.releases import add_release, get_desired, init_desired
from services.store.tables import DesiredState
from services.store.types import utc_now
from tests.unit.services.fake_fleet import FakeFleet, FakeReplica
from tests.unit.services.store.samples import swap as committed

BASE = "b" * 64


@dataclass
class Place:
    """An installation with three releases and a fleet of fakes."""

    installation: Installation
    store: Store
    fleet: FakeFleet

    def serve(self, name: str = "r-1", **how: Any) -> FakeReplica:
        return self.fleet.add(FakeReplica(self.store, BASE, name, **how))

    def swap(self, digest: str = "d1", *, min_ready: int = 1, prepare_s: float = 0.4, **how: Any) -> SwapReceipt:
        serving = {"min_ready": min_ready, "prepare_timeout_s": prepare_s, "drain_timeout_s": 0.2, "lease_s": 1.0}
        settings = load_settings(self.installation.home, serving=serving)
        return swap_to(self.store, BASE, digest, settings=settings, actor="t", **how)

    def refused(self, **how: Any) -> LetheError:
        with pytest.raises(LetheError) as caught:
            self.swap(**how)
        return caught.value

    def desired(self) -> DesiredState:
        with self.store.read() as session:
            return get_desired(session, BASE)

    def at(self) -> tuple[int, str, str | None]:
        state = self.desired()
        return state.generation, state.release_digest, state.proposed_digest

    def propose(self, digest: str, at_ago_s: float = 0.0) -> None:
        with self.store.write() as session:
            at = utc_now() - timedelta(seconds=at_ago_s)
            about: dict[str, Any] = {"expected_generation": 0, "release_digest": digest, "prepare_s": 0.4}
            releases.propose(session, BASE, actor="t", at=at, **about)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    installation = create_installation(load_settings(tmp_path / "home"))
    store = installation.open_store(with_keys=False)
    with store.write() as session:
        for digest, watermark in (("d0", ()), ("d1", ("t1",)), ("d2", ("t1", "t2"))):
            release = add_release(
                session, digest=digest, base_digest=BASE, path="", watermark=watermark, verdict={}, actor="system:test"
            )
            if digest == "d0":
                init_desired(session, release, actor="system:test")
    made = Place(installation, store, FakeFleet())
    yield made
    made.fleet.close()
    store.close()


def later(work: Callable[[], object], seconds: float = 0.15) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


def test_a_receipt_names_every_replica_and_when_it_did_what(place: Place) -> None:
    place.serve("r-1")
    place.serve("r-2")
    receipt = place.swap()
    assert (receipt.generation, receipt.digest, receipt.fenced) == (1, "d1", ())
    assert [(r.replica_id, r.digest, r.engine) for r in receipt.replicas] == [
        ("r-1", "d1", "fake"),
        ("r-2", "d1", "fake"),
    ]
    for word in receipt.replicas:
        assert word.prepared_at is not None
        assert word.committed_at is not None
        assert word.prepared_at <= place.desired().changed_at <= word.committed_at <= word.acked_at
    assert 0 < receipt.seconds < 30
    assert as_json(receipt)["replicas"][0]["acked_at"] == receipt.replicas[0].acked_at.isoformat()
    assert place.swap() == receipt  # asked for once more: it is so already


def test_the_statement_of_what_was_committed_is_kept_signed(place: Place) -> None:
    place.serve()
    place.swap("d1")
    place.swap("d2")
    trust = Trust.from_file(keys.trust_path(place.installation.home))
    stated = read_statement(place.installation.path("releases"), BASE, trust)
    assert stated is not None
    assert (stated.generation, stated.release_digest, stated.watermark) == (2, "d2", frozenset({"t1", "t2"}))


def test_nobody_commits_where_fewer_than_the_least_number_have_prepared(place: Place) -> None:
    place.serve("r-1")
    place.serve("r-2", silent=True)
    error = place.refused(min_ready=2)
    assert (error.code, error.details) == ("swap.timeout", ("r-2: not prepared",))
    assert place.at() == (0, "d0", None)


def test_no_replica_at_all_is_too_few(place: Place) -> None:
    assert place.refused().code == "swap.timeout"
    assert place.at() == (0, "d0", None)


def test_who_does_not_prepare_in_time_is_fenced_and_waited_for_until_its_lease_has_ended(place: Place) -> None:
    place.serve("r-1")
    silent = place.serve("r-2", silent=True, lease_s=1.5)
    receipt = place.swap()
    ended = utc_now()
    assert [r.replica_id for r in receipt.replicas] == ["r-1"]
    assert receipt.fenced == ("r-2",)
    with place.store.read() as session:
        lease = {r.replica_id: r.lease_until for r in releases.list_replicas(session, BASE)}[silent.replica_id]
    assert lease <= ended


def test_one_refusal_does_not_stop_the_others(place: Place) -> None:
    place.serve("r-1")
    place.serve("r-2", refuses="release.not_found", lease_s=1.0)
    receipt = place.swap(prepare_s=30)
    assert receipt.replicas[0].replica_id == "r-1"
    assert receipt.generation == 1


def test_refusals_that_leave_too_few_end_it_at_once(place: Place) -> None:
    place.serve("r-1", refuses="release.signature")
    place.serve("r-2", refuses="release.signature")
    started = time.monotonic()
    error = place.refused(prepare_s=60)
    assert time.monotonic() - started < 30
    assert (error.code, error.details) == ("swap.refused", ("r-1: release.signature", "r-2: release.signature"))
    assert place.at() == (0, "d0", None)
    place.serve("r-1")
    place.serve("r-2")
    assert place.swap().generation == 1  # words about the earlier proposal are not taken for words about this one


def test_a_stop_takes_the_proposal_back_and_says_why(place: Place) -> None:
    place.serve(silent=True)
    asked: list[int] = []

    def stop() -> str | None:
        asked.append(1)
        return "unlearn.cancelled" if len(asked) > 4 else None

    assert place.refused(stop=stop, prepare_s=60).code == "unlearn.cancelled"
    assert place.at() == (0, "d0", None)
    asked.clear()
    assert place.refused(stop=lambda: "unlearn.cancelled").code == "unlearn.cancelled"
    assert place.at() == (0, "d0", None)


def test_after_the_commit_nothing_stops_it(place: Place) -> None:
    place.serve()
    assert place.swap(stop=lambda: "late" if place.desired().generation else None).generation == 1


@pytest.mark.parametrize("until", ["proposed", "committed"])
def test_a_coordinator_that_comes_after_one_that_died_goes_on(place: Place, until: str) -> None:
    place.serve()
    if until == "proposed":
        place.propose("d1")
    else:
        with place.store.write() as session:
            committed(session, "d1")
    receipt = place.swap()
    assert (receipt.generation, receipt.digest) == (1, "d1")
    assert place.desired().generation == 1


def test_another_swap_on_its_way_is_let_finish_unless_nobody_is_at_it_any_more(place: Place) -> None:
    place.serve()
    place.propose("d2")
    assert place.refused(prepare_s=60).code == "desired_state.conflict"
    assert place.at() == (0, "d0", "d2")
    with place.store.write() as session:
        releases.abort(session, BASE, generation=1, release_digest="d2", reason="test", actor="t")
    place.propose("d2", at_ago_s=60)
    assert place.swap().digest == "d1"


def test_somebody_else_was_faster(place: Place) -> None:
    place.serve(silent=True)
    later(lambda: _take_back_and_commit(place))
    assert place.refused(prepare_s=60).code == "swap.superseded"
    assert place.at() == (1, "d2", None)


def _take_back_and_commit(place: Place) -> None:
    with place.store.write() as session:
        releases.abort(session, BASE, generation=1, release_digest="d1", reason="test", actor="t")
        committed(session, "d2")


def test_a_proposal_that_somebody_took_back_is_not_made_again(place: Place) -> None:
    place.serve(silent=True)

    def take_back() -> None:
        with place.store.write() as session:
            releases.abort(session, BASE, generation=1, release_digest="d1", reason="test", actor="t")

    later(take_back)
    assert place.refused(prepare_s=60).code == "swap.superseded"


def test_a_release_that_lacks_an_erased_ticket_is_not_proposed(place: Place) -> None:
    place.serve()
    place.swap("d2")
    assert place.refused(digest="d1").code == "release.watermark"
    assert place.swap("d1", suppressed=("t2",)).generation == 2
    assert place.desired().watermark == ["t1", "t2"]


@pytest.mark.parametrize(("outcome", "generation"), [(True, 1), (False, 0)])
def test_a_trial_decides_about_the_commit(place: Place, outcome: bool, generation: int) -> None:
    place.serve()
    asked: list[tuple[str, int, int]] = []

    def judge(base: str, proposed: int) -> bool | None:
        asked.append((base, proposed, place.desired().generation))
        return outcome if len(asked) > 2 else None

    if outcome:
        assert place.swap(trial=judge, prepare_s=30).generation == 1
    else:
        assert place.refused(trial=judge, prepare_s=30).code == "swap.trial_failed"
    assert asked == [(BASE, 1, 0)] * 3
    assert place.at()[::2] == (generation, None)
