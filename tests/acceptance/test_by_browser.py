"""Form, approval, namesakes, run, verdict, report, letters: one ticket as people see it, in headless Chromium."""

from pathlib import Path

import pytest

from tests.acceptance.by_browser import Seen
from tests.acceptance.conftest import RECIPIENT, THIRD, Erasure, Walk, truth_of

pytestmark = pytest.mark.slow


def test_a_person_asks_with_a_code_from_their_mail(seen: Seen, third: Erasure) -> None:
    assert third.ticket["channel"] == "form"
    assert third.ticket["identity_verified"]
    assert third.ticket_id in seen.asked


def test_the_officer_sees_it_on_the_board_and_approves(seen: Seen, third: Erasure) -> None:
    assert "To approve" in seen.board
    assert third.person.email in seen.person
    assert third.person.names[0] in seen.person
    assert "A code proved the e-mail address and nothing else" in seen.person
    [approval] = third.ticket["approvals"]
    assert approval["role"] == "privacy_officer"
    assert third.ticket["decision"]["ground"] == "withdrawn_consent"


def test_the_officer_sorts_the_namesakes_records(seen: Seen, third: Erasure, corpus: Path) -> None:
    said = {"mine": "confirm", "other": "deny"}
    decided = {match["record_id"]: match["decision"] for match in third.ticket["matches"]}
    assert decided == {record: said[answer] for record, answer in seen.sorted_records.items()}
    assert {record for record, answer in decided.items() if answer == "confirm"} <= truth_of(corpus, THIRD)
    assert "deny" in decided.values()


def test_the_open_page_came_to_the_end_by_itself(seen: Seen) -> None:
    assert seen.live == "Erased."
    assert len(seen.steps) == 9
    assert all(step.startswith("✓") for step in seen.steps), seen.steps


def test_the_verdict_is_shown_with_its_plots(seen: Seen, third: Erasure) -> None:
    assert "every threshold of the policy is met" in seen.verdict
    for gate in third.report["gates"]:
        if not gate["name"].startswith("attack:") and gate["value"] is not None:
            assert f"{gate['value']:.3f}" in seen.verdict
    assert {path.rpartition("/")[2] for path in seen.plots} == {"metrics.svg", "attacks.svg", "training.svg"}
    assert min(seen.plots.values()) > 100


def test_the_report_is_read_as_page_pdf_and_json(seen: Seen, third: Erasure) -> None:
    assert third.ticket_id in seen.report
    assert third.person.email not in seen.report
    assert seen.pdf == (200, "%PDF-")
    assert seen.report_json["summary"] == third.report["summary"]


def test_the_answer_and_the_notice_went_out_once(seen: Seen, third: Erasure, walk: Walk) -> None:
    assert set(seen.letters) == {"the person", RECIPIENT}
    mails = [(mail["To"], mail["Subject"], mail.get_content()) for mail in walk.box.arrived]
    [code, answer] = [text for to, _, text in mails if to == third.person.email]
    assert "Your code" in code
    assert "The changed model has been in use since" in answer
    for kept in third.ticket["decision"]["kept_categories"]:
        assert f"- {kept['pattern']}: {kept['article']}" in answer
    [notice] = [text for to, _, text in mails if to == "privacy@crm.example"]
    assert third.person.email in notice
    assert len(mails) == 3
    assert all(third.person.email not in subject for _, subject, _ in mails)


def test_release_and_log_are_told_as_they_are(seen: Seen, third: Erasure) -> None:
    assert f"generation {third.generations[1]}" in seen.releases
    assert "Every entry and every signature holds" in seen.audit
    assert third.person.email not in seen.releases + seen.audit


def test_no_page_met_its_own_content_policy_or_failed(seen: Seen) -> None:
    assert seen.faults == []
