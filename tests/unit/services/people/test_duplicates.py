from datetime import timedelta
from typing import Any

import pytest

from policies.errors import LetheError
from tests.unit.services.people.desk import APPROVER, NOW, OFFICER, People

OTHER = [{"kind": "email", "value": "otto@example.org"}]


def test_a_repetition_is_closed_and_points_to_the_ticket_that_goes_on(people: People) -> None:
    first = people.file("first", received_at=(NOW - timedelta(minutes=1)).isoformat())
    second = people.file("second")
    for _ in range(2):
        assert people.desk.link_duplicate(second, first, OFFICER, reason="sent twice") == "cancelled"
    assert people.ask(second, lambda ticket: (ticket.reason_code, ticket.acts["duplicate_of"])) == ("duplicate", first)
    assert people.status(first) == "awaiting_approval"


def test_it_is_no_way_round_the_identity_check(people: People) -> None:
    """The advisory about request systems: a duplicate must not take the verification of another request."""
    verified = people.file("v-1")
    unverified = people.file("v-2", identity=None)
    third = people.file("v-3")
    for later, original in ((unverified, verified), (third, unverified)):
        with pytest.raises(LetheError) as refused:
            people.desk.link_duplicate(later, original, OFFICER, reason="the same")
        assert refused.value.code == "duplicate.refused"
        assert any("not verified" in detail for detail in refused.value.details)
    assert (people.status(unverified), people.status(third)) == ("awaiting_identity", "awaiting_approval")
    with pytest.raises(LetheError) as guarded:
        people.desk.approve(unverified, APPROVER)
    assert guarded.value.code == "lifecycle.forbidden"


@pytest.mark.parametrize(
    ("later", "earlier", "says"),
    [
        ({"subject": OTHER}, {}, "share no identifier"),
        ({"base": "another"}, {}, "another base"),
        ({"regime": "ccpa", "ground": None}, {}, "another base or law"),
        ({"received_at": (NOW - timedelta(minutes=2)).isoformat()}, {}, "the later one"),
    ],
)
def test_what_is_no_repetition(people: People, later: dict[str, Any], earlier: dict[str, Any], says: str) -> None:
    name = says.replace(" ", "-")
    original, ticket = people.file(f"{name}-1", **earlier), people.file(f"{name}-2", **later)
    with pytest.raises(LetheError) as refused:
        people.desk.link_duplicate(ticket, original, OFFICER, reason="the same")
    assert any(says in detail for detail in refused.value.details), refused.value.details


def test_a_repetition_adds_nothing_that_would_be_lost_with_it(people: People) -> None:
    mara = {"kind": "email", "value": "mara.canary@example.org"}
    work = {"kind": "email", "value": "mara@work.example"}
    first = people.file("part-1", subject=[mara, work], scope=["private.*"])
    for name, more, says in (
        ("part-2", {"subject": [mara, {"kind": "phone", "value": "+43 1 234567"}]}, "names identifiers"),
        ("part-3", {"subject": [mara]}, "asks for categories"),
    ):
        wider = people.file(name, **({"scope": ["private.email"]} if "identifiers" in says else {}), **more)
        with pytest.raises(LetheError) as refused:
            people.desk.link_duplicate(wider, first, OFFICER, reason="the same")
        assert [says in detail for detail in refused.value.details] == [True], refused.value.details
    inside = people.file("part-4", subject=[work], scope=["private.email", "private.*"])
    assert people.desk.link_duplicate(inside, first, OFFICER, reason="the same") == "cancelled"


def test_a_request_that_another_one_waits_for_is_not_withdrawn(people: People) -> None:
    first, second, before = people.file("waits-1"), people.file("waits-2"), people.file("waits-0")
    people.desk.link_duplicate(second, first, OFFICER, reason="sent twice")
    with pytest.raises(LetheError) as refused:
        people.desk.cancel(first, OFFICER, reason="withdrawn by its sender")
    assert refused.value.code == "lifecycle.guarded"
    assert "none repeats it" in refused.value.message
    with pytest.raises(LetheError) as linked:
        people.desk.link_duplicate(first, before, OFFICER, reason="the same")
    assert linked.value.details == ("this ticket has repetitions itself",)
    assert people.desk.approve(first, APPROVER) == "approved"
    assert people.desk.deny(first, OFFICER, reason="an answer to both") == "denied"


