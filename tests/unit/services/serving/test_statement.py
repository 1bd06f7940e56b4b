from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.adapter import Trust
from policies.errors import LetheError
from services import keys
from services.serving.memory import HighWater, Memory
from services.serving.statement import Statement, read_statement, statement_path, write_statement
from services.serving.wanted import high_water

BASE = "b" * 64


def stated(generation: int, digest: str = "d", *marks: str, base: str = BASE) -> Statement:
    at = datetime.now(UTC) + timedelta(milliseconds=1)
    return Statement(base_digest=base, generation=generation, release_digest=digest, watermark=frozenset(marks), at=at)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    keys.ensure(tmp_path)
    return Trust.from_file(keys.trust_path(tmp_path))


def write(home: Path, statement: Statement, trust: Trust) -> bool:
    return write_statement(home, statement, keys.load_private(home, "audit"), trust)


def test_it_is_read_as_it_was_written_and_never_falls(tmp_path: Path, trust: Trust) -> None:
    assert read_statement(tmp_path, BASE, trust) is None
    high = stated(3, "d3", "t1", "t2")
    assert write(tmp_path, high, trust)
    assert read_statement(tmp_path, BASE, trust) == high
    for generation in (2, 3):
        assert not write(tmp_path, stated(generation, "other"), trust)
    assert read_statement(tmp_path, BASE, trust) == high
    assert write(tmp_path, stated(4), trust)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [f"desired-{BASE[:16]}.json"]


def test_any_byte_that_is_changed_is_noticed_and_not_overwritten(tmp_path: Path, trust: Trust) -> None:
    write(tmp_path, stated(3), trust)
    path = statement_path(tmp_path, BASE)
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        for work in (lambda: read_statement(tmp_path, BASE, trust), lambda: write(tmp_path, stated(9), trust)):
            with pytest.raises(LetheError) as caught:
                work()
            assert caught.value.code == "serving.statement_damaged"


@pytest.mark.parametrize("wrong", ["purpose", "base", "date"])
def test_what_another_key_or_another_base_says_does_not_count(tmp_path: Path, trust: Trust, wrong: str) -> None:
    key, statement = keys.load_private(tmp_path, "audit"), stated(3)
    if wrong == "purpose":
        key = keys.load_private(tmp_path, "verdict")
    elif wrong == "base":
        statement = stated(3, base=BASE[:16] + "c" * 48)
    else:
        statement = replace(statement, at=statement.at - timedelta(days=1))
    write_statement(tmp_path, statement, key, Trust(trust.keys))
    with pytest.raises(LetheError) as caught:
        read_statement(tmp_path, BASE, trust)
    assert caught.value.code == "serving.statement_damaged"


@pytest.mark.parametrize(
    ("own", "statement", "generation"), [(2, 5, 5), (5, 2, 5), (None, 5, 5), (2, None, 2), (None, None, -1)]
)
def test_a_replica_goes_by_whatever_is_higher(
    tmp_path: Path, trust: Trust, own: int | None, statement: int | None, generation: int
) -> None:
    memory = Memory(tmp_path / "memory", BASE)
    if own is not None:
        memory.write(HighWater(base_digest=BASE).raised(own, f"d{own}", frozenset({"t1"})))
    if statement is not None:
        write(tmp_path, stated(statement, f"d{statement}", "t2"), trust)
    high = high_water(memory, tmp_path, BASE, trust)
    assert high.generation == generation
    assert high.release_digest == ("" if generation < 0 else f"d{generation}")
    assert high.watermark == ({"t1"} if own is not None else set()) | ({"t2"} if statement is not None else set())
