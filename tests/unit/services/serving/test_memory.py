from pathlib import Path

import pytest

from policies.errors import LetheError
from services.serving.memory import HighWater, Memory

NOTHING: frozenset[str] = frozenset()


def test_it_survives_a_restart(tmp_path: Path) -> None:
    Memory(tmp_path, "b" * 64).write(HighWater(base_digest="b" * 64).raised(3, "d", frozenset({"t1"})))
    high = Memory(tmp_path, "b" * 64).read()
    assert (high.generation, high.release_digest, high.watermark) == (3, "d", frozenset({"t1"}))
    assert Memory(tmp_path, "c" * 64).read().generation == -1


@pytest.mark.parametrize(
    ("generation", "digest", "watermark", "behind"),
    [
        (3, "d", {"t1"}, False),
        (4, "e", {"t1", "t2"}, False),
        (2, "d", {"t1"}, True),
        (3, "e", {"t1"}, True),
        (4, "e", set(), True),
        (9, "e", {"t2"}, True),
    ],
)
def test_a_store_that_is_behind_is_refused(generation: int, digest: str, watermark: set[str], behind: bool) -> None:
    high = HighWater(base_digest="b", generation=3, release_digest="d", watermark=frozenset({"t1"}))
    if not behind:
        high.check(generation, digest, frozenset(watermark))
        return
    with pytest.raises(LetheError) as caught:
        high.check(generation, digest, frozenset(watermark))
    assert caught.value.code == "serving.store_behind"


def test_the_watermark_only_grows() -> None:
    high = HighWater(base_digest="b").raised(1, "d", frozenset({"t1"})).raised(2, "e", frozenset({"t2"}))
    assert high.watermark == {"t1", "t2"}


@pytest.mark.parametrize("text", ["", "{}", '{"base": "other", "generation": 1, "release": "", "watermark": []}'])
def test_a_damaged_memory_is_not_an_empty_one(tmp_path: Path, text: str) -> None:
    memory = Memory(tmp_path, "b" * 64)
    memory.write(HighWater(base_digest="b" * 64).raised(1, "d", NOTHING))
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    with pytest.raises(LetheError) as caught:
        memory.read()
    assert caught.value.code == "serving.memory_damaged"
