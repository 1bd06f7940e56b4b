"""The audit log: its entries, its check, and its export."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from sqlalchemy import select
from starlette.background import BackgroundTask
from starlette.responses import Response

from services import audit, keys
from services.audit import AuditVerification
from services.auth import requires
from services.console.place import Console
from services.store.tables import AuditCheckpointRow, AuditEntryRow

_PAGE = 100
_DIGEST = re.compile(r"[0-9a-f]{40,}")
AREAS = ("ticket", "run", "release", "suppression", "key", "console", "desired_state", "recheck")


def add_audit(app: FastAPI, console: Console) -> None:
    """Adds ``/audit``."""

    @app.get("/audit")
    @requires("audit:read")
    def show(request: Request, area: str = "", before: int = 0) -> Response:
        """Entries, the newest first."""
        return _page(console, request, area=area, before=before)

    @app.post("/audit/verify")
    @requires("audit:read")
    def verify(request: Request) -> Response:
        """Exports the log and checks every entry and signature of it, as an auditor would with the file alone."""
        with tempfile.TemporaryDirectory(prefix="lethe-audit-") as directory:
            bundle = _export(console, Path(directory) / "audit.jsonl")
            found = audit.verify(bundle, keys.trust_bundle(console.settings))
        return _page(console, request, found=found)

    @app.get("/audit/export")
    @requires("audit:read")
    def export() -> Response:
        """The whole log as a bundle that ends with a signed checkpoint."""
        with tempfile.NamedTemporaryFile(prefix="audit-", suffix=".jsonl", delete=False) as file:
            path = Path(file.name)
        _export(console, path)
        done = BackgroundTask(path.unlink)
        return FileResponse(path, media_type="application/jsonl", filename="lethe-audit.jsonl", background=done)


def _export(console: Console, path: Path) -> Path:
    audit.export(console.store(), path, keys.load_private(console.settings, "audit"))
    return path


def _page(
    console: Console, request: Request, *, area: str = "", before: int = 0, found: AuditVerification | None = None
) -> Response:
    query = select(AuditEntryRow).order_by(AuditEntryRow.seq.desc())
    if before > 0:
        query = query.where(AuditEntryRow.seq < before)
    if area in AREAS:
        query = query.where(AuditEntryRow.kind.startswith(f"{area}.", autoescape=True))
    with console.store().read() as session:
        rows = list(session.scalars(query.limit(_PAGE + 1)))
        head = session.scalar(select(AuditEntryRow).order_by(AuditEntryRow.seq.desc()).limit(1))
        signed = session.scalar(select(AuditCheckpointRow).order_by(AuditCheckpointRow.size.desc()).limit(1))
    values: dict[str, Any] = {
        "rows": [{"entry": row, "facts": _facts(row)} for row in rows[:_PAGE]],
        "next": rows[_PAGE - 1].seq if len(rows) > _PAGE else None,
        "area": area,
        "areas": AREAS,
        "head": head,
        "signed": signed,
        "found": found,
    }
    return console.page(request, "audit.html.jinja", values, here="audit")


def _facts(row: AuditEntryRow) -> list[tuple[str, str]]:
    """What an entry says, where it says something."""
    try:
        payload = json.loads(row.payload)
    except ValueError:
        return [("payload", "cannot be read: the check will find it")]
    if not isinstance(payload, dict):
        return [("payload", "is no object: the check will find it")]
    return [(name, _said(value)) for name, value in payload.items() if value not in (None, [], {}, "", False)]


def _said(value: object) -> str:
    """Digests by their beginning: the export has them whole."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if _DIGEST.fullmatch(text) else text
