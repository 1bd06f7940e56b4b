import asyncio
import time

from services.serving.lease import Lease


def test_it_ends_by_itself_a_little_early_and_says_so() -> None:
    async def run() -> None:
        ended = asyncio.Event()
        lease = Lease(ended.set)
        began = time.monotonic()
        lease.extend(began, 0.2)
        running = [lease.running]
        await asyncio.wait_for(ended.wait(), 5)
        assert [*running, lease.running] == [True, False]

    asyncio.run(run())


def test_it_counts_from_before_the_store_was_asked() -> None:
    async def run() -> bool:
        lease = Lease(lambda: None)
        lease.extend(time.monotonic() - 10.0, 5.0)
        return lease.running

    assert not asyncio.run(run())


def test_what_is_extended_does_not_end_and_what_is_given_up_does() -> None:
    async def run() -> list[int]:
        ends: list[int] = []
        lease = Lease(lambda: ends.append(1))
        lease.extend(time.monotonic(), 0.01)
        lease.extend(time.monotonic(), 1000.0)
        await asyncio.sleep(0.05)
        before = len(ends)
        lease.end()
        assert not lease.running
        return [before, len(ends)]

    assert asyncio.run(run()) == [0, 1]
