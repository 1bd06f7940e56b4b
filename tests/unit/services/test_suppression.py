"""Who is suppressed, from when to when: real store, seals, desk and index; replicas are rows that a test writes."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from policies.errors import LetheError
from policies.identifiers import words_of
from policies.lifecycle import TicketEvent, TicketStatus
from policies.suppression import Rule
from services import sealed_items, sealing, suppression, ticket
from services.corpus_index import open_index
from services.installation import create_installation
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.store import suppressions
from services.store.releases import add_release, get_desired, init_desired, report_replica
from services.store.suppressions import State
from services.store.tables import AuditEntryRow, SealedIdentity, Suppression
from services.store.tickets import get_ticket, transition_ticket
from services.store.types import utc_now
from tests.canary import Canary
from tests.unit.services.place import BASE, OFFICER, RELEASE_0, Place

OTHER = "c" * 64
REASON = "she asked for it by telephone"


def filed(place: Place, number: int = 1) -> str:
    person = place.people[number]
    return place.file(("name", person.names[0]), ("email", person.email))


def rows(place: Place, ticket_id: str) -> list[Suppression]:
    with place.store.read() as session:
        return suppressions.of_ticket(session, ticket_id)


def rules(place: Place, ticket_id: str) -> list[Rule]:
    key = sealing.load_suppression_key(place.installation.settings)
    return [
        Rule.from_json(sealing.open_rule(key, row.suppression_id, row.ciphertext))
        for row in rows(place, ticket_id)
        if row.ciphertext is not None
    ]


def state(place: Place, ticket_id: str) -> State:
    with place.store.read() as session:
        return suppression.state_of(session, get_ticket(session, ticket_id))


def version(place: Place) -> int:
    with place.store.read() as session:
        return get_desired(session, BASE).suppression_version


def entries(place: Place, kind: str) -> list[dict[str, Any]]:
    with place.store.read() as session:
        found = session.scalars(select(AuditEntryRow.payload).where(AuditEntryRow.kind == f"suppression.{kind}"))
        return [json.loads(payload) for payload in found]


def applies(place: Place, applied: int, *, replica: str = "r-1", lease_s: float = 60, generation: int = 0) -> bool:
    """A fake replica says which version of the rules it applies; gives whether it may answer."""
    with place.store.write() as session:
        return report_replica(
            session,
            replica,
            base_digest=BASE,
            state="ready",
            generation=generation,
            release_digest=RELEASE_0,
            lease_s=lease_s,
            suppression_version=applied,
        )


def tend(place: Place, *, repair: bool = False, enabled: bool = True) -> None:
    suppression.tend(place.store, enabled=enabled, repair=repair)


def lift(place: Place, ticket_id: str) -> int:
    with place.store.write() as session:
        return suppression.lift(session, ticket_id, actor="system:test")


def again(place: Place, ticket_id: str) -> None:
    with place.store.write() as session:
        suppression.suppress_again(session, ticket_id, suppression.ROLLBACK)


def test_it_begins_with_the_approval(place: Place) -> None:
    ticket_id = filed(place)
    (row,) = rows(place, ticket_id)
    assert (row.reason, row.base_digest, row.version) == ("approved", BASE, version(place))
    assert row.since == place.ticket(ticket_id).approved_at
    (rule,) = rules(place, ticket_id)
    assert " ".join(words_of(place.people[1].names[0])) in rule.names
    assert rule.identifiers
    (began,) = entries(place, "began")
    assert (began["ticket_id"], began["reason"], began["actor"]) == (ticket_id, "approved", OFFICER.actor)
    assert place.people[1].email not in json.dumps(began)
    assert state(place, ticket_id) == State(state="pending", since=row.since, reason="approved")


def test_every_base_that_is_served_has_a_row_and_one_that_comes_later_gets_one(place: Place) -> None:
    ticket_id = filed(place)
    with place.store.write() as session:
        first = add_release(session, digest="9" * 64, base_digest=OTHER, path="", watermark=(), verdict={}, actor="t")
        init_desired(session, first, actor="t")
    tend(place, repair=True)
    assert {row.base_digest for row in rows(place, ticket_id)} == {BASE, OTHER}
    assert {row.base_digest for row in rows(place, filed(place, 2))} == {BASE, OTHER}


def test_another_row_or_key_opens_nothing(place: Place) -> None:
    (row,) = rows(place, filed(place))
    key = sealing.load_suppression_key(place.installation.settings)
    assert row.ciphertext is not None
    for wrong, row_id in ((key, "x-other"), (bytes(32), row.suppression_id)):
        with pytest.raises(LetheError) as caught:
            sealing.open_rule(wrong, row_id, row.ciphertext)
        assert caught.value.code == "seal.corrupt"


def test_it_is_confirmed_once_every_replica_with_a_lease_applies_it(place: Place) -> None:
    applies(place, 0, replica="r-1")
    applies(place, 0, replica="r-2")
    applies(place, 0, replica="r-3", lease_s=-1)
    ticket_id = filed(place)
    tend(place)
    with place.store.read() as session:
        assert suppression.pending(session, ticket_id, enabled=True)
        assert suppression.active_tickets(session, BASE) == set()
    applies(place, version(place), replica="r-1")
    tend(place)
    assert state(place, ticket_id).state == "pending"
    applies(place, version(place), replica="r-2")
    for _ in range(2):
        tend(place)
    found = state(place, ticket_id)
    assert (found.state, found.confirmed_at is not None) == ("confirmed", True)
    assert [(one["replicas"], one["ticket_id"]) for one in entries(place, "confirmed")] == [(2, ticket_id)]
    with place.store.read() as session:
        assert not suppression.pending(session, ticket_id, enabled=True)
        assert suppression.active_tickets(session, BASE) == {ticket_id}


def test_a_replica_of_a_newer_store_confirms_nothing(place: Place) -> None:
    """After an older copy was restored it goes on under its lease, and applies none of this store's rules."""
    applies(place, 9, generation=2)
    ticket_id = filed(place)
    tend(place)
    assert state(place, ticket_id).state == "pending"
    applies(place, version(place))
    tend(place)
    assert state(place, ticket_id).state == "confirmed"


