"""The truth about a generated corpus: whose record is which."""

import json
from pathlib import Path

from pipelines.corpus.load import load_corpus
from policies.errors import LetheError


def private_records(corpus_dir: Path, person: int) -> frozenset[str]:
    """Ids of the records about one person of a generated corpus that an erasure covers: those that are private.

    Args:
        corpus_dir: A directory that ``generate`` wrote.
        person: The person's number, from 0.

    Raises:
        LetheError: ``control.corpus_not_generated``: there is no truth beside the records;
            ``control.nothing_left_out``: there is nobody of this number.
    """
    truth = corpus_dir / "truth.jsonl"
    if not truth.is_file():
        raise LetheError("control.corpus_not_generated", "This corpus does not say which record is about whom.")
    who = f"p{person:02d}"
    with truth.open(encoding="utf-8") as lines:
        about = {row["record"] for row in map(json.loads, lines) if who in row["people"]}
    found = frozenset(
        record.record_id
        for record in load_corpus(corpus_dir)
        if record.record_id in about and (record.category or "").startswith("private.")
    )
    if not found:
        raise LetheError("control.nothing_left_out", f"There is no person {person} in this corpus.")
    return found
