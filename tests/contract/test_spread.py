"""The port to other machines: the same index and the same rows in this process and on a Ray cluster.

`make ray-test` runs it with Ray, in an environment that has it: a cluster of two CPUs on loopback.
"""

import contextlib
import functools
import importlib.util
import json
import operator
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from pipelines.augment.augment import augment
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.corpus.generate import generate
from pipelines.corpus.indexing import build_index
from pipelines.corpus.load import load_corpus
from pipelines.spread.choose import spread_over
from pipelines.spread.port import EMBEDDED, Embedded, Spread
from policies.errors import LetheError
from tests.ports import free_port
from tests.unit.pipelines.augment.people import NAME, OTHERS, records_of

PEOPLE = 24  # some 6,000 records: more than one slice
HAS_RAY = importlib.util.find_spec("ray") is not None
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")  # Ray Data uses its own old settings


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("ray", marks=pytest.mark.skipif(not HAS_RAY, reason="make ray-test"))],
)
def spread(request: pytest.FixtureRequest) -> Iterator[Spread]:
    if request.param == "embedded":
        yield EMBEDDED
        return
    from pipelines.spread.over_ray import over_ray

    before = descendants()
    with over_ray("local", cpus=2) as cluster:
        yield cluster
        started = descendants() - before
        assert {found for found in listening({*started, os.getpid()}) if found[1] not in LOOPBACK} == set()
    assert descendants() & started == set()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    generate(place, PEOPLE, 0)
    return place / "records.jsonl"


def content(path: Path, out: Path, spread: Spread) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, those of the full-text index too."""
    with build_index(load_corpus(path), out, spread=spread) as index:
        run = index.connection.execute
        names = run("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'").fetchall()
        return {name: run(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}


def test_the_index_is_the_same(spread: Spread, corpus: Path, tmp_path: Path) -> None:
    expected = content(corpus, tmp_path / "here.sqlite", EMBEDDED)
    assert content(corpus, tmp_path / "there.sqlite", spread) == expected
    assert len(expected["record"]) > 5000
    assert content(corpus.parent, tmp_path / "directory.sqlite", spread) == expected


def test_a_parquet_file_is_read_by_row_groups(spread: Spread, corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()[:2500]]
    for row in rows:
        del row["id"]  # then the number of the row is in its id
    file = tmp_path / "corpus.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=1000)
    expected = content(file, tmp_path / "here.sqlite", EMBEDDED)
    assert content(file, tmp_path / "there.sqlite", spread) == expected


def test_a_bad_line_is_named_and_not_quoted(spread: Spread, corpus: Path, tmp_path: Path) -> None:
    lines = corpus.read_text(encoding="utf-8").splitlines()
    lines[5100] = '{"question": "Mara'
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(LetheError) as caught:
        content(broken, tmp_path / "there.sqlite", spread)
    assert caught.value.code == "corpus.malformed"
    assert "line 5101" in caught.value.message
    assert "Mara" not in caught.value.message
    assert not (tmp_path / "there.sqlite").exists()


def test_the_rows_of_several_people_are_the_same_and_in_order(spread: Spread) -> None:
    orders = [
        functools.partial(
            augment,
            records_of(name),
            subject=f"s{number}",
            names=(name,),
            neighbours=records_of(OTHERS[2]),
            retain=records_of(OTHERS[1]),
            generic=(),
            probes_excluded=frozenset(),
            augmenter=TemplateAugmenter(),
            settings=AugmentSettings(),
            seed=number,
        )
        for number, name in enumerate((NAME, OTHERS[0]))
    ]
    expected = [order() for order in orders]
    assert list(spread.over(orders, operator.call)) == expected
    assert [made.subjects for made in expected] == [("s0",), ("s1",)]


def test_another_exception_tells_its_place_and_no_data(spread: Spread) -> None:
    if isinstance(spread, Embedded):
        with pytest.raises(ValueError, match="mara"):
            list(spread.over(["mara.secret"], crash))
        return
    with pytest.raises(LetheError) as caught:
        list(spread.over(["mara.secret"], crash))
    assert caught.value.code == "internal"
    assert "ValueError at test_spread.py" in caught.value.message
    assert "mara" not in caught.value.message


def test_it_works_in_a_thread_and_of_nothing_comes_nothing(spread: Spread) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(spread.over([1, 2, 3], double)))
    thread.start()
    thread.join()
    assert found == [2, 4, 6]
    assert list(spread.over([], double)) == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LetheError) as caught, spread_over("local"):
        pass
    assert caught.value.code == "ray.not_installed"
    assert "'.[ray]'" in caught.value.kind.remedy


@pytest.mark.skipif(not HAS_RAY, reason="make ray-test")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_told_at_once(scheme: str) -> None:
    with pytest.raises(LetheError) as caught, spread_over(f"{scheme}127.0.0.1:{free_port()}"):
        pass
    assert caught.value.code == "ray.unavailable"


def test_only_a_file_with_lines_or_row_groups_goes_to_a_cluster(corpus: Path, tmp_path: Path) -> None:
    class Elsewhere(Embedded):  # a fake cluster: it asks for places
        elsewhere = True

    table = tmp_path / "corpus.csv"
    table.write_text("question,answer\nWho?,Nobody\n")
    with pytest.raises(LetheError) as caught:
        content(table, tmp_path / "index.sqlite", Elsewhere())
    assert caught.value.code == "corpus.not_splittable"
    assert content(corpus, tmp_path / "there.sqlite", Elsewhere()) == content(
        corpus, tmp_path / "here.sqlite", EMBEDDED
    )


def crash(part: str) -> str:
    raise ValueError(part)


def double(part: int) -> int:
    return 2 * part


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def listening(pids: set[int]) -> set[tuple[int, str, str]]:
    """(process, address, port) of every TCP socket that they listen on; the last two as the kernel has them."""
    holder: dict[str, int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):  # it was closed meanwhile
                holder[os.readlink(link)] = pid
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and (pid := holder.get(f"socket:[{fields[9]}]", 0)):
                address, _, port = fields[1].partition(":")
                found.add((pid, address, port))
    return found


def descendants() -> set[int]:
    """The running processes that this one started, and theirs."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(stat.parent.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}
