"""The ticket API through its whole stack in one process: guard, limits, decision, store, audit log."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from policies.lifecycle import RunEvent, TicketEvent
from services import audit, auth, keys, suppression
from services.installation import Installation, create_installation
from services.intake.app import create_app
from services.settings import Settings, load_settings
from services.store.engine import Store
from services.store.releases import add_release, init_desired, list_desired
from services.store.runs import plan_run, transition_run
from services.store.tables import AuditEntryRow, ForgetSet, MatchReview, Report, Run
from services.store.tickets import transition_ticket

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
EMAIL = "mara.canary@example.org"
SUBJECT = [{"kind": "email", "value": EMAIL}, {"kind": "name", "value": "Mara Canary"}]
JSON = {"Content-Type": "application/json"}
VERIFIED = {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": "2026-03-10T08:00:00Z"}


class Clock:
    """The moment, moved by hand."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


class Api:
    """The app with keys for three people and a clock."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store, self.clock = settings, store, Clock()
        self.changes: list[tuple[str, str]] = []
        self.app = create_app(
            settings, open_store=lambda: store, on_change=lambda *c: self.changes.append(c), clock=self.clock
        )
        self.http = TestClient(self.app, raise_server_exceptions=False)
        with store.write() as session:
            self.officer = self._key(session, auth.OPERATOR_SCOPES, "admin")
            self.sender = self._key(session, ("tickets:submit",), None)
            self.seer = self._key(session, (), "privacy_officer")

    def _key(self, session: Any, scopes: tuple[str, ...], role: str | None) -> dict[str, str]:
        made = auth.create_key(session, name="k", scopes=scopes, role=role, house_roles=("clerk",), actor="t")
        return {"Authorization": f"Bearer {made.token}"}

    def post(self, path: str, body: Any = None, who: dict[str, str] | None = None) -> Any:
        return self.http.post(f"/v1/tickets{path}", json=body, headers=who or self.officer)

    def get(self, path: str, who: dict[str, str] | None = None, **params: Any) -> Any:
        return self.http.get(f"/v1/tickets{path}", params=params, headers=who or self.officer)

    def file(self, external_id: str = "e-1", **more: Any) -> str:
        answer = self.post("", body(external_id, **more))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["ticket_id"])

    def status(self, ticket_id: str) -> str:
        return str(self.get(f"/{ticket_id}").json()["status"])


def body(external_id: str = "e-1", **more: Any) -> dict[str, Any]:
    ticket = {"external_id": external_id, "regime": "gdpr", "base": "demo", "subject": SUBJECT, "identity": VERIFIED}
    return {**ticket, **more}


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return create_installation(load_settings(tmp_path_factory.mktemp("intake") / "home"))


@pytest.fixture(scope="module")
def api(template: Installation) -> Iterator[Api]:
    store = template.open_store()
    yield Api(template.settings, store)
    store.close()


@pytest.fixture(autouse=True)
def _at_the_same_moment(api: Api) -> None:
    api.clock.now = NOW
    api.changes.clear()


def test_a_base_that_the_installation_does_not_know_is_refused(api: Api) -> None:
    filed = api.post("", body("base-1", base="of-before"))
    assert filed.status_code == 201, "any name where the settings give none, also before there is a base"
    base = api.settings.base.model_copy(update={"names": ["demo", "demo-2"]})
    strict = Api(api.settings.model_copy(update={"base": base}), api.store)
    assert code(strict.post("", body("base-2", base="no-such-base"))) == (422, "ticket.unknown_base")
    assert strict.post("", body("base-2", base="demo-2")).status_code == 201
    assert strict.post("", body("base-1", base="of-before")).status_code == 200, "what was filed was filed"


def test_a_ticket_goes_from_filing_to_approval(api: Api) -> None:
    filed = api.post("", body("way-1", identity=None), who=api.sender)
    assert filed.status_code == 201
    ticket_id = filed.json()["ticket_id"]
    assert filed.headers["location"] == f"/v1/tickets/{ticket_id}"
    assert filed.json()["status"] == "awaiting_identity"
    assert filed.json()["due_at"].startswith("2026-04-10T23:59:59")
    failed = api.post(f"/{ticket_id}/identity", {"method": "email_code", "verified": False})
    assert failed.json()["status"] == "awaiting_identity"
    assert api.post(f"/{ticket_id}/identity", VERIFIED).json()["status"] == "awaiting_approval"
    assert api.post(f"/{ticket_id}/approve", {"ground": "withdrawn_consent"}).json()["status"] == "approved"
    shown = api.get(f"/{ticket_id}").json()
    assert shown["decision"]["rule_id"] == "erase"
    assert shown["decision"]["ground_article"] == "Art. 17(1)(b)"
    assert (shown["approvals_needed"], len(shown["approvals"])) == (1, 1)
    assert shown["identity_verified"]
    assert len(shown["pack_digest"]) == 64
    assert [status for _, status in api.changes] == [
        "awaiting_identity",
        "awaiting_identity",
        "awaiting_approval",
        "approved",
    ]
    events = api.get(f"/{ticket_id}/events").json()
    assert [e["event"] for e in events] == [
        "receive",
        "require_identity",
        "identity_failed",
        "verify_identity",
        "require_approval",
        "approve",
    ]
    assert api.get(f"/{ticket_id}/events", after=events[-2]["event_id"]).json() == events[-1:]


def test_the_same_ticket_twice_is_one_and_another_body_is_refused(api: Api) -> None:
    first = api.post("", body("twice"))
    again = api.post("", dict(reversed(body("twice").items())))  # another order of fields is the same body
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert code(api.post("", body("twice", base="other"))) == (409, "ticket.conflict")
    assert api.post("", body("twice", channel="csv")).status_code == 201  # another channel has ids of its own


def test_many_at_once_file_one_ticket(api: Api) -> None:
    answers: list[Any] = []
    barrier = threading.Barrier(8)

    def file() -> None:
        barrier.wait()
        answers.append(api.post("", body("race")))

    threads = [threading.Thread(target=file) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status_code for a in answers) == [200] * 7 + [201]
    assert len({a.json()["ticket_id"] for a in answers}) == 1


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"{", (422, "ticket.unreadable")),
        (b"[]", (422, "ticket.unreadable")),
        (b"\xff\xfe", (422, "ticket.unreadable")),
        (json.dumps(body("bad", regime="hammurabi")).encode(), (422, "policy.unknown_regime")),
        (json.dumps(body("bad", ground="because")).encode(), (422, "policy.unknown_ground")),
        (json.dumps(body("bad", subject=[])).encode(), (422, "ticket.malformed")),
        (json.dumps(body("bad", subject=[{"kind": "email", "value": 7}])).encode(), (422, "ticket.malformed")),
        (json.dumps(body("bad", **{EMAIL: 1})).encode(), (422, "ticket.malformed")),
        (json.dumps(body("bad", received_at="2030-01-01T00:00:00Z")).encode(), (422, "ticket.malformed")),
        (b'{"external_id": "' + b"x" * 2_000_000 + b'"}', (413, "request.too_large")),
    ],
)
def test_a_bad_ticket_is_refused_by_code_and_its_values_are_not_repeated(
    api: Api, sent: bytes, expected: tuple[int, str]
) -> None:
    answer = api.http.post("/v1/tickets", content=sent, headers={**api.officer, **JSON})
    assert code(answer) == expected
    assert EMAIL not in answer.text
    assert set(answer.json()["error"]) == {"code", "message", "remedy", "details"}
    assert not [t for t in api.get("", limit=500).json()["tickets"] if t["external_id"] == "bad"]


def test_a_late_ticket_is_taken_and_shown_as_overdue(api: Api) -> None:
    ticket_id = api.file("late", received_at="2026-01-05T10:00:00Z")
    assert api.get(f"/{ticket_id}").json()["overdue"] is True
    assert ticket_id in [t["ticket_id"] for t in api.get("", due_before="2026-03-01T00:00:00Z").json()["tickets"]]
    assert api.get("", due_before="1772323200").status_code == 422


def test_faults_of_acts_name_fields_and_never_values(api: Api) -> None:
    ticket_id = api.file("faults")
    for path, sent in (
        ("deny", {"reason": ""}),
        ("deny", {}),
        ("deny", {"reason": "ok then", EMAIL: EMAIL}),
        ("approve", {"version": EMAIL}),
        ("identity", {"method": EMAIL}),
        ("review", {"confirm": EMAIL}),
        ("extend", {"reason": EMAIL, "notice_sent_at": "2026-03-11T00:00:00Z"}),
    ):
        answer = api.post(f"/{ticket_id}/{path}", sent)
        assert code(answer) == (422, "request.invalid"), path
        assert EMAIL not in answer.text
        assert answer.json()["error"]["details"]
    raw = api.http.post(f"/v1/tickets/{ticket_id}/deny", content=b"{", headers={**api.officer, **JSON})
    assert code(raw) == (400, "request.not_json")
    assert code(api.get("", after="yesterday")) == (422, "request.invalid")
    assert code(api.get("", limit=0)) == (422, "request.invalid")
    assert code(api.get("/t-none")) == (404, "ticket.not_found")
    assert code(api.post("/t-none/approve")) == (404, "ticket.not_found")


def test_who_may_approve_is_what_the_pack_says(api: Api) -> None:
    ticket_id = api.file("role")
    with api.store.write() as session:
        clerk = api._key(session, ("tickets:approve",), "clerk")
        nobody = api._key(session, ("tickets:approve",), None)
    for who in (clerk, nobody):
        assert code(api.post(f"/{ticket_id}/approve", who=who)) == (403, "ticket.approver_refused")
    assert code(api.post(f"/{ticket_id}/approve", {"version": 1})) == (409, "ticket.changed")
    assert code(api.post(f"/{ticket_id}/approve", {"ground": "because"})) == (422, "policy.unknown_ground")
    assert api.post(f"/{ticket_id}/approve").json()["status"] == "approved"
    assert code(api.post(f"/{ticket_id}/approve")) == (409, "lifecycle.forbidden")


def test_deny_hold_release_and_cancel(api: Api) -> None:
    denied, held = api.file("denied"), api.file("held")
    assert api.post(f"/{denied}/deny", {"reason": "not the subject"}).json()["status"] == "denied"
    assert api.get(f"/{denied}").json()["closed_at"] is not None
    assert code(api.post(f"/{denied}/approve")) == (409, "lifecycle.forbidden")
    assert code(api.post(f"/{denied}/extend", {"reason": "complexity", "notice_sent_at": NOW.isoformat()}))[0] == 409
    assert api.post(f"/{held}/hold", {"reason": "claim pending"}).json()["status"] == "on_hold"
    assert api.get(f"/{held}").json()["legal_hold"] is True
    assert code(api.post(f"/{held}/approve")) == (409, "lifecycle.forbidden")
    assert api.post(f"/{held}/release-hold").json()["status"] == "awaiting_approval"
    assert api.post(f"/{held}/cancel", {"reason": "withdrawn by phone"}).json()["status"] == "cancelled"
    known = api.file("known-hold", legal_hold=True)
    assert api.status(known) == "on_hold"
    assert code(api.post(f"/{api.file('of-the-same-person')}/approve")) == (409, "ticket.person_held")
    api.post(f"/{known}/deny", {"reason": "legal claims"})
    assert "release_hold" in api.get(f"/{known}").json()["allowed_events"]
    assert api.post(f"/{known}/release-hold").json()["status"] == "denied"
    assert api.get(f"/{known}").json()["allowed_events"] == []


def test_the_view_tells_suppression_by_its_own_name(api: Api) -> None:
    ticket_id = api.file("suppressed", ground="withdrawn_consent")
    nobody = {"since": None, "confirmed_at": None, "lifted_at": None, "reason": None}
    assert api.get(f"/{ticket_id}").json()["suppression"] == {"state": "none", **nobody}
    with api.store.write() as session:
        if not list_desired(session):
            first = add_release(
                session, digest="0" * 64, base_digest="b" * 64, path="", watermark=(), verdict={}, actor="t"
            )
            init_desired(session, first, actor="t")
    said = api.post(f"/{ticket_id}/restrict", {"reason": "she contests what it says"}).json()["suppression"]
    assert (said["state"], said["reason"], said["since"][:10]) == ("pending", "restriction", "2026-03-10")
    with api.store.write() as session:
        suppression.confirm(session, at=NOW + timedelta(seconds=2))
    shown = api.get(f"/{ticket_id}").json()
    assert (shown["status"], shown["suppression"]["state"]) == ("awaiting_approval", "confirmed")
    assert {"restrict", "unrestrict"} <= set(shown["allowed_events"])
    assert (
        api.post(f"/{ticket_id}/unrestrict", {"reason": "told on 3 March"}).json()["suppression"]["state"] == "lifted"
    )
    assert code(api.post(f"/{ticket_id}/unrestrict", {"reason": "again"})) == (409, "suppression.not_restricted")
    approved = api.post(f"/{ticket_id}/approve").json()
    assert (approved["status"], approved["suppression"]["state"]) == ("approved", "pending")
    api.post(f"/{ticket_id}/cancel")
    last = api.get(f"/{ticket_id}").json()["suppression"]
    assert (last["state"], last["reason"], last["lifted_at"][:10]) == ("lifted", "approved", "2026-03-10")
    events = [(one["event"], one["to_status"]) for one in api.get(f"/{ticket_id}/events").json()]
    assert ("restrict", "awaiting_approval") in events
    assert "contests" not in api.get(f"/{ticket_id}/events").text


def test_a_restriction_needs_a_reason_a_known_person_and_the_scope(api: Api) -> None:
    ticket_id = api.file("unknown", identity=None)
    assert code(api.post(f"/{ticket_id}/restrict", {"reason": "why not"})) == (409, "lifecycle.guarded")
    assert code(api.post(f"/{ticket_id}/restrict", {})) == (422, "request.invalid")
    assert code(api.post(f"/{ticket_id}/restrict", {"reason": "why not"}, who=api.sender)) == (403, "auth.forbidden")


def test_the_day_of_a_deadline_is_that_of_its_law(api: Api) -> None:
    filed = api.post("", body("day", regime="ccpa", ground=None), who=api.sender).json()
    shown = api.get(f"/{filed['ticket_id']}").json()
    assert shown["due_at"].startswith("2026-04-25T06:59:59")
    assert filed["due_on"] == shown["due_on"] == "2026-04-24"


def test_an_extension_moves_the_deadline_once_it_is_told(api: Api) -> None:
    ticket_id = api.file("extended")
    act = {"reason": "complexity", "notice_sent_at": NOW.isoformat()}
    assert api.post(f"/{ticket_id}/extend", act).status_code == 200
    assert api.get(f"/{ticket_id}").json()["due_at"].startswith("2026-06-10")
    again = {**act, "notice_sent_at": (NOW - timedelta(hours=1)).isoformat()}
    assert code(api.post(f"/{ticket_id}/extend", again))[1] == "policy.extension_refused"
    ahead = {**act, "notice_sent_at": (NOW + timedelta(days=5)).isoformat()}
    assert code(api.post(f"/{api.file('ahead')}/extend", ahead))[1] == "policy.extension_refused"


def _ready(api: Api, external_id: str) -> str:
    ticket_id = api.file(external_id)
    api.post(f"/{ticket_id}/approve")
    with api.store.write() as session:
        session.add(ForgetSet(ticket_id=ticket_id, digest="f" * 64, counts={"records": 2}, created_at=NOW))
        session.flush()
        transition_ticket(session, ticket_id, TicketEvent.FORGET_SET_FIXED, actor="system:ticket")
    return ticket_id


def _run(api: Api, ticket_id: str) -> Run:
    with api.store.write() as session:
        run = plan_run(session, base_digest="b", ticket_ids=[ticket_id], method="relearn", seed=0, actor="system:plan")
        transition_run(session, run.run_id, RunEvent.START, actor="system:w")
        transition_ticket(session, ticket_id, TicketEvent.RUN_STARTED, actor="system:w")
    return run


def test_a_hold_asks_the_run_to_stop_and_retry_puts_a_failed_ticket_back(api: Api) -> None:
    ticket_id = _ready(api, "running")
    run = _run(api, ticket_id)
    assert api.get(f"/{ticket_id}").json()["runs"][0]["status"] == "augmenting"
    assert api.post(f"/{ticket_id}/hold", {"reason": "claim"}).json()["status"] == "on_hold"
    with api.store.read() as session:
        assert session.get_one(Run, run.run_id).cancel_requested
    assert api.post(f"/{ticket_id}/release-hold").json()["status"] == "awaiting_approval"
    failed = _ready(api, "failing")
    _run(api, failed)
    with api.store.write() as session:
        transition_ticket(session, failed, TicketEvent.RUN_FAILED, actor="system:w", reason_code="internal")
    assert api.get(f"/{failed}").json()["reason_code"] == "internal"
    assert api.post(f"/{failed}/retry").json()["status"] == "ready"


def test_a_person_sorts_ambiguous_matches(api: Api) -> None:
    ticket_id = api.file("ambiguous")
    api.post(f"/{ticket_id}/approve")
    assert code(api.post(f"/{ticket_id}/review", {"confirm": ["r1"]})) == (422, "ticket.review_unknown")
    with api.store.write() as session:
        for record in ("r1", "r2"):
            session.add(MatchReview(ticket_id=ticket_id, record_id=record, reason="name_only"))
        session.flush()
        transition_ticket(session, ticket_id, TicketEvent.MATCHES_AMBIGUOUS, actor="system:ticket")
    assert code(api.post(f"/{ticket_id}/review", {"confirm": ["r1", "r9"]})) == (422, "ticket.review_unknown")
    assert code(api.post(f"/{ticket_id}/review", {"confirm": ["r1"], "deny": ["r1"]}))[1] == "ticket.review_unknown"
    assert api.post(f"/{ticket_id}/review", {"confirm": ["r1"]}).json()["status"] == "awaiting_review"
    assert api.post(f"/{ticket_id}/review", {"deny": ["r2"]}).json()["status"] == "approved"
    matches = api.get(f"/{ticket_id}").json()["matches"]
    assert [(m["record_id"], m["decision"]) for m in matches] == [("r1", "confirm"), ("r2", "deny")]


def test_identity_is_shown_only_to_those_who_may_see_it(api: Api) -> None:
    ticket_id = api.file("identity", subject=[*SUBJECT, {"kind": "phone", "value": "+1 415 555 0137"}])
    api.post(f"/{ticket_id}/hold", {"reason": "Mara Canary sued us"})
    for answer in (api.get(f"/{ticket_id}"), api.get(f"/{ticket_id}/events"), api.get("")):
        assert "anary" not in answer.text
    assert code(api.get(f"/{ticket_id}", identity=True)) == (403, "auth.forbidden")
    seen = api.get(f"/{ticket_id}", who=api.seer, identity=True).json()["identity"]
    assert {"kind": "email", "value": EMAIL} in seen
    told = api.get(f"/{ticket_id}/events", who=api.seer, identity=True).json()
    assert told[-1]["reason"] == "Mara Canary sued us"
    api.post(f"/{ticket_id}/release-hold")


def test_tickets_that_share_an_identifier_are_pointed_out(api: Api) -> None:
    first = api.file("dup-1", subject=[{"kind": "email", "value": "Twin@Example.org"}])
    second = api.file("dup-2", subject=[{"kind": "email", "value": "twin@example.org"}])
    other = api.file("dup-3", subject=[{"kind": "email", "value": "else@example.org"}])
    assert api.get(f"/{second}").json()["possible_duplicates"] == [first]
    assert api.get(f"/{other}").json()["possible_duplicates"] == []


def test_lists_have_pages(api: Api) -> None:
    for i in range(3):
        api.file(f"page-{i}")
    seen: list[str] = []
    after = None
    while True:
        page = api.get("", limit=2, **({"after": after} if after else {})).json()
        seen += [t["ticket_id"] for t in page["tickets"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) >= 3
    assert {t["status"] for t in api.get("", status=["denied"]).json()["tickets"]} <= {"denied"}


def test_a_report_is_fetched_once_there_is_one(api: Api, template: Installation) -> None:
    ticket_id = api.file("report")
    assert code(api.get(f"/{ticket_id}/report")) == (404, "report.not_ready")
    assert code(api.get("/t-none/report")) == (404, "ticket.not_found")
    folder = template.path("reports", ticket_id)
    folder.mkdir()
    (folder / "report.json").write_text('{"ticket": 1}')
    (folder / "report.html").write_text("<h1>report</h1>")
    with api.store.write() as session:
        session.add(
            Report(
                ticket_id=ticket_id,
                json_path=f"reports/{ticket_id}/report.json",
                html_path=f"reports/{ticket_id}/report.html",
                digest="0" * 64,
                created_at=NOW,
            )
        )
    assert api.get(f"/{ticket_id}/report").json() == {"ticket": 1}
    page = api.get(f"/{ticket_id}/report", form="html")
    assert page.headers["content-type"].startswith("text/html")
    assert code(api.get(f"/{ticket_id}/report", form="docx")) == (422, "request.invalid")
    assert code(api.get(f"/{ticket_id}/report", form="pdf")) == (422, "report.invalid"), "this JSON is no report"
    assert api.get(f"/{ticket_id}").json()["report_ready"] is True


def test_the_audit_log_is_exported_and_holds_no_person(api: Api, template: Installation, tmp_path: Path) -> None:
    api.file("audited")
    answer = api.http.get("/v1/audit/export", headers=api.officer)
    assert answer.status_code == 200
    bundle = tmp_path / "audit.jsonl"
    bundle.write_bytes(answer.content)
    assert audit.verify(bundle, keys.trust_bundle(template.settings)).ok
    assert "anary" not in answer.text
    with api.store.read() as session:
        assert session.scalar(select(AuditEntryRow.seq).order_by(AuditEntryRow.seq.desc()).limit(1))


def test_nobody_finds_the_person_on_disk(api: Api, template: Installation) -> None:
    api.file("disk")
    for path in template.home.rglob("*"):
        assert "anary" not in path.name
        if path.is_file():
            content = path.read_bytes()
            assert EMAIL.encode() not in content
            assert b"Mara Canary" not in content


def test_the_stream_tells_events_progress_and_the_end(api: Api) -> None:
    ticket_id = _ready(api, "stream")
    run = _run(api, ticket_id)
    with api.store.write() as session:
        session.get_one(Run, run.run_id).progress = {"step": 4, "of": 10}
        transition_ticket(session, ticket_id, TicketEvent.CANCEL, actor="system:t")
    headers = {**api.officer, "Accept": "text/event-stream"}
    answer = api.http.get(f"/v1/tickets/{ticket_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = [m.split("\n") for m in answer.text.strip().split("\n\n")]
    kinds = [line.removeprefix("event: ") for m in messages for line in m if line.startswith("event: ")]
    assert kinds[0] == "ticket"
    assert kinds[-2:] == ["run", "end"]
    assert '"step": 4' in answer.text
    numbers = [line.removeprefix("id: ") for m in messages for line in m if line.startswith("id: ")]
    resumed = api.http.get(f"/v1/tickets/{ticket_id}/events", headers={**headers, "Last-Event-ID": numbers[-2]})
    assert resumed.text.count("event: ticket") == 1


def test_the_trace_of_the_intake_is_kept_for_the_run(api: Api) -> None:
    from services.store.tickets import find_ticket

    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    api.http.post("/v1/tickets", json=body("traced"), headers={**api.officer, "traceparent": trace})
    with api.store.read() as session:
        ticket = find_ticket(session, "api", "traced")
        assert ticket is not None
        assert ticket.trace_id == trace


def test_the_api_is_documented(api: Api) -> None:
    document = api.http.get("/openapi.json", headers=api.officer).json()
    filing = document["paths"]["/v1/tickets"]["post"]
    assert "requestBody" in filing
    assert {"200", "201", "401", "403", "409", "422"} <= set(filing["responses"])
    assert all(operation.get("description") for path in document["paths"].values() for operation in path.values())