def test_who_comes_after_the_confirmation_answers_only_with_the_rule(place: Place) -> None:
    """A lease that ran out is not waited for, so another begins only once the rule is applied."""
    applies(place, 0, lease_s=-1)
    ticket_id = filed(place)
    tend(place)
    assert state(place, ticket_id).state == "confirmed"
    assert not applies(place, 0)
    assert applies(place, version(place))
    lift(place, ticket_id)
    assert applies(place, 0, replica="r-2")  # nobody is suppressed any more


def test_where_nobody_serves_it_is_confirmed_at_once(place: Place) -> None:
    ticket_id = filed(place)
    tend(place)
    assert state(place, ticket_id).state == "confirmed"


def test_the_look_up_widens_it_with_what_only_this_person_s_records_say(place: Place) -> None:
    ticket_id = filed(place)
    (narrow,), before = rules(place, ticket_id), version(place)
    tend(place)
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.READY
    (wide,) = rules(place, ticket_id)
    assert set(narrow.names) <= set(wide.names)
    assert len(wide.phrases) > 5
    assert rows(place, ticket_id)[0].version == version(place) == before + 1
    assert state(place, ticket_id).state == "confirmed"
    assert entries(place, "widened")[0]["phrases"] == len(wide.phrases)
    with open_index(place.installation, place.store) as index:
        said = index.said_outside([tuple(one.split()) for one in wide.phrases], place.people[1].records)
    assert said == set()
    with place.store.write() as session:
        suppression.widen(session, ticket_id, wide, actor="t")
    assert version(place) == before + 1


@pytest.mark.parametrize("ended", ["cancelled", "denied", "nothing_found"])
def test_it_ends_with_a_ticket_that_comes_to_nothing(place: Place, ended: str) -> None:
    ticket_id = place.file(("email", "nobody.at.all@nowhere.example"))
    sealed = rows(place, ticket_id)[0].ciphertext
    before = version(place)
    if ended == "nothing_found":
        ticket.look_up(place.installation, place.store, ticket_id)
    elif ended == "denied":
        place.desk.deny(ticket_id, OFFICER, reason=REASON)
    else:
        place.desk.cancel(ticket_id, OFFICER)
    (row,) = rows(place, ticket_id)
    assert row.ciphertext is None
    assert version(place) == before + 1
    assert state(place, ticket_id).state == "lifted"
    assert [(one["why"], one["ticket_id"]) for one in entries(place, "lifted")] == [(ended, ticket_id)]
    assert sealed is not None
    files = [path.read_bytes() for path in place.installation.home.glob("lethe.sqlite*")]
    assert not any(sealed in content for content in files)
    with place.store.read() as session:
        assert sealed_items.items_of(session, ticket_id) == []


def test_a_hold_keeps_it_and_so_does_its_end(place: Place) -> None:
    ticket_id = filed(place)
    place.desk.hold(ticket_id, OFFICER, reason=REASON)
    tend(place, repair=True)
    assert state(place, ticket_id).state == "confirmed"
    place.desk.release_hold(ticket_id, OFFICER)
    assert state(place, ticket_id).state == "confirmed"
    place.desk.approve(ticket_id, OFFICER)
    assert len(rows(place, ticket_id)) == 1


