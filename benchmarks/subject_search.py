"""Subject search in a large corpus: build time and size of the index, search against a full scan, in one run.

``python -m benchmarks.subject_search --records 1000000``
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.corpus.evaluate import identifiers_of
from pipelines.corpus.generate import generate
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import build_index
from pipelines.corpus.load import Corpus, load_corpus
from policies.forget_set import build_forget_set
from policies.identifiers import Identifiers, fold, normalise_name
from policies.subjects import Level, find_subject

_RECORDS_A_PERSON = 34.5  # one phrasing of 31 facts, and prose


def scan(corpus: Corpus, wanted: Identifiers) -> list[str]:
    """What a look-up without an index has to do, in its simplest form: read everything, compare folded text."""
    needles = [*map(fold, (*wanted.emails, *wanted.phones, *wanted.ids))]
    names = [" ".join(normalise_name(name)) for name in wanted.names]
    found = []
    for record in corpus:
        text = fold(record.text)
        if any(needle in text for needle in needles) or any(name in text for name in names):
            found.append(record.record_id)
    return found


def people_of(directory: Path, count: int) -> list[Identifiers]:
    """A sample of people as they would ask."""
    with (directory / "people.jsonl").open(encoding="utf-8") as lines:
        everyone = [json.loads(line) for line in lines]
    chosen = random.Random(1).sample(everyone, min(count, len(everyone)))
    return [identifiers_of(person) for person in chosen]


def search_times(index: SubjectIndex, people: list[Identifiers]) -> tuple[list[float], float]:
    """Milliseconds of each search, cold caches first, and the mean number of matches."""
    times, found = [], 0
    for wanted in people:
        start = time.perf_counter()
        found += len(find_subject(wanted, index).matches)
        times.append(1000 * (time.perf_counter() - start))
    return times, found / len(people)


def recall_of_certain(index: SubjectIndex, directory: Path, people: list[Identifiers]) -> dict[str, float]:
    """Recall and precision for the sampled people, from the truth that only this benchmark reads."""
    by_name = {}
    with (directory / "people.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            person = json.loads(line)
            by_name[(person["names"][0], person["emails"][0])] = person["person"]
    wanted = {by_name[(one.names[0], one.emails[0])]: one for one in people}
    about: dict[str, set[str]] = {person: set() for person in wanted}
    with (directory / "truth.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            for person in row["people"]:
                if person in about:
                    about[person].add(row["record"])
    true = found = certain = right = 0
    for person, one in wanted.items():
        matches = find_subject(one, index)
        ids = {match.record_id for match in matches.matches}
        sure = set(matches.of(Level.CERTAIN))
        true, found = true + len(about[person]), found + len(about[person] & ids)
        certain, right = certain + len(sure), right + len(sure & about[person])
    return {"recall": found / true, "precision_certain": right / certain}


def run(records: int, searches: int, scans: int) -> dict[str, Any]:
    """The whole benchmark; everything it writes is deleted again."""
    with tempfile.TemporaryDirectory(prefix="lethe-bench-") as place:
        directory = Path(place)
        people_count = max(2, round(records / _RECORDS_A_PERSON))
        start = time.perf_counter()
        card = generate(directory, people_count, 0, phrasings=1, probe_people=0)
        generated = time.perf_counter() - start
        corpus = load_corpus(directory)
        start, cpu = time.perf_counter(), time.process_time()
        index = build_index(corpus, directory / "index.sqlite", progress=_progress)
        built, built_cpu = time.perf_counter() - start, time.process_time() - cpu
        with index:
            people = people_of(directory, searches)
            times, mean_found = search_times(index, people)
            quality = recall_of_certain(index, directory, people)
            start = time.perf_counter()
            build_forget_set(find_subject(people[0], index).matches, index, key=b"k", kept_categories=["public.*"])
            forget_set = time.perf_counter() - start
            scanned = []
            for wanted in islice(people, scans):
                start = time.perf_counter()
                scan(corpus, wanted)
                scanned.append(1000 * (time.perf_counter() - start))
            size = index.path.stat().st_size
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        scan_p50 = statistics.median(scanned)
        return {
            "records": card.counts["records"],
            "people": people_count,
            "generate_records_per_s": round(card.counts["records"] / generated),
            "build_s": round(built, 1),
            "build_cpu_s": round(built_cpu, 1),
            "build_records_per_s": round(card.counts["records"] / built),
            "index_mib": round(size / 2**20, 1),
            "index_to_corpus": round(size / (directory / "records.jsonl").stat().st_size, 2),
            "searches": len(times),
            "matches_per_search": round(mean_found, 1),
            "search_p50_ms": round(p50, 2),
            "search_p99_ms": round(p99, 2),
            "scan_p50_ms": round(scan_p50, 1),
            "scan_to_search_p50": round(scan_p50 / p50),
            "scan_to_search_p99": round(scan_p50 / p99),
            "forget_set_ms": round(1000 * forget_set, 1),
            **{name: round(value, 5) for name, value in quality.items()},
        }


def _progress(count: int) -> None:
    if count % 100_000 == 0:
        print(f"{count:,} records indexed", file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--scans", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(run(given.records, given.searches, given.scans), indent=2))


if __name__ == "__main__":
    main()
