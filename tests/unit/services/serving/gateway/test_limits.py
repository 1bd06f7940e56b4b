import asyncio

import pytest

from services.serving.gateway.answers import Refusal
from services.serving.gateway.limits import Limits, Rates, Turns, race
from services.settings import ServingSettings


def test_limits_are_those_of_the_settings() -> None:
    limits = Limits.of(ServingSettings(max_concurrency=3, rate_per_minute=9))
    assert (limits.max_concurrency, limits.rate_per_minute) == (3, 9)
    assert Limits.of(ServingSettings()) == Limits()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_has_a_minutes_requests_and_gets_them_back_evenly() -> None:
    clock = Clock()
    rates = Rates(6, clock)
    left = [rates.take("a")["x-ratelimit-remaining-requests"] for _ in range(6)]
    assert left == ["5", "4", "3", "2", "1", "0"]
    with pytest.raises(Refusal) as caught:
        rates.take("a")
    assert caught.value.status == 429
    assert caught.value.code == "serving.rate_limited"
    assert caught.value.headers["retry-after"] == "10"
    assert caught.value.headers["x-ratelimit-reset-requests"] == "60.000s"
    assert rates.take("b")["x-ratelimit-remaining-requests"] == "5"
    clock.now = 10.0
    assert rates.take("a")["x-ratelimit-limit-requests"] == "6"
    with pytest.raises(Refusal):
        rates.take("a")


def test_without_a_rate_nothing_is_counted() -> None:
    assert Rates(0).take("a") == {}


def test_a_bucket_never_holds_more_than_a_minute_and_old_ones_are_forgotten() -> None:
    clock = Clock()
    rates = Rates(1, clock)
    for key in range(5000):
        rates.take(str(key))
        clock.now += 0.1
    assert len(rates._buckets) <= 4096
    clock.now += 1000
    rates.take("0")
    with pytest.raises(Refusal):
        rates.take("0")


async def never() -> None:
    await asyncio.Event().wait()


def run(scenario: object) -> None:
    asyncio.run(scenario)  # type: ignore[arg-type]


def test_a_race_is_ended_by_others_and_by_time_and_is_over_then() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        cancelled = asyncio.Event()

        async def work() -> None:
            try:
                await never()
            finally:
                cancelled.set()

        over: asyncio.Future[None] = loop.create_future()
        loop.call_soon(over.set_result, None)
        assert not await race(work(), {over}, loop.time() + 60)
        assert cancelled.is_set()
        cancelled.clear()
        assert not await race(work(), set(), loop.time() + 0.01)
        assert cancelled.is_set()
        assert await race(asyncio.sleep(0), {loop.create_future()}, loop.time() + 60)

    run(scenario())


def test_what_fails_in_a_race_fails_outside() -> None:
    async def fail() -> None:
        raise ValueError

    async def scenario() -> None:
        with pytest.raises(ValueError):
            await race(fail(), set(), asyncio.get_running_loop().time() + 60)

    run(scenario())


def test_turns_are_taken_in_order_and_a_full_queue_is_refused() -> None:
    async def scenario() -> None:
        turns = Turns(Limits(max_concurrency=1, max_waiting=2))
        loop = asyncio.get_running_loop()
        here: asyncio.Future[None] = loop.create_future()
        order: list[str] = []
        free = asyncio.Event()

        async def take(name: str) -> None:
            async with turns.one(here, loop.time() + 60) as came:
                assert came
                order.append(name)
                await free.wait()

        tasks = []
        for name in "abc":
            tasks.append(asyncio.create_task(take(name)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await take("d")
        assert caught.value.status == 429
        assert caught.value.headers["retry-after"] == "1"
        async with turns.one(here, 0, at_once=True) as came:
            assert came
        free.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"]

    run(scenario())


def test_who_leaves_the_queue_or_waits_too_long_takes_no_turn() -> None:
    async def scenario() -> None:
        turns = Turns(Limits(max_concurrency=1, max_waiting=1))
        loop = asyncio.get_running_loop()
        here: asyncio.Future[None] = loop.create_future()
        gone: asyncio.Future[None] = loop.create_future()
        async with turns.one(here, loop.time() + 60):
            loop.call_soon(gone.set_result, None)
            async with turns.one(gone, loop.time() + 60) as came:
                assert not came
            async with turns.one(here, loop.time() + 0.01) as came:
                assert not came
        async with turns.one(here, loop.time() + 60) as came:
            assert came

    run(scenario())