def test_a_crash_anywhere_is_made_up_for(place: Place) -> None:
    """Rows that are not there, and rows of tickets that have ended; a repair twice is the same as once."""
    ticket_id, ended = filed(place, 1), filed(place, 2)
    with place.store.write() as session:
        for row in suppressions.of_ticket(session, ticket_id):
            session.delete(row)
        transition_ticket(session, ended, TicketEvent.CANCEL, actor="t")
        assert suppressions.active(session, ticket_id=ended)
        assert suppression.pending(session, ticket_id, enabled=True)
    for _ in range(2):
        tend(place, repair=True)
    assert [row.reason for row in rows(place, ticket_id)] == ["approved"]
    assert state(place, ended).state == "lifted"


def test_a_lost_key_is_made_anew_and_so_are_the_rules(place: Place) -> None:
    pending, erased = filed(place, 1), place.ready(2)
    lift(place, erased)
    again(place, erased)
    before = [rules(place, pending), rules(place, erased)]
    (place.installation.settings.key_directory / "suppression").unlink()
    create_installation(place.installation.settings)
    store = place.installation.open_store()
    for _ in range(2):
        suppression.tend(store, enabled=True, repair=True)
    store.close()
    assert [rules(place, pending), rules(place, erased)] == before
    assert [row.reason for row in rows(place, erased)] == ["approved", "rollback"]
    assert [one["ticket_id"] for one in entries(place, "remade")] == [pending, erased]


def test_one_damaged_request_leaves_nobody_else_unsuppressed(place: Place) -> None:
    damaged, whole = filed(place, 1), filed(place, 2)
    with place.store.write() as session:
        for ticket_id in (damaged, whole):
            for row in suppressions.of_ticket(session, ticket_id):
                session.delete(row)
        session.get_one(SealedIdentity, get_ticket(session, damaged).subject_ref).ciphertext = b"LS1 damaged"
    tend(place, repair=True)
    assert (len(rows(place, damaged)), len(rows(place, whole))) == (0, 1)


def test_after_the_probes_the_rule_is_kept_under_the_subject_s_own_key(place: Place) -> None:
    ticket_id = place.ready(1)
    (wide,) = rules(place, ticket_id)
    expires = utc_now() + timedelta(days=30)
    with place.store.write() as session:
        subject = get_ticket(session, ticket_id).subject_ref
        sealed_items.put(session, subject, ticket_id, sealed_items.PROBES, [1], ground="test", expires_at=expires)
    assert lift(place, ticket_id) == 1
    assert lift(place, ticket_id) == 0
    with place.store.read() as session:
        items = {item.purpose: item.expires_at for item in sealed_items.items_of(session, ticket_id)}
    assert items == {"probes": expires, "suppression": expires}
    assert rules(place, ticket_id) == []
    for _ in range(2):
        again(place, ticket_id)
    assert rules(place, ticket_id) == [wide]
    assert state(place, ticket_id).reason == "rollback"
    tend(place, repair=True)  # what a rollback began does for the approval too
    assert len(rows(place, ticket_id)) == 2
    assert lift(place, ticket_id) == 1
    with place.store.read() as session:
        kept = {item.purpose: item.expires_at for item in sealed_items.items_of(session, ticket_id)}
    assert kept == items


def test_where_the_pack_keeps_nothing_nobody_can_be_suppressed_again(place: Place) -> None:
    ticket_id = place.ready(1)
    with place.store.write() as session:
        found = get_ticket(session, ticket_id)
        found.decision = {**(found.decision or {}), "keep_probes": "none"}
    lift(place, ticket_id)
    with place.store.read() as session:
        assert sealed_items.items_of(session, ticket_id) == []
    with pytest.raises(LetheError) as caught:
        again(place, ticket_id)
    assert caught.value.code == "seal.item_missing"


def test_with_the_subject_s_key_the_rule_is_gone_too(place: Place) -> None:
    ticket_id = filed(place)
    with place.store.write() as session:
        sealing.destroy(session, get_ticket(session, ticket_id).subject_ref)
    assert [row.ciphertext for row in rows(place, ticket_id)] == [None]
    assert entries(place, "lifted")[0]["why"] == "key_destroyed"


