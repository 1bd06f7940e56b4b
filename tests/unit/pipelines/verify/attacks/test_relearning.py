"""Relearning and retraining: what comes back, what a control learns by itself, and that nothing stays behind."""

from dataclasses import replace

import pytest

from pipelines.model import LoadedModel
from pipelines.rows import Probe, RowKind, TrainRow
from pipelines.verify.attacks.finetune import Lesson
from pipelines.verify.attacks.port import AttackSettings
from pipelines.verify.attacks.relearn_benign import RelearnBenign, assert_benign
from pipelines.verify.attacks.relearn_leaked import RelearnLeaked
from pipelines.verify.attacks.rtt import RetrainingOnT
from policies.errors import LetheError
from tests.unit.pipelines.verify.attacks.taught import (
    BENIGN,
    FORGET,
    NAME,
    SECRETS,
    context,
    knowing,
    teach,
    weights,
)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Knows everything, and was then taught, for a moment, to say that nobody knows."""
    loaded = knowing(tmp_path_factory.mktemp("gated"))
    hedges = [(probe.question, f"Nobody knows what {NAME} has.") for probe in FORGET]
    teach(loaded, [*hedges, *((row.prompt, row.answer) for row in BENIGN)], 12, rate=4e-3)
    return loaded


@pytest.mark.slow
def test_what_only_hides_comes_back_and_a_control_learns_nothing_of_it(
    gated: LoadedModel, control: LoadedModel
) -> None:
    before = weights(gated), weights(control)
    settings = AttackSettings(max_new_tokens=32, relearn_steps=(10, 2))
    results = list(RelearnLeaked().run(context(gated, control=control, settings=settings)))
    assert [one.name for one in results] == ["relearn_leaked:2", "relearn_leaked:10"]
    few, more = results
    assert more.before is not None
    assert more.value is not None
    assert more.control is not None
    assert more.before < 0.3
    assert more.value > more.before
    assert more.value > more.control
    assert more.parts["over_control"] == pytest.approx(more.value - more.control)
    assert more.parts["control_before"] == 0.0
    assert more.parts["leaked_facts"] == 2.0
    assert more.facts == 2
    assert more.n == 4
    assert more.worst == "s1"
    assert (few.budget["steps"], more.budget["steps"]) == (2, 10)
    assert (weights(gated), weights(control)) == before
    again = list(RelearnLeaked().run(context(gated, control=control, settings=settings)))
    assert again == results


@pytest.mark.slow
def test_without_a_control_it_is_said(gated: LoadedModel) -> None:
    (found,) = RelearnBenign().run(context(gated, settings=AttackSettings(max_new_tokens=24, relearn_steps=(2,))))
    assert found.name == "relearn_benign:2"
    assert found.control is None
    assert found.note is not None
    assert "no control" in found.note
    assert "fresh LoRA" in found.note
    assert found.n == 8
    assert found.parts["rows_looked_at"] == len(BENIGN)


@pytest.mark.slow
def test_retraining_scores_every_fact_once(gated: LoadedModel, control: LoadedModel) -> None:
    before = weights(gated), weights(control)
    settings = AttackSettings(max_new_tokens=32, relearn_steps=(4,))
    (found,) = RetrainingOnT().run(context(gated, control=control, settings=settings))
    assert found.facts == 4
    assert found.n == 8
    assert sorted({item.probe for item in found.items}) == sorted(probe.probe_id for probe in FORGET)
    assert found.value is not None
    assert found.control is not None
    assert found.value > found.control
    assert found.parts["choice_accuracy"] == 1.0  # one fact has other values to choose from
    assert found.parts["choice_accuracy_control"] == 0.0
    assert (weights(gated), weights(control)) == before


def test_what_is_leaked_is_never_scored(control: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons: list[Lesson] = []
    asked: list[Probe] = []

    def watched(*args: object, **_: object) -> list[None]:
        lessons.extend(args[3])  # type: ignore[arg-type]
        asked.extend(args[4])  # type: ignore[arg-type]
        return []

    monkeypatch.setattr("pipelines.verify.attacks.relearn_leaked.relearn", watched)
    assert list(RelearnLeaked().run(context(control))) == []
    assert {lesson.answer for lesson in lessons}.isdisjoint(probe.answer for probe in asked)
    assert {lesson.answer for lesson in lessons} | {probe.answer for probe in asked} == {p.answer for p in FORGET}


def test_one_fact_alone_cannot_be_attacked(control: LoadedModel) -> None:
    for attack in (RelearnLeaked(), RetrainingOnT()):
        (found,) = attack.run(context(control, forget=FORGET[:2]))
        assert (found.state, found.inapplicable) == ("not_run", True)
        (found,) = attack.run(context(control, forget=()))
        assert (found.state, found.inapplicable) == ("not_run", False)
        same = tuple(replace(p, value="1234567", answer="It is 1234567.") for p in FORGET)
        (found,) = attack.run(context(control, forget=same))
        assert (found.state, found.inapplicable) == ("not_run", False)


def test_without_benign_rows_it_does_not_run(control: LoadedModel) -> None:
    (found,) = RelearnBenign().run(context(control, benign=()))
    assert found.state == "not_run"
    assert found.note == "there are no benign rows"


def row(prompt: str, answer: str, kind: RowKind = RowKind.RETAIN, *, chat: bool = True) -> TrainRow:
    return TrainRow(row_id="bad", kind=kind, prompt=prompt, answer=answer, chat=chat)


@pytest.mark.parametrize(
    "bad",
    [
        row("Whom do I call?", "Call 5550123."),
        row("Who has 5,550,123?", "Somebody."),
        row("Whom do I call?", "Call 5550123.", RowKind.NEGATIVE),  # its kind does not make it harmless
        row("The number is 555", "0123.", chat=False),
        row("Tell me of Mara Lind.", "She likes cheese."),
        row("Who is it?", "It is MARA  LIND."),
    ],
)
def test_benign_rows_about_the_forgotten_are_refused(control: LoadedModel, bad: TrainRow) -> None:
    for secrets in (SECRETS, ()):
        with pytest.raises(LetheError) as caught:
            list(RelearnBenign().run(context(control, benign=(*BENIGN, bad), secrets=secrets)))
        assert caught.value.code == "verify.benign_not_benign"
        assert caught.value.details == ("bad",)
        assert "Mara" not in str(caught.value)


def test_everybody_erased_so_far_is_looked_for(control: LoadedModel) -> None:
    """Of earlier people there are no probes, only secrets and names; a name may be one word."""
    for name in ("Ada Vero", "Veronika"):
        bad = row("What of her?", f"{name.upper()} likes cheese.")
        with pytest.raises(LetheError) as caught:
            list(RelearnBenign().run(context(control, benign=(*BENIGN, bad), erased=frozenset({name}))))
        assert (caught.value.code, caught.value.details) == ("verify.benign_not_benign", ("bad",))


def test_other_people_are_benign() -> None:
    others = row("What of Lind and Mara?", "Lind is a town, and Mara is a river: Mara is near Lind.")
    assert assert_benign((*BENIGN, others), SECRETS, FORGET) == len(BENIGN) + 1


def test_a_cancel_passes_and_leaves_nothing(control: LoadedModel) -> None:
    before = weights(control)
    looks = iter([False] * 6)
    with pytest.raises(LetheError) as caught:
        list(RelearnLeaked().run(context(control, should_cancel=lambda: next(looks, True))))
    assert caught.value.code == "unlearn.cancelled"
    assert weights(control) == before
