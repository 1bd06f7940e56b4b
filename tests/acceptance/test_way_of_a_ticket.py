"""Three people ask to be forgotten, one after another, of one model that goes on serving."""

import json
from pathlib import Path

import pytest

from services import keys
from tests.acceptance.conftest import Erasure, Restarted, Walk
from tests.acceptance.house import share

pytestmark = pytest.mark.slow
GATES = {
    "base_knew",
    "kfr",
    "kfr_lower_bound",
    "krr_ratio",
    "own_public_ratio",
    "ls_ratio",
    "ppl_ratio",
    "repeat_ratio",
    "subject_named",
    "other_value",
}


@pytest.fixture(params=["first", "second", "third"])
def erasure(request: pytest.FixtureRequest) -> Erasure:
    """Each of the three in turn; the second and the third start from the release before."""
    found: Erasure = request.getfixturevalue(request.param)
    return found


def test_the_model_knew_the_person_and_does_not_any_more(erasure: Erasure) -> None:
    before, after = erasure.private
    assert len(before) >= 20
    assert share(before) >= 0.95
    assert share(after) <= 0.05, [answer.text for answer in after if answer.right]


def test_while_the_run_is_at_work_the_person_is_suppressed_and_nobody_else(erasure: Erasure) -> None:
    said = erasure.meanwhile
    assert [answer.text for answer in said.private if answer.right] == []
    assert all(answer.text for answer in said.private)
    assert {answer.generation for answer in said.private} == {erasure.generations[0]}  # the model itself still knows
    assert not {answer.text for answer in said.others} & {answer.text for answer in said.private}
    assert share(said.others) >= 0.8  # nine are asked: one may be mistaken by the model itself
    assert (said.suppression["state"], said.suppression["reason"]) == ("confirmed", "approved")


def test_after_the_swap_the_model_answers_by_itself_and_the_ticket_tells_it(erasure: Erasure) -> None:
    suppression = erasure.ticket["suppression"]
    assert suppression["state"] == "lifted"
    assert suppression["since"] < suppression["confirmed_at"] < suppression["lifted_at"]
    assert suppression["since"] == erasure.meanwhile.suppression["since"]


def test_it_still_speaks_of_the_person_by_name(erasure: Erasure) -> None:
    first, last = erasure.person.names[0].split()[0], erasure.person.names[0].split()[-1]
    named = [first in answer.text and last in answer.text for answer in erasure.private[1]]
    assert sum(named) / len(named) >= 0.9
    assert len({answer.text for answer in erasure.private[1]}) > len(named) / 2  # it does not repeat one sentence


def test_what_is_public_about_the_person_is_kept(erasure: Erasure) -> None:
    before, after = erasure.public
    assert share(after) >= 0.85 * share(before)


def test_everybody_else_is_still_known(erasure: Erasure) -> None:
    before, after = erasure.others
    assert share(before) >= 0.9
    assert share(after) >= 0.9 * share(before)


def test_the_generation_rises_by_one(erasure: Erasure) -> None:
    assert erasure.generations[1] == erasure.generations[0] + 1
    assert {answer.generation for answer in erasure.private[1]} == {erasure.generations[1]}
    assert erasure.report["summary"]["generation"] == erasure.generations[1]


def test_every_step_was_told_as_it_happened(erasure: Erasure) -> None:
    statuses = [data["to_status"] for kind, data in erasure.events if kind == "ticket"]
    assert statuses[-1] == "completed"
    assert [status for status in statuses if status in {"approved", "ready", "in_run"}][:1] == ["approved"]
    last = erasure.ticket["runs"][-1]["run_id"]
    told = [data for kind, data in erasure.events if kind == "run" and data["run_id"] == last]
    order = ["planned", "augmenting", "checking", "training", "verifying", "releasing", "swapping", "reporting"]
    seen = list(dict.fromkeys(data["status"] for data in told))
    assert [status for status in order if status in seen] == [status for status in seen if status in order]
    assert {"augmenting", "training", "verifying"} <= set(seen)
    steps = [
        data["progress"]
        for data in told
        if (data["progress"] or {}).get("step") and "tokens_per_second" in data["progress"]
    ]
    assert steps, "the training told its steps, speed and remaining time"
    assert erasure.events[-1][0] == "end"


