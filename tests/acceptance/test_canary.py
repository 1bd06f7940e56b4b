"""Nothing that leaves the seals names an erased person: not a log, a trace, a job, a report, a file name.

The people of the story are the canaries: their names, addresses and private values exist nowhere else, and every
service logged at its most talkative and sent traces, metrics and logs to a collector all the way.
"""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.corpus.index import SubjectIndex
from tests.acceptance.conftest import FIRST, SECOND, THIRD, Walk, truth_of
from tests.canary import Canary, Finding

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def canary(walk: Walk, corpus: Path) -> Canary:
    """Every identifier of the three, and every private value that nobody else and no ordinary sentence has."""
    identifiers: dict[str, list[str]] = {}
    for name in (FIRST, SECOND, THIRD):
        person = walk.people[name]
        others = "\n".join(text.casefold() for text in _texts_of_others(corpus, name))
        for kind, values in person.identifiers.items():
            identifiers.setdefault(kind, []).extend(value for value in values if value.casefold() not in others)
        identifiers.setdefault("value", []).extend(
            str(probe.value)
            for probe in person.private
            if len(str(probe.value)) >= 6 and str(probe.value).casefold() not in others
        )
    assert len(identifiers["value"]) >= 30
    assert min(len(values) for values in identifiers.values()) >= 3
    return Canary({kind: [value for value in values if len(value) >= 6] for kind, values in identifiers.items()})


def _texts_of_others(corpus: Path, person: str) -> list[str]:
    from pipelines.corpus.load import load_corpus

    mine = truth_of(corpus, person)
    return [record.text for record in load_corpus(corpus) if record.record_id not in mine]


def test_the_search_would_find_them(canary: Canary, corpus: Path) -> None:
    """Where they may be, they are found: an empty result below means something."""
    kinds = {finding.kind for finding in canary.search(corpus)}
    assert kinds >= {"names", "emails", "phones", "ids", "value"}


def test_telemetry_has_something_to_say_and_names_nobody(over: Walk, canary: Canary) -> None:
    sent = over.collector
    spans = {span.name for span in sent.spans()}
    assert {"run.augment", "run.train", "run.verify", "run.release", "run.swap", "run.close"} <= spans
    assert "lethe.run.step.duration" in sent.text("/v1/metrics")
    assert sent.text("/v1/logs")
    assert _told(canary.in_text(sent.text(), "telemetry")) == {}


def test_a_run_is_one_trace_linked_to_its_tickets(over: Walk) -> None:
    by_trace: dict[bytes, set[str]] = {}
    for span in over.collector.spans():
        by_trace.setdefault(span.trace_id, set()).add(span.name)
    runs = [names for names in by_trace.values() if "run.close" in names]
    assert len(runs) == 3
    assert all(
        {"run.augment", "run.check", "run.train", "run.verify", "run.release", "run.swap"} <= one for one in runs
    )
    linked = {link.trace_id for span in over.collector.spans() if span.name == "run.train" for link in span.links}
    assert linked
    assert linked <= set(by_trace)


def test_nothing_on_the_disk_names_an_erased_person(over: Walk, canary: Canary) -> None:
    """The whole installation: store, jobs, audit log, index, reports, releases, runs, logs, and what lies beside it.

    One place may: the pack keeps what is public about a person, and the index finds those records by the name.
    """
    house = over.house
    names = {str(path.relative_to(house.home)) for path in house.home.rglob("*")}
    assert {"lethe.sqlite", "dbos.sqlite", "index/subjects.sqlite", "logs/intake.log", "logs/runner.log"} <= names
    index = str(house.home / "index" / "subjects.sqlite")
    found = canary.search(house.home.parent)
    assert _told([one for one in found if one.kind != "names" or not one.place.startswith(index)]) == {}


def test_working_files_are_gone(over: Walk) -> None:
    assert list((over.house.home / "runs").iterdir()) == []
    assert [path for path in (over.house.home.parent / "tmp").rglob("*") if path.is_file()] == []


def test_the_index_has_forgotten_them(over: Walk, corpus: Path) -> None:
    with SubjectIndex(over.house.home / "index" / "subjects.sqlite") as index:
        for name in (FIRST, SECOND, THIRD):
            mine = truth_of(corpus, name)
            left = list(index.records(sorted(mine)))
            assert left
            assert [str(record.category) for record in left if not str(record.category).startswith("public.")] == []


def _told(findings: list[Finding]) -> dict[str, int]:
    """Places and kinds, never the text itself: a failing test must not be the next leak."""
    return dict(Counter(f"{finding.place}: {finding.kind}" for finding in findings))