def test_neither_itself_nor_a_chain_nor_one_that_ended(people: People) -> None:
    first, second, third = (people.file(f"chain-{i}") for i in range(3))

    def why(ticket: str, original: str) -> str:
        with pytest.raises(LetheError) as refused:
            people.desk.link_duplicate(ticket, original, OFFICER, reason="the same")
        return " ".join(refused.value.details)

    assert "repeat itself" in why(first, first)
    people.desk.link_duplicate(second, first, OFFICER, reason="the same")
    assert "itself a repetition" in why(third, second)
    people.desk.deny(first, OFFICER, reason="not owed")
    assert "ended without an erasure" in why(third, first)


def test_four_eyes_hold_for_a_person_with_two_keys(people: People, tmp_path: Any) -> None:
    from policies.pack import PACKS
    from services.auth import Identity
    from services.settings import PolicySettings

    text = (
        (PACKS / "gdpr.yaml")
        .read_text()
        .replace("approvals: 1", "approvals: 2")
        .replace("four_eyes: false", "four_eyes: true")
    )
    (tmp_path / "ours.yaml").write_text(text)
    strict = People(people.store, PolicySettings(pack_path=tmp_path, zone=""))
    ticket_id = strict.file("eyes")
    old = Identity("k-1", frozenset(), "approver", "key:k-1")
    assert strict.desk.approve(ticket_id, old) == "awaiting_approval"
    rotated = Identity("k-2", frozenset(), "approver", "key:k-1")
    assert strict.desk.approve(ticket_id, rotated) == "awaiting_approval", "the same person"
    clerk = Identity("k-3", frozenset(), "admin", "key:k-clerk")
    with pytest.raises(LetheError) as refused:
        strict.desk.approve(ticket_id, clerk)
    assert refused.value.code == "ticket.approver_refused", "who entered it, with another key"
    assert strict.desk.approve(ticket_id, OFFICER) == "approved"


def test_an_extension_is_in_time_once_and_told_before(people: People) -> None:
    from policies.deadlines import Extension

    def extension(**more: Any) -> Extension:
        return Extension(**{"reason": "complexity", "notice_sent_at": NOW, "decided_by": "key:k-officer", **more})

    ticket_id = people.file("extended")
    with pytest.raises(LetheError) as early:
        people.desk.extend(ticket_id, extension(notice_sent_at=NOW + timedelta(hours=1)), OFFICER)
    assert early.value.code == "policy.extension_refused"
    for _ in range(2):
        people.desk.extend(ticket_id, extension(), OFFICER)
    assert people.ask(ticket_id, lambda ticket: ticket.due_at).date().isoformat() == "2026-06-10"
    with pytest.raises(LetheError) as again:
        people.desk.extend(ticket_id, extension(reason="number_of_requests"), OFFICER)
    assert "once" in again.value.message
    late = people.file("late")
    people.clock.now = NOW + timedelta(days=40)
    with pytest.raises(LetheError) as over:
        people.desk.extend(late, extension(notice_sent_at=NOW + timedelta(days=5)), OFFICER)
    assert "ended" in over.value.message


def test_who_records_an_identity_answers_for_it(people: People) -> None:
    from policies.ticket import IdentityEvidence

    ticket_id = people.file("who", identity=None)
    failed = IdentityEvidence(method="email_code", verified=False)
    given = IdentityEvidence(
        method="document", verified=True, evidence_ref="vault-9", verified_at=NOW, verified_by="key:somebody-else"
    )
    people.desk.verify_identity(ticket_id, failed, OFFICER)
    assert people.desk.verify_identity(ticket_id, given, OFFICER) == "awaiting_approval"
    acts = people.ask(ticket_id, lambda ticket: ticket.acts)
    assert acts["identity"]["verified_by"] == "key:k-officer"
    assert [one["verified"] for one in acts["identity_attempts"]] == [False, True]
    later = people.file("later", identity=None)
    ahead = given.model_copy(update={"verified_at": NOW + timedelta(days=1)})
    with pytest.raises(LetheError) as refused:
        people.desk.verify_identity(later, ahead, OFFICER)
    assert refused.value.code == "request.invalid"
