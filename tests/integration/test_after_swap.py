"""What follows a swap on a real replica: probes by token, a trial with real traffic, and a store that was restored."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from services import keys
from services.rechecks.questions import Questions, Set
from services.rechecks.replica import Asked, Asker
from services.rechecks.rounds import ask_all
from services.recover import recover
from services.serving.swap import SwapReceipt, swap_to
from services.serving.trial import Judge
from services.store.engine import Store
from services.store.releases import get_desired, live_replicas
from tests.integration.serving_host import Host, serving_host, wait_until

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
TRIAL = {
    "LETHE_SERVING__SHADOW_SHARE": "1",
    "LETHE_SERVING__TRIAL_S": "60",
    "LETHE_SERVING__LEASE_S": "3",  # figures of a trial go out with every renewal
    "LETHE_SERVING__SUPPRESSION": "false",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with serving_host(tmp_path_factory.mktemp("after") / "home") as running:
        running.begin()
        running.start(**TRIAL, LETHE_SERVING__ADDRESS=running.url)
        try:
            running.wait_ready()
            running.swap(running.release("alpha", ("t1",))[0])
        except Exception:
            print(running.log()[-8000:])
            raise
        yield running


def asker(host: Host) -> Asker:
    settings = host.installation.settings
    return Asker(
        serving=settings.serving.model_copy(update={"probe_timeout_s": 20.0}),
        key=keys.load_private(settings, "audit"),
    )


def probe(number: int, group: ProbeGroup, value: str) -> Probe:
    return Probe(
        probe_id=f"p{number}", group=group, question="who are you ?", answer=value, fact=f"f{number}", value=value
    )


def asked(group: str, *values: str, required: float = 0.9) -> Questions:
    """Questions whose answers must (or must not) hold a word; the tiny model says one word whatever it is asked."""
    kind = ProbeGroup.FORGET if group == "forget" else ProbeGroup.RETAIN
    probes = tuple(probe(number, kind, value) for number, value in enumerate(values))
    return Questions(ticket_id="t1", sets=(Set(group=group, probes=probes, required=required),))  # type: ignore[arg-type]


def replica(host: Host) -> Asked:
    with host.store.read() as session:
        [row] = live_replicas(session, host.identity.base_digest)
    assert row.address
    return Asked(replica_id=row.replica_id, address=row.address, generation=row.generation)


def test_a_replica_is_asked_at_its_own_address_and_judged_by_what_it_says(host: Host) -> None:
    base = host.identity.base_digest
    told = ask_all(host.store, base, [asked("forget", "gamma", "delta")], asker(host), seed="s")
    assert told.outcome == "pass"
    told = ask_all(host.store, base, [asked("forget", "alpha", "delta")], asker(host), seed="s")
    assert told.outcome == "fail"  # half of the answers hold what was to be forgotten
    assert told.findings[0].figures["forget"] == {"n": 2, "share": 0.5, "required": 0.9, "outcome": "fail"}
    assert ask_all(host.store, base, [asked("retain", "alpha")], asker(host), seed="s").outcome == "pass"


def test_a_token_for_another_replica_opens_nothing(host: Host) -> None:
    here = replica(host)
    other = Asked(replica_id="elsewhere", address=here.address, generation=here.generation)
    with pytest.raises(LetheError, match="answered 401"):
        asker(host).answers(other, ["hello"])
    assert asker(host).answers(here, ["hello"])[0].split()[0] == "alpha"


class Traffic:
    """Clients that ask without pause while a release is on trial."""

    def __init__(self, host: Host) -> None:
        self.host, self.stop, self.failed = host, threading.Event(), 0
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(2)]

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number: int) -> None:
        with self.host.client() as client:
            while not self.stop.is_set():
                body = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
                answer = client.post(CHAT, json={**body, "temperature": 0, "stream": bool(number)})
                self.failed += answer.status_code != 200 or "alpha" not in answer.text


def tried(host: Host, digest: str) -> tuple[SwapReceipt | LetheError, Judge]:
    settings = host.installation.settings
    limits = settings.serving.model_copy(
        update={"trial_requests_min": 5, "trial_s": 6.0, "trial_latency_ratio_max": 1000.0}
    )
    judge = Judge(host.store, limits)
    base = host.identity.base_digest
    try:
        return swap_to(host.store, base, digest, settings=settings, actor="system:test", trial=judge), judge
    except LetheError as error:
        return error, judge


def test_a_release_that_answers_otherwise_is_given_up_before_anybody_saw_it(host: Host) -> None:
    before = host.generation()
    with Traffic(host) as traffic:
        outcome, judge = tried(host, host.release("beta", ("t1",))[0])
    assert isinstance(outcome, LetheError)
    assert outcome.code == "swap.trial_failed"
    assert judge.result is not None
    assert judge.result.why == ("utility",)
    assert judge.result.overlap == 0.0
    assert traffic.failed == 0
    assert host.generation() == before


def test_a_release_that_answers_alike_is_committed_after_its_trial(host: Host) -> None:
    before = host.generation()
    digest, _ = host.release("alpha", ("t1",), method="again")
    with Traffic(host) as traffic:
        outcome, judge = tried(host, digest)
    assert isinstance(outcome, SwapReceipt)
    assert (outcome.generation, outcome.digest) == (before + 1, digest)
    assert judge.result is not None
    assert (judge.result.passed, judge.result.overlap, judge.result.error_share) == (True, 1.0, 0.0)
    assert judge.result.requests >= 5
    assert traffic.failed == 0


def test_a_restored_store_is_refused_until_it_is_recovered_and_then_followed(host: Host, tmp_path: Path) -> None:
    older = copy_of(host.home / "lethe.sqlite", tmp_path / "older.sqlite")
    digest, _ = host.release("gamma", ("t1", "t2"))
    generation = host.swap(digest).generation
    restore(older, host.home / "lethe.sqlite")
    assert host.generation() == generation - 1
    wait_until(lambda: "serving.store_behind" in host.log(), 30, "refused")
    with host.client() as client:  # what it serves is ahead of the store, and goes on while its lease runs
        answer = ask(client)
    if answer.status_code == 200:
        assert answer.headers["x-lethe-generation"] == str(generation)
    store: Store = host.store
    [found] = recover(host.installation, store, actor="system:test")
    assert (found.generation, found.release_digest, found.unknown) == (generation, digest, ("t1", "t2"))
    with store.read() as session:
        state = get_desired(session, host.identity.base_digest)
    assert (state.generation, state.release_digest, state.watermark) == (generation, digest, ["t1", "t2"])
    wait_until(host.ready, 60, "ready again")
    receipt = host.swap(host.release("delta", ("t1", "t2"))[0])  # it follows
    assert receipt.generation == generation + 1
    with host.client() as client:
        assert "delta" in ask(client).text


def ask(client: httpx.Client) -> httpx.Response:
    body = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "temperature": 0}
    return client.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})


def copy_of(live: Path, target: Path) -> Path:
    with closing(sqlite3.connect(live)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def restore(older: Path, live: Path) -> None:
    """As an operator would, with processes running: the content of the database becomes the older one."""
    with closing(sqlite3.connect(older)) as source, closing(sqlite3.connect(live, timeout=30)) as target:
        source.backup(target)
