"""Reading from the prompt, other languages, membership."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.model import LoadedModel
from pipelines.rows import Probe
from pipelines.verify.attacks.in_context import InContext
from pipelines.verify.attacks.languages import Languages, language_of
from pipelines.verify.attacks.membership import Membership
from pipelines.verify.value_likelihood import value_items
from tests.unit.pipelines.verify.attacks.taught import FORGET, RETAIN, context, teach, unknowing


@pytest.mark.slow
def test_a_model_that_reads_its_prompt_uses_it(tmp_path: Path, control: LoadedModel) -> None:
    reader = unknowing(tmp_path)
    teach(reader, [(f"{p.answer} {p.question}", p.answer) for p in FORGET], 80)
    (found,) = InContext().run(context(reader, control=control))
    assert found.direction == "higher"
    assert found.measure == "used"
    assert found.value is not None
    assert found.value > 0.9
    assert found.before is not None
    assert found.before < 0.3  # without the fact in the prompt it has nothing to tell
    assert found.control == 0.0
    assert found.parts["base"] == found.value
    assert found.parts["lost_of_base"] == 0.0


def german(number: int, probe: Probe) -> Probe:
    return replace(probe, probe_id=f"de-{number}", phrasing="language:de", question=f"Bitte: {probe.question}")


@pytest.mark.slow
def test_probes_in_another_language_are_asked(taught: LoadedModel, control: LoadedModel) -> None:
    translated = tuple(german(n, probe) for n, probe in enumerate(FORGET[:2]))
    (found,) = Languages().run(context(taught, forget=(*FORGET, *translated), control=control))
    assert found.name == "languages:de"
    assert (found.n, found.facts) == (2, 1)
    assert found.before == 1.0
    assert found.control == 0.0
    assert found.value is not None
    assert found.parts["over_control"] == found.value


def test_a_corpus_in_one_language(control: LoadedModel) -> None:
    (found,) = Languages().run(context(control))
    assert (found.state, found.inapplicable) == ("not_run", True)
    assert found.note == "the corpus has no other language"
    assert language_of(FORGET[0]) is None
    assert language_of(replace(FORGET[0], phrasing="language:")) is None


@pytest.mark.slow
def test_what_was_trained_on_is_recognised(taught: LoadedModel, control: LoadedModel) -> None:
    many = tuple(replace(probe, probe_id=f"m{n}-{probe.probe_id}") for n in range(13) for probe in FORGET)
    held = tuple(
        replace(RETAIN[0], probe_id=f"h{n}", fact=f"h{n}", question=f"Number {n}?", answer=f"It is {7919 * n}.")
        for n in range(100)
    )
    results = list(Membership().run(context(taught, forget=many, holdout=held, control=control)))
    assert [one.name.partition(":")[2] for one in results] == ["loss", "zlib", "min_k", "min_k_plus", "value"]
    loss, value = results[0], results[-1]
    # The hold-out here has no values: their likelihood is compared with nothing.
    assert (value.state, value.value) == ("not_run", None)
    assert "too few" in (value.note or "")
    assert loss.state == "measured"
    assert loss.value is not None
    assert loss.control is not None
    assert loss.value > 0.95
    assert loss.value > loss.control
    assert loss.direction == "none"
    assert loss.parts["over_control"] == pytest.approx(loss.value - loss.control)
    assert loss.parts["privleak"] is not None
    assert loss.parts["privleak"] < 0  # under-unlearned
    assert loss.parts["tpr"] is None
    assert loss.note is not None
    assert "1000 are needed" in loss.note
    assert loss.facts == 104


@pytest.mark.slow
def test_the_value_alone_is_recognised_where_it_was_trained_on(taught: LoadedModel, control: LoadedModel) -> None:
    many = tuple(replace(probe, probe_id=f"m{n}-{probe.probe_id}") for n in range(13) for probe in FORGET)
    held = tuple(
        replace(RETAIN[0], probe_id=f"h{n}", fact=f"h{n}", question=f"Number {n}?", answer=f"It is {n}.", value=str(n))
        for n in range(1000, 1100)
    )
    value = list(Membership().run(context(taught, forget=many, holdout=held, control=control)))[-1]
    assert (value.name, value.state) == ("membership:value", "measured")
    assert value.value is not None
    assert value.control is not None
    assert value.value > 0.95
    assert value.value > value.control
    assert value.parts["over_control"] == pytest.approx(value.value - value.control)
    for item, one in zip(value.items, value_items(taught, many), strict=True):
        assert (item.probe, item.fact) == (one.probe, one.fact)
        assert item.score == pytest.approx(one.score, abs=1e-4)


def test_too_few_decide_nothing(control: LoadedModel) -> None:
    results = list(Membership().run(context(control, holdout=RETAIN)))
    assert {one.state for one in results} == {"not_run"}
    assert all(one.value is None and "too few" in (one.note or "") for one in results)
    assert all("no control" in (one.note or "") for one in results)
    (none,) = Membership().run(context(control))
    assert none.state == "not_run"
    assert not none.inapplicable
