"""Releases: what is served where, and the way forward or back, with whom it would leave uncovered."""

from datetime import datetime
from typing import Any, cast

from fastapi import FastAPI, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from services import release_ops
from services.auth import requires
from services.console.acts import body_of
from services.console.door import PREFIX
from services.console.place import Console, field, who
from services.intake.releases import MoveBody
from services.store.releases import get_release, list_desired, list_releases, list_replicas
from services.store.tables import DesiredState, ReleaseOrder

_SHOWN = 50
MOVES: dict[str, tuple[str, str]] = {
    "promote": ("Promote", "Make this release the one that is served."),
    "rollback": ("Roll back", "Go back to this older release, under a higher generation."),
}
KINDS = {"promote": "Promote", "rollback": "Roll back", "forward": "Go forward", "recheck": "Ask about people again"}
ORDER = {"open": ("under way", "◐", "work"), "done": ("done", "✓", "good"), "failed": ("not done", "✕", "bad")}


def add_releases(app: FastAPI, console: Console) -> None:
    """Adds ``/releases`` and the orders on them."""

    @app.get("/releases")
    @requires("ops:read")
    def show(request: Request, ordered: str = "") -> Response:
        """What is desired, what each replica serves, every release, the last orders."""
        values = _state(console) | {"ordered": ordered if ordered.startswith("o-") else ""}
        return console.page(request, "releases.html.jinja", values, here="releases")

    @app.post("/releases/plan")
    @requires("ops:run")
    def plan(request: Request) -> Response:
        """What a move would do; nothing is done yet."""
        return _plan_page(console, request, None)

    @app.post("/releases/order")
    @requires("ops:run")
    def order(request: Request) -> Response:
        """Orders a move that was planned; one that has changed since is shown again."""
        try:
            said = body_of(MoveBody, request, why=field(request, "why"), suppress=_suppress(request), apply=True)
            with console.store().write() as session:
                found = release_ops.plan(session, _kind(request), field(request, "release"), suppress=said.suppress)
                if str(found.generation) != field(request, "generation"):
                    raise LetheError("desired_state.conflict", "What is served has changed since this was planned.")
                order_id = release_ops.order(
                    session, found, actor=who(request).actor, why=said.why, suppress=said.suppress
                )
        except LetheError as error:
            if error.kind.status >= 500 or error.code == "release.not_found":
                raise
            return _plan_page(console, request, error)
        return _ordered(console, order_id)

    @app.post("/releases/recheck")
    @requires("ops:run")
    def recheck(request: Request) -> Response:
        """Asks every replica about people who were forgotten, now."""
        with console.store().write() as session:
            order_id = release_ops.order_recheck(session, base=field(request, "base"), actor=who(request).actor)
        return _ordered(console, order_id)


def _ordered(console: Console, order_id: str) -> Response:
    if console.on_change is not None:
        console.on_change(order_id, release_ops.OPEN)
    return RedirectResponse(f"{PREFIX}/releases?ordered={order_id}", 303)


def _kind(request: Request) -> release_ops.Kind:
    kind = field(request, "kind")
    if kind not in MOVES:
        raise LetheError("request.invalid", "The form has 1 fault(s).", ("kind: promote or rollback",))
    return cast(release_ops.Kind, kind)


def _suppress(request: Request) -> bool:
    return field(request, "suppress") == "yes"


def _plan_page(console: Console, request: Request, error: LetheError | None) -> Response:
    kind = _kind(request)
    with console.store().read() as session:
        found = release_ops.plan(session, kind, field(request, "release"), suppress=_suppress(request))
        # Of what is asked for, whom it could cover is looked at: whether they are suppressed is what the form decides.
        covered = release_ops.plan(session, kind, field(request, "release"), suppress=True)
    values = {
        "plan": found,
        "words_of": MOVES[kind],
        "blocked": covered.refused,
        "error": error,
        "why": field(request, "why"),
        "suppress": _suppress(request),
    }
    status = error.kind.status if error else 200
    return console.page(request, "move.html.jinja", values, here="releases", status=status)


def _state(console: Console) -> dict[str, Any]:
    with console.store().read() as session:
        bases = [_base(session, desired, console.clock()) for desired in list_desired(session)]
        query = select(ReleaseOrder).order_by(ReleaseOrder.ordered_at.desc(), ReleaseOrder.order_id).limit(20)
        orders = list(session.scalars(query))
    return {"bases": bases, "orders": orders, "kinds": KINDS, "order_words": ORDER}


def _base(session: Session, desired: DesiredState, now: datetime) -> dict[str, Any]:
    since = get_release(session, desired.release_digest).created_at
    replicas = list_replicas(session, desired.base_digest)
    return {
        "desired": desired,
        "replicas": [{"row": row, "live": row.lease_until > now} for row in replicas],
        "releases": [
            {
                "row": row,
                "live": row.digest == desired.release_digest,
                "older": row.created_at < since,
                "missing": len(set(desired.watermark) - set(row.watermark)),
                "verdict": str(row.verdict.get("outcome") or row.verdict.get("kind") or "–"),
            }
            for row in reversed(list_releases(session, desired.base_digest)[-_SHOWN:])
        ],
    }