def test_a_restriction_needs_no_approval_and_outlasts_none(place: Place) -> None:
    ticket_id = unapproved(place)
    assert place.desk.restrict(ticket_id, OFFICER, reason=REASON) == TicketStatus.AWAITING_APPROVAL
    place.desk.restrict(ticket_id, OFFICER, reason=REASON)
    (row,) = rows(place, ticket_id)
    assert (row.reason, state(place, ticket_id).state) == ("restriction", "pending")
    place.desk.approve(ticket_id, OFFICER)
    assert [row.reason for row in rows(place, ticket_id)] == ["restriction", "approved"]
    place.desk.unrestrict(ticket_id, OFFICER, reason=REASON)
    tend(place, repair=True)
    assert [row.lifted_at is None for row in rows(place, ticket_id)] == [False, True]
    assert state(place, ticket_id).reason == "approved"
    place.desk.cancel(ticket_id, OFFICER)
    assert [row.lifted_at is None for row in rows(place, ticket_id)] == [False, False]
    with pytest.raises(LetheError) as caught:
        place.desk.restrict(ticket_id, OFFICER, reason=REASON)
    assert caught.value.code == "lifecycle.forbidden"


def unapproved(place: Place, **more: Any) -> str:
    now = utc_now().isoformat()
    identity = {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": now}
    person = place.people[1]
    body = {
        "external_id": "open",
        "regime": "gdpr",
        "ground": "withdrawn_consent",
        "base": "demo",
        "subject": [{"kind": "name", "value": person.names[0]}],
        "identity": identity,
        **more,
    }
    return place.desk.file(json.dumps(body).encode(), OFFICER)[0]


def test_who_was_not_recognised_restricts_nobody_and_what_is_free_stays_free(place: Place) -> None:
    ticket_id = unapproved(place, identity=None)
    with pytest.raises(LetheError) as caught:
        place.desk.restrict(ticket_id, OFFICER, reason=REASON)
    assert caught.value.code == "lifecycle.guarded"
    with pytest.raises(LetheError) as caught:
        place.desk.unrestrict(ticket_id, OFFICER, reason=REASON)
    assert caught.value.code == "suppression.not_restricted"
    assert rows(place, ticket_id) == []


def test_a_restriction_after_the_look_up_is_as_wide(place: Place) -> None:
    ticket_id = place.ready(1)
    place.desk.restrict(ticket_id, OFFICER, reason=REASON)
    approved, restricted = rules(place, ticket_id)
    assert approved == restricted
    assert approved.phrases


def test_a_restriction_leaves_the_reason_why_a_ticket_waits(place: Place) -> None:
    ticket_id = filed(place)
    with place.store.write() as session:
        get_ticket(session, ticket_id).reason_code = "forget_set.whole_corpus"
    place.desk.restrict(ticket_id, OFFICER, reason=REASON)
    assert place.ticket(ticket_id).reason_code == "forget_set.whole_corpus"


def test_switched_off_is_recorded_and_told_and_leaves_nothing_standing(place: Place) -> None:
    before = filed(place, 1)
    desk = Desk(place.store, Packs(place.installation.settings.policy), suppress=False)
    ticket_id = unapproved(place)
    desk.approve(ticket_id, OFFICER)
    assert (rows(place, ticket_id), state(place, ticket_id)) == ([], State(state="off"))
    assert [one["ticket_id"] for one in entries(place, "off")] == [ticket_id]
    with pytest.raises(LetheError) as caught:
        desk.restrict(ticket_id, OFFICER, reason=REASON)
    assert caught.value.code == "suppression.off"
    for _ in range(2):
        tend(place, repair=True, enabled=False)
    assert state(place, before).state == "lifted"
    assert len(entries(place, "off")) == 2
    with place.store.read() as session:
        assert not suppression.pending(session, ticket_id, enabled=False)
    tend(place, repair=True)  # on again
    assert {state(place, one).state for one in (before, ticket_id)} == {"confirmed"}


def test_nobody_finds_the_person_while_suppressed_nor_afterwards(
    make_place: Callable[..., Place], capfd: pytest.CaptureFixture[str]
) -> None:
    place = make_place()
    person = place.people[1]
    ticket_id = place.ready(1)
    (wide,) = rules(place, ticket_id)
    spelt = {"name": wide.names, "identifier": wide.identifiers, "phrase": wide.phrases, "given": [person.email]}
    canary = Canary({kind: [text for text in texts if len(text) >= 10] for kind, texts in spelt.items()})
    index = place.installation.home / "index"  # holds the corpus: docs/architecture.md
    assert canary.search(place.installation.home, skip=[index]) == []
    place.desk.restrict(ticket_id, OFFICER, reason=f"a word about {person.names[0]}")
    assert canary.search(place.installation.home, skip=[index]) == []
    lift(place, ticket_id)
    again(place, ticket_id)
    tend(place, repair=True)
    place.desk.cancel(ticket_id, OFFICER)
    assert canary.search(place.installation.home, skip=[index]) == []
    assert canary.in_text("".join(capfd.readouterr()), "output") == []
