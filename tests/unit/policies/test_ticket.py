import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import LetheError
from policies.ticket import MAX_BODY_BYTES, TicketRequest, parse_ticket, ticket_json_schema

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CANARY = "mara.quist@example.org"


def body(**changes: Any) -> dict[str, Any]:
    ticket: dict[str, Any] = {
        "external_id": "dsr-1",
        "regime": "gdpr",
        "base": "demo",
        "subject": [{"kind": "email", "value": CANARY}, {"kind": "name", "value": " Mara Quist "}],
    }
    return {key: value for key, value in (ticket | changes).items() if value is not ...}


def faults(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(LetheError) as caught:
        parse_ticket(body(**changes), now=NOW)
    assert caught.value.code == "ticket.malformed"
    return caught.value.details


def test_a_ticket_is_read_and_its_receipt_is_now() -> None:
    ticket = parse_ticket(json.dumps(body()), now=NOW)
    assert ticket.received_at == NOW
    assert ticket.subject[1].value == "Mara Quist"
    assert ticket.scope == ("*",)
    assert parse_ticket(ticket.model_dump_json(), now=NOW) == ticket


def test_a_clock_that_is_a_little_ahead_counts_as_now() -> None:
    ahead = (NOW + timedelta(seconds=0.2)).isoformat()
    for told in ({"submitted_at": ahead}, {"received_at": ahead, "submitted_at": ahead}):
        ticket = parse_ticket(body(**told), now=NOW)
        assert ticket.received_at == ticket.submitted_at == NOW
    ticket = parse_ticket(body(received_at=(NOW - timedelta(days=1)).isoformat()), now=NOW)
    assert (ticket.received_at, ticket.submitted_at) == (NOW - timedelta(days=1), None)


def test_bytes_text_and_mapping_are_the_same() -> None:
    text = json.dumps(body())
    assert parse_ticket(text, now=NOW) == parse_ticket(text.encode(), now=NOW) == parse_ticket(body(), now=NOW)


def test_neither_repr_nor_str_shows_the_subject() -> None:
    ticket = parse_ticket(body(), now=NOW)
    assert CANARY not in repr(ticket) + str(ticket) + repr(ticket.subject)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"external_id": ...}, "external_id: Field required"),
        ({"external_id": CANARY}, "external_id: String should match pattern"),
        ({"external_id": "x" * 200}, "external_id: String should match pattern"),
        ({"request_type": "access"}, "request_type: Input should be 'erasure'"),
        ({"subject": []}, "subject: Tuple should have at least 1 item"),
        ({"subject": [{"kind": "name", "value": str(i)} for i in range(33)]}, "subject: Tuple should have at most 32"),
        ({"subject": [{"kind": "mail", "value": CANARY}]}, "subject.0.kind: Input should be 'email'"),
        ({"subject": [{"kind": "email", "value": " "}]}, "subject.0.value: String should have at least 1"),
        ({"subject": [{"kind": "email", "value": "a" * 321}]}, "subject.0.value: String should have at most 320"),
        ({"subject": [{"kind": "name", "value": "a\nb"}]}, "subject.0.value: control characters"),
        ({"subject": [{"kind": "name", "value": "a"}] * 2}, "ticket: subject: an identifier is given twice"),
        ({"received_at": "2026-11-20"}, "received_at: must be a date and time with time zone"),
        ({"received_at": "2026-11-20T10:00:00"}, "received_at: must be a date and time with time zone"),
        ({"received_at": 1}, "received_at: must be"),
        ({"received_at": "1763632800"}, "received_at: must be a date and time with time zone"),
        ({"received_at": (NOW + timedelta(hours=1)).isoformat()}, "received_at: lies in the future"),
        ({"submitted_at": (NOW + timedelta(hours=1)).isoformat()}, "ticket: submitted_at is later"),
        ({"received_at": "0001-01-01T00:00:00+00:00"}, "received_at: lies before 2000"),
        ({"submitted_at": "1999-12-31T23:00:00Z"}, "submitted_at: lies before 2000"),
        ({"received_at": "0001-01-01T00:00:00+14:00"}, "received_at: lies before 2000"),
        (
            {"received_at": "9999-12-31T23:59:59-12:00", "submitted_at": NOW.isoformat()},
            "received_at: lies in the future",
        ),
        ({"legal_hold": "yes"}, "legal_hold: Input should be a valid boolean"),
        ({"notes": ["free text here"]}, "notes.0: String should match pattern"),
        ({"scope": ["private.*.x"]}, "scope.0: String should match pattern"),
        ({"base": "../etc"}, "base: String should match pattern"),
        ({"identity": {"method": "email_code", "verified": True}}, "identity: a verified identity needs"),
        ({"identity": {"method": "email_code", "evidence_ref": CANARY}}, "identity.evidence_ref: String should match"),
        ({"comment": "please"}, "comment: no such field"),
    ],
)
def test_each_fault_is_named_by_its_path(changes: dict[str, Any], fault: str) -> None:
    found = faults(**changes)
    assert len(found) == 1, found
    assert found[0].startswith(fault)


def test_every_fault_is_named_at_once_and_no_value() -> None:
    found = faults(external_id=CANARY, base=CANARY, subject=[{"kind": CANARY, "value": CANARY, CANARY: 1}])
    assert len(found) == 4
    assert CANARY not in " ".join(found)
    assert "subject.0.(unknown field): no such field" in found


@given(st.dictionaries(st.sampled_from(list(TicketRequest.model_fields)), st.just(CANARY) | st.just([CANARY])))
def test_no_fault_ever_shows_a_value(changes: dict[str, Any]) -> None:
    said = ""
    try:
        parse_ticket(body(**changes), now=NOW)
    except LetheError as error:
        said = error.message + " ".join(error.details)
    assert CANARY not in said


@pytest.mark.parametrize("regime", ["hipaa", "GDPR", "x y", ""])
def test_an_unknown_regime_has_its_own_code(regime: str) -> None:
    with pytest.raises(LetheError, match="ccpa, gdpr, lgpd, uk_gdpr") as caught:
        parse_ticket(body(regime=regime), now=NOW)
    assert caught.value.code == "policy.unknown_regime"


def test_a_regime_of_ones_own_is_known_when_it_is_named() -> None:
    assert parse_ticket(body(regime="pipeda"), now=NOW, regimes={"pipeda"}).regime == "pipeda"


@pytest.mark.parametrize("text", [b"\xff", "{", "[]", "1", "[" * 100_000, "x" * (MAX_BODY_BYTES + 1)])
def test_what_is_no_json_object_is_unreadable(text: str | bytes) -> None:
    with pytest.raises(LetheError) as caught:
        parse_ticket(text, now=NOW)
    assert caught.value.code == "ticket.unreadable"


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(LetheError) as caught:
        parse_ticket('{"regime": "gdpr", "regime": "ccpa"}', now=NOW)
    assert caught.value.details == ("a field is given twice",)


def test_the_schema_accepts_what_the_parser_accepts() -> None:
    schema = ticket_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(body(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body(comment="x"), schema)
    assert all("description" in prop for prop in schema["properties"].values())
