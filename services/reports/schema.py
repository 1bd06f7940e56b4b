"""The JSON Schema of a report, for those who read it by machine."""

from typing import Any

from services.reports.build import SCHEMA

_TEXT = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}
_NUMBER = {"type": ["number", "null"]}


def _record(required: dict[str, Any], optional: dict[str, Any] | None = None, *, more: bool = False) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": more,
    }


def _many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _maybe(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "null"}]}


_ITEM = _record(
    {"label": _TEXT, "path": _TEXT, "kind": _TEXT},
    {"value": {}, "missing": _TEXT, "absent": _TEXT},
) | {"oneOf": [{"required": [key]} for key in ("value", "missing", "absent")]}
_GATE = _record(
    {
        "name": _TEXT,
        "subject": {"type": ["string", "null"]},
        "state": {"enum": ["pass", "fail", "undecided", "not_run"]},
        "value": _NUMBER,
        "threshold": _NUMBER,
        "bound": _NUMBER,
        "base": _NUMBER,
        "n": {"type": "integer", "minimum": 0},
        "required": {"type": "boolean"},
        "within_reach": {"type": "boolean"},
        "reason": _TEXT,
    }
)
_ATTACK = _record(
    {
        "name": _TEXT,
        "tier": {"enum": [0, 1, 2]},
        "measure": {"type": ["string", "null"]},
        "better": {"enum": ["higher", "lower", "none"]},
        "state": {"enum": ["measured", "undecided", "not_run"]},
        "value": _NUMBER,
        "bound": _NUMBER,
        "before": _NUMBER,
        "control": _NUMBER,
        "n": {"type": "integer", "minimum": 0},
        "facts": {"type": "integer", "minimum": 0},
        "undecided": {"type": "integer", "minimum": 0},
        "worst": _NUMBER,
        "limit": {"type": ["string", "null"]},
        "result": {"enum": ["pass", "fail", "undecided", "not_run", None]},
        "decides": {"type": "boolean"},
        "reason": {"type": ["string", "null"]},
        "seconds": {"type": "number", "minimum": 0},
        "parts": {"type": "object", "additionalProperties": _NUMBER},
        "source": _TEXT,
        "note": {"type": ["string", "null"]},
    }
)
_ATTACKS = _record(
    {
        "tiers": _many({"enum": [0, 1, 2]}),
        "seconds": {"type": "number", "minimum": 0},
        "summary": _TEXT,
        "worst": {"type": ["string", "null"]},
        "tried": _many(_ATTACK),
        "not_run": _many(_TEXT),
    }
)
_POINT = _record({"number": {"type": "integer"}, "title": _TEXT, "question": _TEXT, "items": _many(_ITEM)})
_MISSING = _record({"point": {"type": "integer"}, "item": _TEXT, "path": _TEXT, "why": _TEXT})

REPORT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Lethe erasure report",
    **_record(
        {
            "schema": {"const": SCHEMA},
            "generated_at": _MOMENT,
            "ticket_id": _TEXT,
            "subject_ref": _TEXT,
            "summary": {"type": "object"},
            "points": {"type": "array", "items": _POINT, "minItems": 13, "maxItems": 13},
            "gates": _many(_GATE),
            "thresholds": _maybe({"type": "object"}),
            "metrics": _maybe({"type": "object"}),
            "thresholds_set_before_the_measurement": {"type": ["boolean", "null"]},
            "training": _maybe({"type": "object"}),
            "timeline": _many({"type": "object"}),
            "remains": _maybe(_many({"type": "object"})),
            "verification": _many(_record({"what": _TEXT, "command": _TEXT})),
            "not_claimed": _many(_TEXT),
            "missing": _many(_MISSING),
            "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        },
        {"attacks": _maybe(_ATTACKS)},  # reports from before there were attacks have no such block
    ),
}
