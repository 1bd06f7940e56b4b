"""Probes from a JSON Lines file, for whoever measures or attacks a model by hand."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError

_Text = Annotated[str, StringConstraints(min_length=1)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    question: _Text
    answer: _Text
    fact: _Text | None = None
    value: str | None = None
    subject: str | None = None
    names: tuple[str, ...] = ()
    group: ProbeGroup = ProbeGroup.FORGET


def read_probes(file: Path) -> tuple[Probe, ...]:
    """The probes of a file, one JSON object a line; without a fact, lines with one answer are one fact.

    Raises:
        LetheError: ``verify.bad_probes``: the file cannot be read, or lines have not the expected form (by number);
            ``verify.no_probes``: no line is about what is to be forgotten.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LetheError("verify.bad_probes", "The file of probes cannot be read.") from error
    found: list[Probe] = []
    faults: list[str] = []
    facts: dict[str, str] = {}  # results name facts, so an answer's own text must not be one
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _Line.model_validate(json.loads(line))
        except ValidationError as error:
            places = {".".join(map(str, fault["loc"])) or "line" for fault in error.errors(include_input=False)}
            faults.append(f"line {number}: {', '.join(sorted(places))}")
        except ValueError:
            faults.append(f"line {number}: not JSON")
        else:
            fact = row.fact or facts.setdefault(row.answer, f"answer-{len(facts) + 1}")
            found.append(_probe(number, row, fact))
    if faults:
        raise LetheError("verify.bad_probes", f"{len(faults)} lines are no probes.", tuple(faults))
    if not any(probe.group is ProbeGroup.FORGET for probe in found):
        raise LetheError("verify.no_probes", "There is no forget probe in the file.")
    return tuple(found)


def _probe(number: int, row: _Line, fact: str) -> Probe:
    return Probe(
        probe_id=f"line-{number}",
        group=row.group,
        question=row.question,
        answer=row.answer,
        fact=fact,
        value=row.value,
        subject=row.subject,
        names=row.names,
    )
