"""Builds the JSON report: the truth, from which the HTML is made and which an auditor can check by its digest."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.gates.gate import Gate
from policies.canonical import canonical_json, sha256_hex
from services.reports.data import NoticePart, ReportData
from services.reports.points import APPROXIMATE, NOT_CLAIMED, OPTIONAL, POINTS, Item

SCHEMA = "lethe.report/1"


def build_report(data: ReportData) -> dict[str, Any]:
    """The report as JSON.

    Every one of the 13 points is there. ``missing`` lists what is not known, with its reason; ``digest`` is the
    SHA-256 of the canonical JSON of everything else.
    """
    values = data.model_dump(mode="json")
    values["derived"] = _derived(data)
    points, missing = _points(values, data.why_missing)
    missing += _missing_blocks(data)
    body = {
        "schema": SCHEMA,
        "generated_at": values["generated_at"],
        "ticket_id": data.ticket.ticket_id,
        "subject_ref": data.ticket.subject_ref,
        "summary": _summary(data),
        "points": points,
        "gates": [gate.model_dump(mode="json") for gate in _gates(data)],
        "thresholds": None if data.verdict is None else data.verdict.thresholds,
        "metrics": _metrics(data),
        "attacks": _attacks(values),
        "thresholds_set_before_the_measurement": _set_before(data),
        "training": values["training"],
        "timeline": [_timed(step) for step in values["timeline"]],
        "remains": values["remains"],
        "verification": _verification(data),
        "not_claimed": _not_claimed(data),
        "missing": missing,
    }
    return {**body, "digest": sha256_hex(canonical_json(body))}


def report_digest(report: Mapping[str, Any]) -> str:
    """The digest that a report's content has now; compare it with ``report["digest"]``."""
    return sha256_hex(canonical_json({key: value for key, value in report.items() if key != "digest"}))


def _points(values: Mapping[str, Any], why: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    points: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for point in POINTS:
        items = [_item(item, values, why) for item in point.items]
        missing += [
            {"point": point.number, "item": item["label"], "path": item["path"], "why": item["missing"]}
            for item in items
            if "missing" in item
        ]
        points.append({"number": point.number, "title": point.title, "question": point.question, "items": items})
    return points, missing


def _item(item: Item, values: Mapping[str, Any], why: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"label": item.label, "path": item.path, "kind": item.kind}
    value = _at(values, item.path)
    # An empty list is an answer where it was recorded ("no exemption applied"), None never is.
    if value is None or (item.path in _EMPTY_IS_MISSING and not value):
        return found | {"absent" if item.path in OPTIONAL else "missing": _why(item.path, why, item.missing)}
    return found | {"value": value}


def _why(path: str, why: Mapping[str, str], otherwise: str) -> str:
    """The reason given for a path, or for the nearest part that holds it (``data.deletion`` for what is in it)."""
    nearest = "notices" if path in _FROM_NOTICES and path not in why else path
    while nearest:
        if nearest in why:
            return why[nearest]
        nearest = nearest.rpartition(".")[0]
    return otherwise


_FROM_NOTICES = frozenset({"derived.subject_notices", "derived.recipient_notices", "derived.callbacks"})
_EMPTY_IS_MISSING = _FROM_NOTICES | {"legal.approvals", "scope.searched", "method.limits", "deployment.probes"}


def _at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _missing_blocks(data: ReportData) -> list[dict[str, Any]]:
    """What has no item of its own: the metrics, the training curve, the timeline, the remains."""
    blocks = (
        (8, "Metrics against thresholds", "verdict.gates", data.verdict and data.verdict.gates, "no verdict yet"),
        (6, "Training curve", "training", data.training and data.training.steps, "no training was recorded"),
        (10, "Way of the ticket", "timeline", data.timeline, "no step was recorded"),
        (5, "What still exists of the subject", "remains", data.remains is not None, "no search for it is recorded"),
    )
    return [
        {"point": point, "item": label, "path": path, "why": _why(path, data.why_missing, why)}
        for point, label, path, there, why in blocks
        if not there
    ]


def _derived(data: ReportData) -> dict[str, Any]:
    notices = data.notices or ()
    return {
        "verified_to_active": _seconds(
            data.measuring.decided_at if data.measuring else None,
            data.deployment.activated_at if data.deployment else None,
        ),
        "subject_notices": _told(notices, "subject"),
        "recipient_notices": _told(notices, "recipient"),
        "callbacks": _told(notices, "callback"),
    }


def _told(notices: Sequence[NoticePart], to: str) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in notice.model_dump(mode="json").items() if key != "to" and value is not None}
        for notice in notices
        if notice.to == to
    ]


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)