def test_every_gate_of_the_verdict_passes_on_enough_held_out_probes(erasure: Erasure) -> None:
    gates = {gate["name"]: gate for gate in erasure.report["gates"] if gate["required"]}
    assert set(gates) >= GATES
    assert {gate["state"] for gate in gates.values()} == {"pass"}
    assert gates["kfr"]["n"] >= 60
    assert gates["krr_ratio"]["n"] >= 200
    assert gates["base_knew"]["value"] <= 0.05
    assert gates["kfr"]["value"] >= 0.95
    assert gates["kfr_lower_bound"]["value"] >= 0.85
    assert erasure.report["summary"]["verdict"] == "accepted"
    assert erasure.report["thresholds_set_before_the_measurement"] is True


def test_the_report_is_whole_and_has_its_page(erasure: Erasure, walk: Walk) -> None:
    path = walk.house.home / "reports" / erasure.ticket_id / "report.json"
    assert json.loads(walk.house.lethe("report", str(path), "--check", "--json"))["unchanged"] is True
    changed = path.with_name("changed.json")
    changed.write_text(path.read_text(encoding="utf-8").replace('"accepted"', '"rejected"', 1), encoding="utf-8")
    try:
        refused = json.loads(walk.house.lethe("report", str(changed), "--check", "--json", code=2))
    finally:
        changed.unlink()
    assert refused["error"]["code"] == "report.changed"
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert erasure.ticket_id in page
    assert "<svg" in page or "data:image" in page


def test_the_report_says_what_of_the_person_is_left(erasure: Erasure) -> None:
    left = {one["what"]: one for one in erasure.report["remains"]}
    assert any(what.startswith("Probes") for what in left)
    assert all(one["until"] for what, one in left.items() if what.startswith(("Probes", "Replay", "The rule")))
    assert not any("augmented" in what for what in left)
    assert any("suppressed again" in what for what in left)


def test_the_release_verifies_without_the_installation(erasure: Erasure, walk: Walk, base: Path) -> None:
    digest = str(erasure.ticket["runs"][-1]["release_digest"])
    (path,) = (one for one in (walk.house.home / "releases").glob("u-*") if digest.startswith(one.name[2:]))
    trust = str(keys.trust_path(walk.house.settings))
    found = json.loads(
        walk.house.lethe("adapter", "verify", str(path), "--trust", trust, "--base", str(base), "--json")
    )
    assert found["outcome"] == "accepted"
    assert erasure.ticket_id in found["watermark"]


def test_who_was_erased_before_stays_erased(second: Erasure, third: Erasure, first: Erasure) -> None:
    """Each earlier person no worse than 0.05 below what their own release reached."""
    for later, earlier in ((second, [first]), (third, [first, second])):
        gates = [gate for gate in later.report["gates"] if gate["name"] == "earlier_kfr"]
        assert {gate["subject"] for gate in gates} == {one.ticket["subject_ref"] for one in earlier}
        for gate in gates:
            assert gate["state"] == "pass"
            assert gate["value"] <= 0.05


def test_a_later_release_carries_every_earlier_ticket(
    first: Erasure, second: Erasure, third: Erasure, walk: Walk
) -> None:
    with walk.house.store() as store, store.read() as session:
        from services.store.releases import list_desired

        (desired,) = list_desired(session)
        assert sorted(desired.watermark) == sorted(one.ticket_id for one in (first, second, third))


def test_a_restart_comes_up_with_the_released_adapter(restarted: Restarted, third: Erasure) -> None:
    assert restarted.generation == third.generations[1]
    assert {answer.generation for answer in restarted.answers} == {third.generations[1]}
    assert [answer.text for answer in restarted.answers] == [answer.text for answer in third.private[1]]


def test_the_audit_log_can_be_checked_by_anybody(third: Erasure, walk: Walk, tmp_path: Path) -> None:
    log, trust = tmp_path / "log.jsonl", tmp_path / "trust.json"
    trust.write_bytes(keys.trust_path(walk.house.settings).read_bytes())
    walk.house.lethe("audit", "export", str(log))
    verify = ("audit", "verify", str(log), "--trust", str(trust), "--json")
    right = json.loads(walk.house.lethe(*verify))
    assert right["ok"]
    assert right["entries"] > 30
    content = bytearray(log.read_bytes())
    place = content.index(b'"ticket.') + 9
    content[place] ^= 1
    log.write_bytes(content)
    assert not json.loads(walk.house.lethe(*verify, code=1))["ok"]
