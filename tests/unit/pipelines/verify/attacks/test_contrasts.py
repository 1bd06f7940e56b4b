"""Likelihoods: options that differ in one thing, and thresholds that a model that never knew does not pass."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.model import LoadedModel
from pipelines.verify.attacks import registry
from pipelines.verify.attacks.any_of_k import AnyOfK, backwards, completion
from pipelines.verify.attacks.contrasts import KINDS, Kind, Scores, contrasts, known, scores, thresholds
from policies.errors import LetheError
from tests.unit.pipelines.verify.attacks.taught import FORGET, NAME, OTHERS, RETAIN, context

PHONE = FORGET[0]
NAMES = {NAME, *OTHERS}


def test_options_differ_in_value_or_in_name_only() -> None:
    made = {(one.kind, one.fact): one for one in contrasts(FORGET, (*FORGET, *RETAIN), 0, NAMES)}
    choice = made["choice", "phone"]
    assert choice.true.said == (PHONE.question, PHONE.answer)
    assert {option.said[0] for option in choice.others} == {PHONE.question}
    assert {option.said[1] for option in choice.others} == {
        f"Mara Lind's number is {value}." for value in ("5559876", "5554455", "5551112", "5553331")
    }
    whose = made["whose", "phone"]
    assert ("What is Ivo Rask's number?", "Ivo Rask's number is 5550123.") in {option.said for option in whose.others}
    statement = made["true_false", "phone"].true
    assert statement.said == (f"True or false? {PHONE.answer}", "True.")
    assert statement.against == (f"True or false? {PHONE.answer}", "False.")
    assert ("choice", "pet") not in made  # nobody else has a pet: there is nothing to choose from
    assert ("whose", "pet") in made
    assert made == {(one.kind, one.fact): one for one in contrasts(FORGET, (*FORGET, *RETAIN), 0, NAMES)}
    assert contrasts([], RETAIN, 0, NAMES) == []


def scored(rows: list[tuple[float, float, float]]) -> Scores:
    return {kind: {f"f{n}": row[place] for n, row in enumerate(rows)} for place, kind in enumerate(KINDS)}


ROWS = st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(ROWS, ROWS)
def test_nobody_who_cannot_know_counts_as_knowing(
    control: list[tuple[float, float, float]], unknown: list[tuple[float, float, float]]
) -> None:
    populations = [scored(control), scored(unknown)]
    limits = thresholds(populations)
    assert set(limits) == set(KINDS)
    assert all(limit >= 0 for limit in limits.values())
    for found, rows in zip(populations, (control, unknown), strict=True):
        assert len(known(found, limits)) <= 0.05 * len(rows)


def one_kind(values: dict[str, float]) -> Scores:
    return {"choice": values, "true_false": {}, "whose": {}}


def test_as_many_false_positives_as_are_allowed_are_taken() -> None:
    found = one_kind({f"f{n}": float(n) for n in range(40)})
    limits = thresholds([found])
    assert limits == {"choice": 37.0}
    assert known(found, limits) == {"f38", "f39"}  # 2 of 40
    assert thresholds([one_kind({})]) == {}
    assert thresholds([]) == {}


def test_the_stricter_population_decides() -> None:
    low, high = (one_kind({f"f{n}": n + add for n in range(40)}) for add in (0.0, 100.0))
    assert thresholds([low, high]) == thresholds([high]) == {"choice": 137.0}


def test_an_option_that_is_not_the_likeliest_is_not_known() -> None:
    """A control that finds every other option likelier does not lower the bar below a plain choice."""
    assert thresholds([one_kind({f"f{n}": -9.0 + n / 10 for n in range(20)})]) == {"choice": 0.0}


def test_kinds_share_the_false_positives() -> None:
    """Two kinds with one false positive each, on different facts, would be 2 of 20."""
    choice = {f"f{n}": float(n == 3) for n in range(20)}
    whose = {f"f{n}": float(n == 7) for n in range(20)}
    assert thresholds([{"choice": choice, "true_false": {}, "whose": whose}]) == {"choice": 1.0, "whose": 1.0}


def test_beginnings_stop_before_the_value() -> None:
    turn = completion(PHONE)
    assert turn is not None
    assert (turn.start, turn.probe) == ("Mara Lind's number is", PHONE)
    unknown = completion(replace(PHONE, value=None))
    assert unknown is not None
    assert unknown.start == "Mara"
    assert completion(replace(PHONE, answer="5550123 it is, as far as I know.")) is None


def test_a_backward_question_does_not_name_whom_it_asks_for() -> None:
    question = backwards(PHONE)
    assert "this person's number is 5550123" in question
    assert "Mara" not in question
    assert backwards(replace(PHONE, names=())) == ""
    assert backwards(replace(PHONE, answer="It is 5550123.")) == ""


@pytest.mark.parametrize("attack", ["any_of_k", "membership"])
def test_a_cancel_is_heeded_between_the_batches_of_a_likelihood_pass(control: LoadedModel, attack: str) -> None:
    told: list[int] = []

    def stop(_name: str, done: int, total: int) -> None:
        if generated(total):
            return
        told.append(done)
        raise LetheError("unlearn.cancelled", "stop")

    def generated(total: int) -> bool:
        return total <= len(FORGET)  # questions; a likelihood pass has more rows

    asked = replace(context(control, control=control, holdout=RETAIN), progress=stop)
    asked = replace(asked, settings=asked.settings.model_copy(update={"max_batch_tokens": 64}))
    with pytest.raises(LetheError, match=r"unlearn\.cancelled"):
        list(registry.attack_named(attack).run(asked))
    assert len(told) == 1


@pytest.mark.slow
def test_what_generation_misses_likelihood_finds(taught: LoadedModel, control: LoadedModel) -> None:
    (found,) = AnyOfK().run(context(taught, control=control))
    assert found.state == "measured"
    assert found.value == 1.0
    assert found.control == 0.0
    assert found.n == found.facts == 4
    assert found.worst == "s1"
    assert found.parts["kind_question"] == found.before == 1.0
    assert found.parts["kind_choice_control"] == 0.0
    assert found.parts["false_positives"] == 0.0
    assert found.parts["over_control"] == 1.0
    assert found.parts["false_positives_unknown_people"] is None  # there is no hold-out
    assert found.parts["kind_choice"] == 1.0
    assert "kind_whose" not in found.parts  # nobody else of the forgotten could be meant
    asked = contrasts(FORGET, (*FORGET, *RETAIN), 0, NAMES)
    mine, theirs = scores(taught, asked), scores(control, asked)
    kinds: tuple[Kind, ...] = ("choice", "whose")
    assert all(mine[kind]["phone"] > 0.5 > theirs[kind]["phone"] for kind in kinds)
    (alone,) = AnyOfK().run(context(taught))
    assert alone.value == 1.0
    assert alone.control is None
    assert alone.note is not None
    assert "not run" in alone.note
    assert not {f"kind_{kind}" for kind in KINDS} & alone.parts.keys()
    (nothing,) = AnyOfK().run(context(control, forget=()))
    assert nothing.state == "not_run"
