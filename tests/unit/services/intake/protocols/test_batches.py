"""CSV files of requests, through the whole stack."""

import csv
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from policies.errors import LetheError
from services.intake.protocols.csv_rows import rows
from services.intake.protocols.senders import NewSender
from services.request import request_of
from services.store.protocol_tables import BatchRow
from tests.unit.services.intake.protocols.conftest import Intake, code

EMAIL = "mara.canary@example.org"
HASHED = hashlib.sha256(EMAIL.encode()).hexdigest()
FILE = f"""reference,email,name,email_sha256,regime
r-1,{EMAIL},"Canary, Mara",,
r-2,,,{HASHED},ccpa
r-3,,,{HASHED[:-1]},
{EMAIL},{EMAIL},,,
r-5,,,,
r-6,{EMAIL},,,hammurabi
"""


@pytest.fixture(scope="module")
def broker(intake: Intake) -> NewSender:
    return intake.add("broker", "csv")


def send(intake: Intake, sender: NewSender, content: Any) -> Any:
    headers = {"Authorization": f"Bearer {sender.secret}", "Content-Type": "text/csv"}
    return intake.http.post("/v1/batches", content=content, headers=headers)


def result(intake: Intake, sender: NewSender, batch_id: str) -> list[dict[str, str]]:
    headers = {"Authorization": f"Bearer {sender.secret}"}
    answer = intake.http.get(f"/v1/batches/{batch_id}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert "canary" not in answer.text.lower()
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_each_row_is_filed_once_and_its_outcome_kept(intake: Intake, broker: NewSender) -> None:
    first = send(intake, broker, FILE)
    assert first.status_code == 201, first.text
    assert (first.json()["rows"], first.json()["counts"]) == (6, {"filed": 2, "refused": 4})
    lines = result(intake, broker, first.json()["batch_id"])
    assert [(one["row"], one["outcome"], one["code"]) for one in lines] == [
        ("1", "filed", ""),
        ("2", "filed", ""),
        ("3", "refused", "ticket.malformed"),
        ("4", "refused", "ticket.malformed"),
        ("5", "refused", "ticket.malformed"),
        ("6", "refused", "policy.unknown_regime"),
    ]
    with intake.store.read() as session:
        asked = [request_of(session, intake.ticket(one["ticket_id"])) for one in lines[:2]]
    assert (asked[0].external_id, asked[0].channel) == ("broker/r-1", "csv")
    assert [one.value for one in asked[0].subject] == [EMAIL, "Canary, Mara"]
    assert [(one.kind, one.form, one.value) for one in asked[1].subject] == [("email", "sha256", HASHED)]
    again = send(intake, broker, FILE)
    assert again.json()["counts"] == {"known": 2, "refused": 4}
    assert [one["ticket_id"] for one in result(intake, broker, again.json()["batch_id"])] == [
        one["ticket_id"] for one in lines
    ]


def test_a_batch_is_its_senders_own(intake: Intake, broker: NewSender) -> None:
    batch_id = send(intake, broker, FILE).json()["batch_id"]
    other = intake.add("broker2", "csv")
    hook = intake.add("broker3", "kertos")
    asked = {"Authorization": f"Bearer {other.secret}"}
    assert code(intake.http.get(f"/v1/batches/{batch_id}", headers=asked)) == (404, "batch.not_found")
    assert code(send(intake, hook, FILE)) == (403, "sender.unknown_key")
    assert intake.http.post("/v1/batches", content=FILE).status_code == 401
    assert intake.http.post("/v1/batches", content=FILE, headers=intake.officer).status_code == 403


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"email\na@b.example\n",
        b"reference,email,email\n",
        b"reference,mara@example.org\n",
        b"reference,email\n1,2,3\n",
        b"reference,email\nr,\xff\xfe\n",
        b'reference,email\nr,"a"b\n',
        b"reference,email\nr," + b"x" * 70_000,
        b'reference,email\nr,"' + b"x\n" * 70_000,
    ],
)
def test_a_file_that_is_none_is_refused(intake: Intake, broker: NewSender, content: bytes) -> None:
    answer = send(intake, broker, content)
    assert code(answer) == (422, "batch.malformed")
    assert "mara" not in answer.text


def test_what_came_before_a_fault_is_filed_and_said(intake: Intake, broker: NewSender) -> None:
    def broken() -> Iterator[bytes]:
        yield "\ufeffreference,email\nf-1,".encode()
        yield f"{EMAIL}\nf-2,a,b\n".encode()

    assert code(send(intake, broker, broken())) == (422, "batch.malformed")
    with intake.store.read() as session:
        last = session.scalars(select(BatchRow).order_by(BatchRow.batch_id)).all()
        assert [
            one.outcome for one in last if one.ticket_id and intake.ticket(one.ticket_id).external_id == "broker/f-1"
        ]
    mended = send(intake, broker, f"reference,email\nf-1,{EMAIL}\nf-2,{EMAIL}\n")
    assert mended.json()["counts"] == {"known": 1, "filed": 1}


def test_too_many_rows_and_bytes_are_refused(intake: Intake, broker: NewSender, monkeypatch: Any) -> None:
    protocols = intake.installation.settings.protocols
    assert protocols.batch_max_bytes > intake.installation.settings.intake.max_body_bytes
    headers = {"Authorization": f"Bearer {broker.secret}", "Content-Length": str(protocols.batch_max_bytes + 1)}
    assert code(intake.http.post("/v1/batches", content=b"x", headers=headers)) == (413, "request.too_large")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_where_the_pieces_of_a_file_end_changes_nothing(size: int, end: str) -> None:
    text = f'reference,name{end}r-1,"Ünal, ""Zoë""{end}x"{end}r-2,ß{end}r-3,last'
    data = b"\xef\xbb\xbf" + text.encode()
    found = list(rows(data[at : at + size] for at in range(0, len(data), size)))
    assert found == [
        (1, {"reference": "r-1", "name": f'Ünal, "Zoë"{end}x'}),
        (2, {"reference": "r-2", "name": "ß"}),
        (3, {"reference": "r-3", "name": "last"}),
    ]


def test_a_line_without_end_is_cut_short() -> None:
    with pytest.raises(LetheError, match=r"batch\.malformed"):
        list(rows(b"reference" + b"x" * 10_000 for _ in range(10)))
