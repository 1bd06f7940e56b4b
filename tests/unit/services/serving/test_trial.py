"""What a release does on its share of the traffic, and what is decided from it; the engine is a fake."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from services.installation import create_installation
from services.serving.alias import Alias, Served, Trial
from services.serving.gateway.answers import Refusal
from services.serving.gateway.relay import Exchange
from services.serving.gateway.shadow import Trials, text_of
from services.serving.protocol import ChatRequest
from services.serving.trial import Judge, TrialFigures, decide, judge, overlap
from services.settings import ServingSettings, load_settings
from services.store.engine import Store
from services.store.releases import add_release, init_desired, propose, report_prepared, report_replica

BASE = "b" * 64
SETTINGS = ServingSettings(port=1, trial_requests_min=10, trial_s=0.0)


def row(
    *, requests: int = 100, errors: int = 0, live_errors: int = 0, ratio: float = 1.0, alike: float | None = 0.9
) -> dict[str, Any]:
    return {
        "generation": 1,
        "live": {"requests": 100, "errors": live_errors, "seconds_per_token": 0.02},
        "tried": {"requests": requests, "errors": errors, "seconds_per_token": 0.02 * ratio},
        "compared": 0 if alike is None else 50,
        "overlap": alike,
    }


@pytest.mark.parametrize(
    ("rows", "passed", "why"),
    [
        ([row()], True, ()),
        ([row(errors=5)], False, ("errors",)),
        ([row(errors=5, live_errors=5)], True, ()),  # the live release fails as often
        ([row(ratio=1.6)], False, ("latency",)),
        ([row(), row(ratio=1.6)], False, ("latency",)),  # the worst replica counts
        ([row(alike=0.1)], False, ("utility",)),
        ([row(alike=None)], True, ()),
        ([row(errors=9, ratio=2.0, alike=0.0)], False, ("errors", "latency", "utility")),
        ([row(requests=3, errors=3)], True, ()),  # too little to say anything: the verdict stands
        ([], True, ()),
    ],
)
def test_a_trial_is_decided_by_errors_latency_and_utility(
    rows: list[dict[str, Any]], passed: bool, why: tuple[str, ...]
) -> None:
    found = decide(rows, SETTINGS, over=True)
    assert (found.passed, found.why) == (passed, why)
    assert decide(rows, SETTINGS, over=False).passed is (None if passed else False)  # a miss ends it at once


def test_words_are_compared_not_kept() -> None:
    assert overlap("The answer is Four", "the answer is five") == 0.6
    assert overlap("", "") == 1.0
    assert overlap("a", "") == 0.0
    figures, first = TrialFigures(), Served(1, "u-1", "d1")
    figures.compare(first, "Mara Holt lives here", "Mara Holt lives there")
    figures.note(first, tried=True, seconds=2.0, tokens=4, failed=False)
    figures.note(first, tried=False, seconds=1.0, tokens=4, failed=False)
    figures.note(first, tried=True, seconds=9.0, tokens=0, failed=True)
    told = figures.figures(first)
    assert told == {
        "generation": 1,
        "live": {"requests": 1, "errors": 0, "seconds_per_token": 0.25},
        "tried": {"requests": 2, "errors": 1, "seconds_per_token": 0.5},
        "compared": 1,
        "overlap": 0.6,
    }
    assert "Mara" not in json.dumps(told)
    assert figures.figures(None) is None
    again = figures.figures(Served(1, "u-1", "d1"))  # given up, and proposed again under the same number
    assert again is not None
    assert again["tried"]["requests"] == 0


@pytest.mark.parametrize(
    ("raw", "stream", "text"),
    [
        (b'{"choices": [{"message": {"content": "hi"}}]}', False, "hi"),
        (b'{"choices": [{"text": "a"}, {"text": "b"}]}', False, "ab"),
        (b'{"error": {"message": "no"}}', False, None),
        (b"", False, None),
        (
            b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n'
            b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: {"choices": []}\n\ndata: [DONE]\n\n',
            True,
            "hi",
        ),
        (b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n', True, None),  # it broke off
    ],
)
def test_what_an_answer_says(raw: bytes, stream: bool, text: str | None) -> None:
    assert text_of(raw, stream) == text


# -- a gateway's share -----------------------------------------------------------------------------------------------


class FakeResponse:
    """A fake answer of the engine."""

    status = 200

    async def read(self) -> bytes:
        return b'{"choices": [{"message": {"content": "alpha alpha"}}]}'


class FakeClient:
    """A fake engine that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def open(self, _: str, body: dict[str, Any], *__: Any, **___: Any) -> AsyncIterator[FakeResponse]:
        self.asked.append(body)
        yield FakeResponse()


class FakeReplica:
    """A fake replica with a release on trial."""

    ready = True

    def __init__(self, canary: float, shadow: float) -> None:
        self.client: Any = FakeClient()
        self.alias = Alias()
        self.alias.flip(Served(1, "u-live", "d1"))
        self.alias.try_out(Trial(Served(2, "u-tried", "d2"), canary, shadow))


class FakeShield:
    """A fake shield: somebody called Mara is suppressed."""

    active = True

    def screen_request(self, texts: list[str]) -> object:
        return object() if any("Mara" in text for text in texts) else None


