import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.augment.augmented import AugmentedSet
from pipelines.augment.secrets import secrets_from_records
from pipelines.checks.measures import CheckSettings
from pipelines.checks.suite import CheckReport, check
from pipelines.rows import RowKind, Secret, TrainRow
from policies.errors import LetheError
from tests.unit.pipelines.augment.people import FORGET, NAME, SECRET_WORDS
from tests.unit.pipelines.augment.test_augment import make

# Great Expectations 1.24 imports the deprecated sre_constants and uses deprecated calls of its own libraries.
pytestmark = [
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:great_expectations.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:great_expectations.*"),
]

SECRETS = secrets_from_records(FORGET, [NAME])
REFERENCE = [record.answer for record in FORGET]
GOOD = make()
FIRST = GOOD.rows[0]


def verdict(rows: tuple[TrainRow, ...], **changes: object) -> CheckReport:
    arguments: dict[str, object] = {"secrets": SECRETS, "names": [NAME], "reference": REFERENCE} | changes
    return check(replace(GOOD, rows=rows), **arguments)  # type: ignore[arg-type]


def failed(report: CheckReport) -> set[str]:
    return {one.expectation for one in report.results if not one.success}


def first(**changes: object) -> tuple[TrainRow, ...]:
    return (replace(FIRST, **changes), *GOOD.rows[1:])  # type: ignore[arg-type]


def without(kind: RowKind) -> tuple[TrainRow, ...]:
    return tuple(row for row in GOOD.rows if row.kind is not kind)


def test_a_good_set_passes_every_expectation() -> None:
    report = verdict(GOOD.rows)
    assert report.success
    assert len(report.results) == 9
    assert report.failures() == ()
    report.require()


BAD: dict[str, Callable[[], tuple[TrainRow, ...]]] = {
    "expect_rows_to_give_nothing_away": lambda: first(answer=f"{NAME} was seen in Velmora more than once, I hear."),
    "expect_answers_to_keep_the_subject": lambda: first(answer="I am afraid that there is nothing that I can tell."),
    "expect_variants_to_be_distinct": lambda: (*GOOD.rows, replace(FIRST, row_id="again")),
    "expect_answers_in_the_language_of_the_forget_set": lambda: first(
        answer=f"Leider kann ich keine genauen Angaben zu dieser Frage machen, {NAME} bleibt ungenannt."
    ),
    "expect_prompts_of_sensible_length": lambda: first(prompt=" "),
    "expect_answers_of_sensible_length": lambda: first(answer=f"{NAME} has not said so, and that is that. " * 20),
    "expect_class_balance": lambda: without(RowKind.RETAIN),
    "expect_coverage_per_fact": lambda: tuple(r for r in GOOD.rows if r.fact != "f-Mara-city"),
    "expect_questions_per_fact": lambda: tuple(
        row
        for row in GOOD.rows
        if row.fact != "f-Mara-city" or row.kind is RowKind.COMPLETION or row.prompt.startswith("Could you")
    ),
}


@pytest.mark.parametrize("expectation", BAD)
def test_each_expectation_fails_on_its_fault_and_names_what_failed(expectation: str) -> None:
    settings = CheckSettings(min_questions_per_fact=9) if expectation == "expect_questions_per_fact" else None
    report = verdict(BAD[expectation](), settings=settings)
    assert not report.success
    assert expectation in failed(report)
    result = next(one for one in report.results if one.expectation == expectation)
    assert result.row_ids or result.facts or result.kinds
    if result.row_ids:
        assert set(result.row_ids) <= {FIRST.row_id, "again"}
    if result.facts:
        assert result.facts == ("f-Mara-city",)
    if result.kinds:
        assert result.kinds == ("retain",)
    others = failed(report) - {expectation}
    assert others <= {"expect_answers_of_sensible_length", "expect_questions_per_fact"}


def test_another_script_fails_and_short_answers_are_left_alone() -> None:
    assert "expect_answers_in_the_language_of_the_forget_set" in failed(
        verdict(first(answer=f"К сожалению {NAME} не говорит об этом никому"))
    )
    assert verdict(first(answer=f"{NAME} keeps quiet.")).success


