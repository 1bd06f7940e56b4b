import asyncio

import pytest

from services.serving.alias import Alias, Served


def served(generation: int) -> Served:
    return Served(generation, f"u-{generation}", str(generation))


def test_a_request_keeps_the_generation_that_it_began_with() -> None:
    alias = Alias()
    alias.flip(served(1))
    with alias.enter() as first:
        old = alias.flip(served(2))
        with alias.enter() as second:
            assert first is old
            assert first is not None
            assert second is not None
            assert (first.generation, second.generation) == (1, 2)
            assert (first.users, second.users) == (1, 1)
    assert first.users == 0


def test_the_generation_never_falls() -> None:
    alias = Alias()
    alias.flip(served(2))
    with pytest.raises(ValueError, match="never falls"):
        alias.flip(served(1))
    assert alias.current is not None
    assert alias.current.generation == 2


def test_without_a_generation_there_is_nothing_to_enter() -> None:
    with Alias().enter() as entered:
        assert entered is None


async def drained(hold_s: float, timeout_s: float) -> tuple[bool, bool]:
    alias = Alias()
    alias.flip(served(1))

    async def user() -> None:
        with alias.enter() as mine:
            assert mine is not None
            cut = asyncio.create_task(mine.cut.wait())
            await asyncio.wait({cut}, timeout=hold_s)
            cut.cancel()

    task = asyncio.create_task(user())
    await asyncio.sleep(0)
    old = alias.flip(served(2))
    assert old is not None
    whole = await alias.drain(old, timeout_s)
    await task
    return whole, old.cut.is_set()


def test_draining_waits_for_users() -> None:
    assert asyncio.run(drained(0.05, 5)) == (True, False)


def test_users_beyond_the_limit_are_cut() -> None:
    assert asyncio.run(drained(30, 0.05)) == (False, True)


def test_draining_what_nobody_uses_is_over_at_once() -> None:
    async def run() -> bool:
        alias = Alias()
        alias.flip(served(1))
        old = alias.flip(served(2))
        assert old is not None
        return await alias.drain(old, 0.01)

    assert asyncio.run(run())