async def one_request(
    replica: FakeReplica, trials: Trials, question: str, *, key: str = "k", fail: bool = False
) -> None:
    async def send(_: Any) -> None:
        return None

    request = ChatRequest(model="lethe", messages=[{"role": "user", "content": question}])
    with replica.alias.enter(key) as served:
        assert served is not None
        exchange = Exchange(
            replica=replica, path="/v1/chat/completions", request=request, public="lethe", served=served, send=send
        )
        shield: Any = FakeShield()
        with trials.watch(exchange, replica.alias.trial, shield) as watched:
            if fail:
                raise Refusal(503, "no", None)
            body = b'{"choices": [{"message": {"content": "alpha beta"}}]}'
            await watched.send({"type": "http.response.start", "status": 200})
            await watched.send({"type": "http.response.body", "body": body})
    while trials._running:
        await asyncio.sleep(0)


def test_a_shadow_is_asked_the_same_unseen_and_compared_but_not_about_who_is_suppressed() -> None:
    replica, trials = FakeReplica(0.0, 1.0), Trials()
    asyncio.run(one_request(replica, trials, "hello"))
    asyncio.run(one_request(replica, trials, "who is Mara?"))
    [asked] = replica.client.asked
    assert (asked["model"], asked["stream"]) == ("u-tried", False)
    told = trials.of(replica.alias.trial)
    assert told is not None
    assert (told["live"]["requests"], told["tried"]["requests"], told["compared"]) == (2, 1, 1)
    assert told["overlap"] == 0.5
    assert replica.alias.trial is not None
    assert replica.alias.trial.served.users == 0


def test_a_canary_key_is_counted_for_the_release_on_trial_and_a_failure_as_one() -> None:
    replica, trials = FakeReplica(1.0, 1.0), Trials()
    asyncio.run(one_request(replica, trials, "hello"))
    with pytest.raises(Refusal):
        asyncio.run(one_request(replica, trials, "hello", fail=True))
    asyncio.run(one_request(replica, trials, "hello", key=""))  # the intake's probes: never part of a trial
    told = trials.of(replica.alias.trial)
    assert told is not None
    assert (told["tried"]["requests"], told["tried"]["errors"], told["live"]["requests"]) == (3, 1, 1)


def test_a_shadow_ends_with_the_drain_and_what_comes_late_counts_for_no_other_trial() -> None:
    replica, trials = FakeReplica(0.0, 1.0), Trials()
    asked = asyncio.Event()

    @asynccontextmanager
    async def hangs(*_: Any, **__: Any) -> AsyncIterator[FakeResponse]:
        asked.set()
        await asyncio.Event().wait()
        yield FakeResponse()

    async def run() -> None:
        replica.client.open = hangs
        asking = asyncio.ensure_future(one_request(replica, trials, "hello"))
        await asked.wait()
        tried = replica.alias.end_trial()
        assert tried is not None
        replica.alias.try_out(Trial(Served(2, "u-tried", "d2"), 0.0, 1.0))
        assert not await replica.alias.drain(tried, 0.0)
        await asking

    asyncio.run(run())
    told = trials.of(replica.alias.trial)
    assert told is not None
    assert (told["live"]["requests"], told["tried"]["requests"]) == (0, 0)


def test_the_share_of_keys_is_stable() -> None:
    trial = Trial(Served(2, "u", "d"), 0.3, 0.0)
    chosen = [key for key in map(str, range(2000)) if trial.takes(key)]
    assert 0.25 < len(chosen) / 2000 < 0.35
    assert all(trial.takes(key) for key in chosen)


def test_without_a_trial_nothing_is_watched() -> None:
    replica, trials = FakeReplica(1.0, 1.0), Trials()
    replica.alias.end_trial()
    asyncio.run(one_request(replica, trials, "hello"))
    assert trials.of(None) is None
    assert replica.client.asked == []


# -- the judge -------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = create_installation(load_settings(tmp_path / "home")).open_store(with_keys=False)
    with opened.write() as session:
        for digest in ("d0", "d1"):
            release = add_release(
                session, digest=digest, base_digest=BASE, path="", watermark=(), verdict={}, actor="t"
            )
            if digest == "d0":
                init_desired(session, release, actor="t")
        said: dict[str, Any] = {"base_digest": BASE, "state": "ready", "lease_s": 60.0}
        report_replica(session, "r-1", **said, generation=0, release_digest="d0")
        state = propose(session, BASE, expected_generation=0, release_digest="d1", prepare_s=60, actor="t")
        assert state.proposed_at is not None
        report_prepared(session, "r-1", base_digest=BASE, proposed_at=state.proposed_at)
        report_replica(session, "r-1", **said, generation=0, release_digest="d0", trial=row(alike=0.1))
    yield opened
    opened.close()


def settings_with(**changes: Any) -> ServingSettings:
    return SETTINGS.model_copy(update=changes)


def test_the_judge_reads_what_replicas_say_of_the_proposed_generation(store: Store) -> None:
    made = Judge(store, settings_with(trial_s=60.0))
    assert made(BASE, 1) is False
    assert made.result is not None
    assert made.result.why == ("utility",)
    lenient = Judge(store, settings_with(trial_s=60.0, trial_utility_min=0.0))
    assert lenient(BASE, 1) is None  # good so far: the time is not up
    assert Judge(store, settings_with(trial_utility_min=0.0))(BASE, 1) is True
    with pytest.raises(LetheError, match=r"swap\.superseded"):
        made(BASE, 2)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, False),
        ({"canary_share": 0.1}, False),
        ({"trial_s": 5.0, "shadow_share": 0.1}, True),
        ({"trial_s": 5.0}, False),
    ],
)
def test_a_judge_is_there_only_where_a_trial_is_wanted(store: Store, changes: dict[str, Any], wanted: bool) -> None:
    assert (judge(store, settings_with(**changes)) is not None) is wanted