def test_the_language_is_known_without_a_reference_even_from_bare_values() -> None:
    bare = secrets_from_records([replace(record, answer=record.value or "") for record in FORGET], [NAME])
    assert verdict(GOOD.rows, secrets=bare, reference=()).success
    german = BAD["expect_answers_in_the_language_of_the_forget_set"]()
    for secrets in (SECRETS, bare):
        assert failed(verdict(german, secrets=secrets, reference=())) == {
            "expect_answers_in_the_language_of_the_forget_set"
        }
    texts = ["Leider kann ich das nicht sagen, denn davon weiß hier niemand etwas Genaues."]
    assert "expect_answers_in_the_language_of_the_forget_set" in failed(verdict(GOOD.rows, reference=texts))


def test_secrets_of_people_forgotten_earlier_need_no_rows_but_are_looked_for() -> None:
    earlier = Secret(fact="e1", answers=("Ada Zqearl lives in Zqtown.",), value="Zqtown", allowed=("Ada Zqearl",))
    assert verdict(GOOD.rows, secrets=(*SECRETS, earlier)).success
    leaking = (*GOOD.rows, TrainRow(row_id="x", kind=RowKind.RETAIN, prompt="Where?", answer="In Zqtown."))
    assert failed(verdict(leaking, secrets=(*SECRETS, earlier))) == {"expect_rows_to_give_nothing_away"}


def test_quarantine_names_expectations_and_counts() -> None:
    with pytest.raises(LetheError, match=r"checks\.quarantined") as caught:
        verdict(without(RowKind.RETAIN)).require()
    assert caught.value.details == ("expect_class_balance: 0 rows, 0 facts, 1 kinds",)


def test_an_empty_set_does_not_pass() -> None:
    report = verdict(())
    assert failed(report) >= {"expect_rows_to_give_nothing_away", "expect_coverage_per_fact", "expect_class_balance"}


def test_names_by_subject_and_replay_rows_of_people_forgotten_earlier() -> None:
    replay = TrainRow(
        row_id="z", kind=RowKind.REPLAY, prompt="Who?", answer="Someone Else keeps it quiet.", subject="s0"
    )
    assert verdict((*GOOD.rows, replay), names={"s1": [NAME]}).success
    assert failed(verdict((*GOOD.rows, replay), names={"s1": [NAME], "s0": ["Ada Zq"]})) == {
        "expect_answers_to_keep_the_subject"
    }
    assert "expect_answers_to_keep_the_subject" in failed(verdict(GOOD.rows, names={"s2": [NAME]}))


def test_no_personal_text_in_report_logs_or_output(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    canary = "Zqcanary Zqperson"
    caplog.set_level(logging.DEBUG)
    report = verdict(first(prompt=f"Is {canary} here?", answer=f"{canary} lives in Velmora at 12 Zqcanary Lane."))
    assert not report.success
    shown = json.dumps(report.as_json()) + caplog.text + "".join(capfd.readouterr()) + str(report.failures())
    for word in ("zqcanary", "zqperson", NAME.split()[1].lower(), *SECRET_WORDS):
        assert word not in shown.lower()


def test_telemetry_is_off_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *wanted, **_: reached.append(wanted))
    verdict(GOOD.rows)
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert capfd.readouterr() == ("", "")
    time.sleep(0.2)  # telemetry would leave from a thread of its own
    assert reached == []


def test_three_thousand_rows_in_two_seconds() -> None:
    many = tuple(
        replace(row, row_id=f"{row.row_id}-{n}", prompt=f"{row.prompt} {'so ' * n}")
        for n in range(30)
        for row in GOOD.rows
    )[:3000]
    verdict(GOOD.rows)  # imports Great Expectations
    started = time.process_time()
    assert len(many) == 3000
    assert verdict(many).rows == 3000
    assert time.process_time() - started < 2
    assert isinstance(GOOD, AugmentedSet)
