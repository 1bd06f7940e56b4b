from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policies.deadlines import Extension
from policies.decisions import NO_RULE, Approval, Decision, DecisionContext, count_approvals, decide
from policies.errors import LetheError
from policies.lifecycle import TICKET, TicketContext, TicketEvent, TicketStatus
from policies.pack import PACKS, PolicyPack, load_pack
from policies.ticket import IdentityEvidence, TicketRequest, parse_ticket

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CANARY = "mara.quist@example.org"
VERIFIED = IdentityEvidence(method="email_code", verified=True, evidence_ref="ev-1", verified_at=NOW)
YES = Approval(by="user-1", role="privacy_officer", at=NOW)
READY = DecisionContext(identity=VERIFIED, approvals=(YES,))


def ticket(**changes: Any) -> TicketRequest:
    body: dict[str, Any] = {
        "external_id": "dsr-1",
        "regime": "gdpr",
        "base": "demo",
        "ground": "withdrawn_consent",
        "subject": [{"kind": "email", "value": CANARY}],
    }
    return parse_ticket(body | changes, now=NOW)


def pack(tmp_path: Path, *changes: tuple[str, str]) -> PolicyPack:
    text = (PACKS / "gdpr.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_pack(path)


def gdpr(context: DecisionContext = READY, now: datetime = NOW, **changes: Any) -> Decision:
    return decide(ticket(**changes), load_pack("gdpr"), context, now)


@pytest.mark.parametrize(
    ("context", "outcome", "rule", "article"),
    [
        (DecisionContext(), "await_identity", "identity-missing", "Art. 12(6)"),
        (replace(READY, approvals=()), "await_approval", "approval", "Art. 5(2)"),
        (READY, "approve", "erase", "Art. 17(1)"),
        (replace(READY, hold_active=True), "hold", "legal-hold", "Art. 17(3)(e)"),
        (
            replace(READY, identity=VERIFIED.model_copy(update={"method": "a_hunch"})),
            "await_identity",
            "identity-method",
            "Art. 12(6)",
        ),
    ],
)
def test_the_first_rule_that_holds_decides(context: DecisionContext, outcome: str, rule: str, article: str) -> None:
    found = gdpr(context)
    assert (found.outcome, found.rule_id, found.article) == (outcome, rule, article)
    assert found.pack_digest == load_pack("gdpr").digest
    assert rule not in found.rules_tried
    assert article in found.explanation
    assert rule in found.explanation


def test_a_decision_names_ground_deadline_and_thresholds() -> None:
    found = gdpr()
    assert (found.ground, found.ground_article) == ("withdrawn_consent", "Art. 17(1)(b)")
    assert found.deadlines.answer_by.date().isoformat() == "2026-12-21"
    assert found.thresholds == load_pack("gdpr").thresholds
    assert found.rules_tried == ("legal-hold", "identity-missing", "identity-method", "approval")


def test_what_is_kept_makes_it_a_part_denial_with_its_article() -> None:
    found = gdpr()
    assert found.partial
    assert found.letter == "partly_erased"
    kept = found.kept("public.occupation")
    assert kept is not None
    assert (kept.article, kept.basis) == ("Art. 17(3)(a)", "house")
    assert found.kept("private.email") is None
    assert found.kept(None) is None, "a record without category is always in the forget set"
    assert "public.* (Art. 17(3)(a))" in found.explanation


def test_a_waived_exemption_keeps_nothing() -> None:
    found = gdpr(replace(READY, waived=frozenset({"expression_and_information"})))
    assert not found.partial
    assert found.kept_categories == ()
    assert found.letter == "erased"


def test_a_narrow_scope_is_no_part_denial() -> None:
    found = gdpr(scope=["private.*"])
    assert not found.partial
    kept = found.kept("generic")
    assert kept is not None
    assert kept.exemption == "not_requested"
    assert found.kept("private.email") is None


def test_an_exemption_may_depend_on_a_condition(tmp_path: Path) -> None:
    mine = pack(tmp_path, ("keeps: [public.*]", "keeps: [public.*]\n    when: '!(\"child\" in ticket.notes)'"))
    assert decide(ticket(), mine, READY, NOW).partial
    assert not decide(ticket(notes=["child"]), mine, READY, NOW).partial


def test_the_hold_of_the_ticket_counts_until_a_person_says_otherwise() -> None:
    assert gdpr(legal_hold=True).outcome == "hold"
    assert gdpr(legal_hold=True).hold_review_by is not None
    assert gdpr(replace(READY, hold_active=False), legal_hold=True).outcome == "approve"


def test_where_no_rule_fires_a_person_decides(tmp_path: Path) -> None:
    mine = pack(tmp_path, ('when: "true"\n    outcome: approve', "when: ticket.by_agent\n    outcome: approve"))
    found = decide(ticket(), mine, READY, NOW)
    assert (found.outcome, found.rule_id, found.letter) == ("await_approval", NO_RULE, "in_review")
    assert len(found.rules_tried) == len(mine.data.rules)


def test_an_identity_check_that_is_switched_off_is_said(tmp_path: Path) -> None:
    mine = pack(tmp_path, ("identity:\n  required: true", "identity:\n  required: false"))
    found = decide(ticket(), mine, replace(READY, identity=None), NOW)
    assert found.outcome == "approve"
    assert not found.identity_required
    assert "does not require an identity check" in found.explanation


def test_approvals_count_people_and_roles(tmp_path: Path) -> None:
    four = pack(tmp_path, ("approvals: 1", "approvals: 2"), ("four_eyes: false", "four_eyes: true"))
    second = Approval(by="user-2", role="admin", at=NOW)
    assert count_approvals(four, (YES, YES), None) == 1
    assert count_approvals(four, (YES, replace(second, role="guest")), None) == 1
    assert count_approvals(four, (YES, second), None) == 2
    assert count_approvals(four, (YES, second), "user-2") == 1
    assert (
        decide(ticket(), four, replace(READY, approvals=(YES, second), entered_by="user-2"), NOW).approvals_given == 1
    )
    assert decide(ticket(), four, replace(READY, approvals=(YES, second)), NOW).outcome == "approve"


def test_ccpa_denies_what_cannot_be_verified_in_time() -> None:
    ccpa = load_pack("ccpa")
    late = ticket(regime="ccpa", ground=None, received_at=(NOW - timedelta(days=46)).isoformat())
    found = decide(late, ccpa, DecisionContext(), NOW)
    assert (found.outcome, found.rule_id, found.letter) == ("deny", "identity-not-verifiable", "not_verified")
    assert found.kept_categories == ()
    assert "overdue" in found.explanation
    assert decide(late, ccpa, replace(READY), NOW).outcome == "approve"
    assert decide(ticket(regime="ccpa", ground=None), ccpa, DecisionContext(), NOW).outcome == "await_identity"


@pytest.mark.parametrize(
    ("ground", "article"),
    [("withdrawn_consent", "Art. 18 VI"), ("unlawful_processing", "Art. 18 IV"), (None, "Art. 16")],
)
def test_lgpd_names_the_article_of_the_ground(ground: str | None, article: str) -> None:
    found = decide(ticket(regime="lgpd", ground=ground), load_pack("lgpd"), READY, NOW)
    assert (found.outcome, found.article) == ("approve", article)
    assert "a house choice" in found.explanation


def test_an_extension_moves_the_deadline() -> None:
    extension = Extension(reason="complexity", notice_sent_at=NOW, decided_by="user-1")
    found = gdpr(replace(READY, extension=extension), now=NOW + timedelta(days=40))
    assert found.deadlines.extended
    assert not found.deadlines.overdue(NOW + timedelta(days=40))


def test_a_ground_recorded_later_and_an_unknown_one() -> None:
    assert gdpr(replace(READY, ground="objection"), ground=None).ground_article == "Art. 17(1)(c)"
    for context, ground in ((READY, "because"), (replace(READY, ground="because"), None)):
        with pytest.raises(LetheError, match="withdrawn_consent") as caught:
            gdpr(context, ground=ground)
        assert caught.value.code == "policy.unknown_ground"


def test_the_pack_of_another_law_is_refused() -> None:
    with pytest.raises(LetheError) as caught:
        decide(ticket(), load_pack("ccpa"), READY, NOW)
    assert caught.value.code == "policy.unknown_regime"


def test_a_decision_is_a_pure_function_without_personal_data() -> None:
    assert gdpr() == gdpr()
    assert CANARY not in gdpr().model_dump_json()
    assert Decision.model_validate_json(gdpr().model_dump_json()) == gdpr()


@pytest.mark.parametrize("regime", ["gdpr", "uk_gdpr", "ccpa", "lgpd"])
def test_a_ticket_walks_from_receipt_to_approval_under_every_law(regime: str) -> None:
    events = {
        "await_identity": TicketEvent.REQUIRE_IDENTITY,
        "await_approval": TicketEvent.REQUIRE_APPROVAL,
        "approve": TicketEvent.APPROVE,
    }
    status, law = TICKET.apply(None, TicketEvent.RECEIVE, TicketContext()), load_pack(regime)
    request = ticket(regime=regime, ground=None)
    context, seen = DecisionContext(), TicketContext()
    for change in ({}, {"identity": VERIFIED}, {"approvals": (YES,)}):
        context = replace(context, **change)
        found = decide(request, law, context, NOW)
        if "identity" in change:
            seen = replace(seen, identity_verified=True)
            status = TICKET.apply(status, TicketEvent.VERIFY_IDENTITY, seen)
        seen = replace(seen, approvals_given=found.approvals_given, approvals_needed=found.approvals_needed)
        status = TICKET.apply(status, events[found.outcome], seen)
    assert status is TicketStatus.APPROVED
