"""Score answers that stand in a file: KFR, KRR and LS in three modes, without any model of ours.

The form is the one that zjunlp/unlearn's ``generate.py`` writes: rows of ``query``, ``ground_truth`` and
``generated_response``. A row may also carry ``ppl``, ``value``, ``names`` and ``fact``.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.verify import metrics
from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.kfr_krr import coverages
from pipelines.verify.metrics import Context, Group
from pipelines.verify.results import MetricResult
from policies.errors import LetheError

REQUIRED = ("query", "ground_truth", "generated_response")
_MAX_FAULTS = 20
Likelihood = Callable[[Sequence[tuple[str, str]]], Mapping[tuple[str, str], float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRows:
    """The rows of a file, checked; None where the file has no such list."""

    forget: tuple[dict[str, Any], ...] | None
    retain: tuple[dict[str, Any], ...] | None


def load_rows(both: Path | None, forget: Path | None = None, retain: Path | None = None) -> ScoreRows:
    """Read and check the rows.

    Args:
        both: A JSON object with the lists ``forget`` and ``retain``, or one of them.
        forget: A JSON list, instead.
        retain: A JSON list, instead.

    Raises:
        LetheError: ``score.unreadable``, ``score.malformed``, ``score.row_invalid`` (every fault with list and
            index) or ``score.empty``.
    """
    if (both is None) == (forget is None and retain is None):
        raise LetheError("score.malformed", "Give one file with both lists, or one list per file; not both, not none.")
    found: dict[str, Any] = {}
    if both is not None:
        content = _read(both)
        if not isinstance(content, dict) or not {"forget", "retain"} & content.keys():
            raise LetheError("score.malformed", "The file is no JSON object with the lists forget and retain.")
        found = {name: content[name] for name in ("forget", "retain") if name in content}
    else:
        found = {name: _read(path) for name, path in (("forget", forget), ("retain", retain)) if path is not None}
    faults = [fault for name, rows in found.items() for fault in _faults(name, rows)]
    if faults:
        rest = (f"and {len(faults) - _MAX_FAULTS} more",) if len(faults) > _MAX_FAULTS else ()
        raise LetheError("score.row_invalid", "Some rows cannot be scored.", (*faults[:_MAX_FAULTS], *rest))
    if not any(found.values()):
        raise LetheError("score.empty", "There is no row to score.")
    return ScoreRows(
        forget=tuple(found["forget"]) if "forget" in found else None,
        retain=tuple(found["retain"]) if "retain" in found else None,
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LetheError("score.unreadable", "The file cannot be read as text.") from error
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise LetheError("score.malformed", f"The file is not JSON{where}.") from error


def _faults(name: str, rows: Any) -> list[str]:
    if not isinstance(rows, list):
        return [f"{name}: not a list"]
    faults = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            faults.append(f"{name}[{index}]: not an object")
            continue
        missing = [key for key in REQUIRED if key not in row]
        wrong = [key for key in REQUIRED if key in row and not isinstance(row[key], str)]
        faults.extend(f"{name}[{index}]: {key} is missing" for key in missing)
        faults.extend(f"{name}[{index}]: {key} is not a text" for key in wrong)
        faults.extend(f"{name}[{index}]: {fault}" for fault in _optional_faults(row))
    return faults


def _optional_faults(row: Mapping[str, Any]) -> list[str]:
    ppl, names = row.get("ppl"), row.get("names", [])
    faults = []
    if ppl is not None and (isinstance(ppl, bool) or not isinstance(ppl, int | float)):
        faults.append("ppl is not a number")
    faults.extend(f"{key} is not a text" for key in ("value", "fact") if not isinstance(row.get(key, ""), str | None))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        faults.append("names is not a list of texts")
    return faults


def score(
    rows: ScoreRows, backends: Backends, *, likelihood: Likelihood | None = None, seed: int = 0
) -> dict[str, Any]:
    """KFR, KRR, LS and their parts in the three modes, as JSON.

    Args:
        rows: From ``load_rows``.
        backends: The judges.
        likelihood: Mean negative log-likelihood per token by (query, response); without it perplexity comes from the
            rows' ``ppl``, and where there is none whatever needs it is not run.
        seed: Of the bootstraps.

    Returns:
        ``{"forget": {...}, "retain": {...}, "backends": {...}}``; a list that was not given is None. Holds no text.
    """
    report: dict[str, Any] = {"format": "lethe.score/1", "backends": backends.names()}
    groups: tuple[tuple[Group, tuple[dict[str, Any], ...] | None], ...] = (
        ("forget", rows.forget),
        ("retain", rows.retain),
    )
    for name, group in groups:
        report[name] = None if not group else _score_group(name, group, backends, likelihood, seed)
    return report


def _score_group(
    name: Group, rows: Sequence[Mapping[str, Any]], backends: Backends, likelihood: Likelihood | None, seed: int
) -> dict[str, Any]:
    nll = likelihood([(row["query"], row["generated_response"]) for row in rows]) if likelihood else {}
    answers = _answers(name, rows, nll)
    context = Context(
        group=name, answers=answers, coverage=tuple(coverages(answers, backends)), backends=backends, seed=seed
    )
    found = metrics.run_all(context, likelihood=False)
    if name == "retain":  # the paper prints LS on the retain set too
        fluent = Context(group="reference", answers=answers, coverage=(), backends=backends, seed=seed)
        found |= metrics.run_all(fluent)
    distinct = {tuple(row[key] for key in REQUIRED) for row in rows}
    return {
        "rows": len(rows),
        "duplicates": len(rows) - len(distinct),
        "empty_answers": sum(answer.empty for answer in answers),
        "metrics": {key: metric_json(metric) for key, metric in found.items()},
    }


def metric_json(metric: MetricResult) -> dict[str, Any]:
    """A metric with its coverage, as JSON."""
    return {**metric.model_dump(mode="json"), "coverage": metric.coverage}


def _answers(name: str, rows: Sequence[Mapping[str, Any]], nll: Mapping[tuple[str, str], float]) -> tuple[Answer, ...]:
    """Rows with one gold answer are one fact, unless the file names the fact: they are resampled together."""
    facts: dict[str, str] = {}
    answers = []
    for index, row in enumerate(rows):
        key = row.get("fact") or row["ground_truth"]
        fact = facts.setdefault(key, f"{name}-fact-{len(facts)}")
        query, response = row["query"], row["generated_response"]
        answers.append(
            Answer(
                probe=f"{name}[{index}]",
                fact=fact,
                query=query,
                truth=row["ground_truth"],
                response=response,
                value=row.get("value") or None,
                names=tuple(row.get("names", ())),
                nll=nll.get((query, response), _nll(row.get("ppl"))),
            )
        )
    return tuple(answers)


def _nll(ppl: float | None) -> float | None:
    return math.log(ppl) if ppl is not None and math.isfinite(ppl) and ppl > 0 else None
