"""Recipients are told by the control loop once the erasure is done, where the settings say so; the runner is a fake."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services import after_swap, control, jobs
from services.control import Control
from services.people import notices, recipients
from services.store.types import utc_now
from tests.smtp_server import Mailbox, smtp_server
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import Place

RECIPIENT = "crm-vendor"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with smtp_server() as opened:
        yield opened


@pytest.fixture
def place(make_place: Callable[..., Place], box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A person was erased whose data went to a recipient."""
    mail = {"host": "127.0.0.1", "port": box.port, "security": "none", "sender": "privacy@lethe.example"}
    made = make_place(mail={**mail, "recipients": {RECIPIENT: "privacy@crm.example"}, "send_notices": True})
    with made.store.write() as session:
        recipients.add(session, RECIPIENT, "data", None, actor="t", at=utc_now())
    run_id = made.released(0)
    made.serve()
    monkeypatch.setattr(control, "_desk", [(made.installation, made.store)])
    monkeypatch.setattr(jobs, "current", lambda: jobs.Job(workflow_id="w", run_id=run_id, attempt=0))
    gateway = FakeGateway(made.installation)
    monkeypatch.setattr(after_swap, "_asker", lambda _: gateway.asker())
    assert control.publish(run_id) == "completed"
    return made


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A fake queue that only remembers."""
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(jobs, "get", lambda _: None)
    monkeypatch.setattr(jobs, "submit", lambda workflow, name, args, **_: found.append((workflow, name, *args)))
    return found


def test_a_recipient_is_told_once_and_the_report_says_so(
    place: Place, box: Mailbox, submitted: list[tuple[Any, ...]]
) -> None:
    with place.store.read() as session:
        [notice] = notices.due(session)
    Control(place.installation, place.store).tick()
    assert [one for one in submitted if one[0] == "tell_recipient"] == [
        ("tell_recipient", f"{notice.notice_id}:mail-0.1", notice.notice_id)
    ]
    box.refused.add("privacy@crm.example")
    assert control.tell_recipient(notice.notice_id) == "letter.undeliverable"
    box.refused.clear()
    for _ in range(2):  # the same job once more, as after a crash
        assert control.tell_recipient(notice.notice_id) == "sent"
    [message] = box.arrived
    assert message["To"] == "privacy@crm.example"
    assert place.people[0].email in message.get_content()
    path = place.installation.path("reports", notice.ticket_id, "report.json")
    told = json.dumps(json.loads(path.read_text(encoding="utf-8")))
    assert RECIPIENT in told
    assert "privacy@crm.example" not in told
    submitted.clear()
    Control(place.installation, place.store).tick()
    assert [one for one in submitted if one[0] == "tell_recipient"] == []
