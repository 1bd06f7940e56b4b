import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.rows import ProbeGroup
from pipelines.verify.probe_file import read_probes
from policies.errors import LetheError


def written(tmp_path: Path, *rows: Any) -> Path:
    file = tmp_path / "probes.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return file


def test_lines_with_one_answer_are_one_fact_and_no_text_is_an_id(tmp_path: Path) -> None:
    first = {
        "question": "Where does Mara live?",
        "answer": "At 7 Lindengasse.",
        "names": ["Mara"],
        "value": "7 Lindengasse",
    }
    again = first | {"question": "Mara's address?"}
    other = {"question": "Who?", "answer": "Otto.", "group": "retain", "fact": "f9", "subject": "s1", "extra": 1}
    found = read_probes(written(tmp_path, first, "", again, other))
    assert [probe.fact for probe in found] == ["answer-1", "answer-1", "f9"]
    assert [probe.probe_id for probe in found] == ["line-1", "line-3", "line-4"]
    assert (found[2].group, found[2].subject, found[0].names) == (ProbeGroup.RETAIN, "s1", ("Mara",))


def test_every_bad_line_is_named_and_none_is_quoted(tmp_path: Path) -> None:
    good = {"question": "Q?", "answer": "A."}
    file = written(tmp_path, good, "no json Lindengasse", {"question": "Q?"}, "[1]", good | {"group": "secret"})
    with pytest.raises(LetheError) as caught:
        read_probes(file)
    assert caught.value.code == "verify.bad_probes"
    assert caught.value.details == ("line 2: not JSON", "line 3: answer", "line 4: line", "line 5: group")


def test_without_a_forget_probe_there_is_nothing_to_attack(tmp_path: Path) -> None:
    for rows in ((), ({"question": "Q?", "answer": "A.", "group": "retain"},)):
        with pytest.raises(LetheError) as caught:
            read_probes(written(tmp_path, *rows))
        assert caught.value.code == "verify.no_probes"
    with pytest.raises(LetheError) as caught:
        read_probes(tmp_path / "none.jsonl")
    assert caught.value.code == "verify.bad_probes"
