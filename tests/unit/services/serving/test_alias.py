import asyncio

import pytest

from services.serving.alias import Alias, Served, Trial


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


def test_a_trial_answers_its_share_of_keys_always_the_same_ones() -> None:
    alias = Alias()
    alias.flip(served(1))
    alias.try_out(Trial(served(2), canary_share=0.3))

    def generation(key: str) -> int:
        with alias.enter(key) as entered:
            assert entered is not None
            return entered.generation

    keys = [f"k-{i}" for i in range(2000)]
    tried = {key for key in keys if generation(key) == 2}
    assert 0.25 < len(tried) / len(keys) < 0.35
    assert {key for key in keys if generation(key) == 2} == tried
    assert alias.end_trial() is not None
    assert alias.trial is None
    assert {generation(key) for key in keys} == {1}


@pytest.mark.parametrize(("share", "taken"), [(0.0, False), (1.0, True)])
def test_a_share_of_none_or_all(share: float, taken: bool) -> None:
    assert {Trial(served(2), canary_share=share).takes(f"k-{i}") for i in range(100)} == {taken}


def test_what_was_tried_and_is_committed_goes_on_with_its_users() -> None:
    alias = Alias()
    alias.flip(served(1))
    tried = served(2)
    alias.try_out(Trial(tried, canary_share=1.0))
    with alias.enter("k") as entered:
        assert entered is tried
        alias.flip(tried)
        assert alias.current is tried
        assert alias.trial is None
        assert tried.users == 1


def test_cutting_off_ends_what_runs_and_nothing_that_comes() -> None:
    alias = Alias()
    alias.flip(served(1))
    alias.try_out(Trial(served(2), canary_share=0.0))
    with alias.enter() as running:
        alias.cut_off()
        with alias.enter() as later:
            assert running is not None
            assert later is not None
            assert running.cut.is_set()
            assert not later.cut.is_set()
            assert later.generation == running.generation


def test_what_was_on_trial_when_a_lease_ended_answers_whole_once_it_is_committed() -> None:
    alias, tried = Alias(), served(2)
    alias.flip(served(1))
    alias.try_out(Trial(tried, canary_share=1.0))
    with alias.enter("k") as running:
        alias.cut_off()
        alias.flip(tried)
        with alias.enter() as later:
            assert running is tried
            assert later is not None
            assert running.cut.is_set()
            assert (later.generation, later.cut.is_set()) == (2, False)


def test_a_shadow_is_counted_like_a_user() -> None:
    alias = Alias()
    one = served(1)
    with alias.hold(one):
        assert one.users == 1
    assert one.users == 0
    assert one.idle.is_set()
