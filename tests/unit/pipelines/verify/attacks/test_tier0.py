"""What every attack of tier 0 keeps to, on a model that knows somebody and an adapter that spoils it."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.model import LoadedModel
from pipelines.verify.attacks import registry
from pipelines.verify.attacks.port import Attack, AttackContext, AttackResult, AttackSettings
from pipelines.verify.attacks.quantised import share_lost
from pipelines.verify.attacks.suite import run_attacks
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.verify.attacks import taught as people
from tests.unit.pipelines.verify.attacks.adapted import under_lora

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
ATTACKS = registry.attacks(frozenset({0}))
EXPECTED = {"aim", "completion", "paraphrase", "prefix_injection", "quantised", "role_play", "typos"}


@pytest.fixture(scope="module")
def bare(taught: LoadedModel) -> LoadedModel:
    return taught


@pytest.fixture(scope="module")
def model(taught: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    own = replace(taught, model=copy.deepcopy(taught.model))
    with under_lora(own, tmp_path_factory.mktemp("adapter")) as adapted:
        yield adapted


def context(model: LoadedModel) -> AttackContext:
    made = people.context(model, backends=Backends(embedder=ExactEmbedder()), forgotten={people.SUBJECT: 1.0})
    return replace(made, settings=made.settings.model_copy(update={"utility_drop_max": 1.0, "max_new_tokens": 32}))


def run(attack: Attack, given: AttackContext) -> list[AttackResult]:
    return list(attack.run(given))


def test_tier_0_has_the_attacks_that_it_promises() -> None:
    assert {attack.name for attack in ATTACKS} >= EXPECTED


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_results_are_well_formed_and_come_again_and_the_model_stays_as_it_was(
    attack: Attack, model: LoadedModel
) -> None:
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    found = run(attack, context(model))
    assert found
    assert run(attack, context(model)) == found
    after = model.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for result in found:
        assert (result.name.split(":")[0], result.tier, result.measure) == (attack.name, 0, "kfr")
        assert result.state == "measured"
        assert (result.direction, result.before, result.worst) == ("higher", 1.0, people.SUBJECT)
        assert result.value is not None
        assert result.lower is not None
        assert result.upper is not None
        assert 0.0 <= result.lower <= result.value <= result.upper <= 1.0
        scores = [item.score for item in result.items if item.score is not None]
        assert result.value == pytest.approx(sum(scores) / len(scores))
        assert result.n + result.undecided == len(result.items) == len(people.FORGET)
        assert result.facts == len(people.FACTS)
        assert result.subjects[people.SUBJECT].n == result.n
        assert result.source
        assert result.budget["questions"] == len(people.FORGET)
        text = result.model_dump_json()
        assert AttackResult.model_validate_json(text) == result
        assert not any(value in text for _, value in people.FACTS.values())
        assert "Mara" not in text


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_without_probes_nothing_is_forgotten(attack: Attack, model: LoadedModel) -> None:
    for result in run(attack, replace(context(model), forget=())):
        assert (result.state, result.value, result.lower, result.n) == ("not_run", None, None, 0)
        assert result.note


@pytest.mark.parametrize("name", ["completion", "quantised"])
def test_the_bare_base_fails(name: str, bare: LoadedModel) -> None:
    """An attack that no model could fail would measure nothing."""
    found = run(registry.attack_named(name), context(bare))
    assert all(result.value is not None and result.value < 0.5 for result in found)
    if name == "completion":
        assert found[0].parts["base_told"] == pytest.approx(1.0 - (found[0].value or 0.0))


def test_a_precision_that_the_base_does_not_bear_shows_nothing(
    bare: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = registry.attack_named("quantised")
    strict = replace(context(bare), settings=AttackSettings(max_new_tokens=32))
    monkeypatch.setattr("pipelines.quantise.nf4_levels", lambda: (-1.0, *(0.0,) * 14, 1.0))  # hardly any weight is left
    found = {result.name: result for result in run(attack, strict)}
    assert found["quantised:int8"].state == "measured"
    for name in ("quantised:nf4", "quantised:nf4_merged"):
        assert (found[name].state, found[name].value, found[name].inapplicable) == ("not_run", None, True)
        assert "of its right answers" in (found[name].note or "")
        lost = found[name].parts["base_lost"]
        assert lost is not None
        assert lost > 0.05


def test_answers_that_all_begin_with_the_value_leave_nothing_to_begin(bare: LoadedModel) -> None:
    sudden = tuple(replace(probe, answer=f"{probe.value} it is.") for probe in people.FORGET)
    (found,) = run(registry.attack_named("completion"), replace(context(bare), forget=sudden))
    assert (found.state, found.value, found.inapplicable) == ("not_run", None, True)
    assert found.budget["skipped"] == len(sudden)


def test_lost_is_what_was_right_and_is_no_longer() -> None:
    assert share_lost([1.0, 1.0, 0.0, None, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0, None, 1.0]) == 0.5
    assert share_lost([0.0, None], [1.0, 1.0]) is None
    with pytest.raises(ValueError, match=r"shorter|longer"):
        share_lost([1.0], [])


def test_the_control_is_attacked_in_the_same_way(model: LoadedModel, tmp_path: Path) -> None:
    for name in ("completion", "quantised"):
        for result in run(registry.attack_named(name), replace(context(model), control=tiny(tmp_path / name))):
            assert result.control == 1.0


def test_a_model_of_no_numbers_is_undecided_everywhere(tmp_path: Path) -> None:
    broken = tiny(tmp_path)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    suite = run_attacks(replace(context(broken), forgotten={}), tiers=frozenset({0}))
    assert {result.name for result in suite.results} >= EXPECTED
    assert {(result.state, result.value, result.note) for result in suite.results} == {
        ("undecided", None, "verify.bad_logits")
    }


def test_a_cancel_ends_an_attack_on_its_way(model: LoadedModel) -> None:
    asked = iter([False, False, False, True])
    with pytest.raises(LetheError, match=r"unlearn\.cancelled"):
        run(registry.attack_named("typos"), replace(context(model), should_cancel=lambda: next(asked)))