def _timed(step: dict[str, Any]) -> dict[str, Any]:
    end = step["ended_at"]
    start = datetime.fromisoformat(step["started_at"])
    return {**step, "seconds": None if end is None else _seconds(start, datetime.fromisoformat(end))}


def _set_before(data: ReportData) -> bool | None:
    """Whether the thresholds were fixed before anything was measured; None: one of the two moments is missing."""
    if data.legal is None or data.measuring is None or data.measuring.decided_at is None:
        return None
    return data.legal.decision.decided_at < data.measuring.decided_at


def _summary(data: ReportData) -> dict[str, Any]:
    due = data.legal.decision.deadlines.answer_by if data.legal else None
    answered = data.ticket.answered_at
    return {
        "regime": data.ticket.regime,
        "status": data.ticket.status,
        "base": data.ticket.base,
        "verdict": data.verdict.outcome if data.verdict else None,
        "generation": data.deployment.generation if data.deployment else None,
        "live": bool(data.deployment and data.deployment.activated_at and data.deployment.probe_passed is not False),
        "answer_due": due.isoformat() if due else None,
        "answered_in_time": answered <= due if answered and due else None,
        "partial": data.legal.decision.partial if data.legal else None,
        "kfr": _gate(data, "kfr"),
        "krr_ratio": _gate(data, "krr_ratio"),
    }


def _gates(data: ReportData) -> list[Gate]:
    """The gates of this subject, of everybody, of earlier subjects; others of the same run have their own report."""
    if data.verdict is None:
        return []
    mine = _mine(data)
    return [
        gate
        for gate in data.verdict.gates
        if mine is None or gate.subject in (mine, None) or gate.name.startswith("earlier_")
    ]


def _attacks(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Every attack with its figures; the points name only their sum."""
    measuring = values["measuring"]
    found: dict[str, Any] | None = measuring["attacks"] if measuring else None
    return found


def _metrics(data: ReportData) -> dict[str, Any] | None:
    if data.verdict is None:
        return None
    mine, metrics = _mine(data), data.verdict.metrics
    if mine is None or not isinstance(metrics.get("subjects"), dict):
        return metrics
    return {**metrics, "subjects": {key: value for key, value in metrics["subjects"].items() if key == mine}}


def _mine(data: ReportData) -> str | None:
    """The subject's reference inside the verdict; None: the verdict is about nobody else."""
    return data.measuring.release_subject if data.measuring else None


def _gate(data: ReportData, name: str) -> dict[str, Any] | None:
    """The weakest gate of a name: the worst case, not the mean. Both names asked for are better when higher."""
    known = [(gate.value, gate) for gate in _gates(data) if gate.name == name and gate.value is not None]
    return min(known, key=lambda pair: pair[0])[1].model_dump(mode="json") if known else None


def _verification(data: ReportData) -> list[dict[str, str]]:
    commands = [
        {
            "what": "The audit log: no byte changed, no entry dropped, moved or cut off the end",
            "command": "lethe audit verify AUDIT.jsonl --trust trust.json --checkpoint CHECKPOINT.json",
        },
        {
            "what": "This report: its content still has the digest at its end",
            "command": f"lethe report {data.ticket.ticket_id} --check",
        },
    ]
    if data.legal is not None:
        commands.append(
            {
                "what": f"The policy: its digest is {data.legal.decision.pack_digest[:16]}…",
                "command": "lethe policy check PACK --json",
            }
        )
    if data.measuring is not None and data.measuring.scores_kept:
        commands.append(
            {
                "what": "The figures of point 8: means and shares follow from the scores of the probes, kept sealed",
                "command": f"lethe verify scores {data.ticket.ticket_id}",
            }
        )
    return commands


def _not_claimed(data: ReportData) -> list[str]:
    said = list(NOT_CLAIMED)
    if data.method is None or not data.method.exact:
        said.insert(1, APPROXIMATE)
    if data.verdict is not None:
        said += [f"{finding[0].upper()}{finding[1:].rstrip('.')}." for finding in data.verdict.findings if finding]
    return said
