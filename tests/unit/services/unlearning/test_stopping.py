"""Early stopping asks other questions than those that the verdict is decided by."""

from collections.abc import Callable

import pytest

from pipelines.augment.probes import excluded_questions
from pipelines.augment.wording import normalised_question
from pipelines.rows import ProbeGroup
from services.unlearning import stopping, verifying
from services.unlearning.operations import Bench
from tests.unit.services.place import Place
from tests.unit.services.unlearning.test_operations import augmented

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The default value of `allow_objects`:PendingDeprecationWarning"
)


def test_a_training_stops_on_questions_that_neither_rows_nor_the_verdict_ask(make_place: Callable[..., Place]) -> None:
    place = make_place()
    bench = Bench(place.installation.settings)
    run_id, _ = augmented(place, bench)
    verdict = verifying.load(bench, run_id)
    asked = stopping._asked_anew(bench, verdict)

    mine = [probe for probe in asked.mine if probe.group is ProbeGroup.FORGET]
    decided_by = [probe for probe in verdict.mine if probe.group is ProbeGroup.FORGET]
    assert {probe.fact for probe in mine} >= {probe.fact for probe in decided_by}
    assert not excluded_questions(mine) & excluded_questions(verdict.probes)
    trained = {normalised_question(row.prompt) for row in bench.rows_of(run_id)[0].rows}
    assert not excluded_questions(mine) & trained
    others = [probe for probe in verdict.probes if probe not in decided_by]
    assert [probe for probe in asked.probes if probe not in mine] == others
