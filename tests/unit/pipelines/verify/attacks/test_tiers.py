"""Every attack of tiers 1 and 2 through the frame: ids and figures only, and a model that is as it was."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.model import LoadedModel
from pipelines.verify.attacks.port import AttackSettings, Tier
from pipelines.verify.attacks.registry import attacks
from pipelines.verify.attacks.suite import run_attacks
from tests.unit.pipelines.verify.attacks.taught import FACTS, FORGET, NAME, RETAIN, context, weights

TIERS: frozenset[Tier] = frozenset({1, 2})


def test_which_attacks_there_are() -> None:
    names = {one.name: one.tier for one in attacks(TIERS)}
    assert names == {
        "any_of_k": 1,
        "in_context": 1,
        "interference": 1,
        "languages": 1,
        "leak_at_k": 1,
        "relearn_benign": 1,
        "relearn_leaked": 1,
        "membership": 2,
        "rtt": 2,
    }
    assert all(one.source for one in attacks(TIERS))


@pytest.mark.parametrize(
    "bad",
    [{"samples": 0}, {"probes_per_fact": 0}, {"relearn_steps": ()}, {"relearn_steps": (10, 0)}, {"leaked_share": 1.5}],
)
def test_budgets_that_attack_nothing_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AttackSettings.model_validate(bad)


@pytest.mark.slow
def test_all_of_them(taught: LoadedModel, control: LoadedModel, tmp_path: Path) -> None:
    before = weights(taught), weights(control)
    told: list[str] = []
    attacked = context(
        taught,
        control=control,
        holdout=RETAIN,
        settings=AttackSettings(samples=4, max_new_tokens=24, relearn_steps=(1, 2)),
        progress=lambda attack, done, total: told.append(attack),
    )
    found = run_attacks(attacked, tiers=TIERS, out_dir=tmp_path / "out", key="k")
    assert (weights(taught), weights(control)) == before
    states = {result.name: result.state for result in found.results}
    assert {name for name, state in states.items() if state == "measured"} == {
        "any_of_k",
        "in_context",
        "leak_at_k",
        "relearn_benign:1",
        "relearn_benign:2",
        "relearn_leaked:1",
        "relearn_leaked:2",
        "rtt",
    }
    assert set(states.values()) == {"measured", "not_run"}
    assert found.not_run["languages"] == "the corpus has no other language"
    assert found.not_run["interference"] == "there is no earlier adapter"
    assert "too few" in found.not_run["membership:loss"]
    for result in found.results:
        assert result.source
        assert result.state == "measured" or result.note
        assert result.state == "not_run" or (result.budget and result.seconds > 0)
        assert result.control is not None or result.state == "not_run"
    assert {"leak_at_k", "relearn_leaked", "rtt", "any_of_k"} <= set(told)
    text = json.dumps(found.model_dump(mode="json"))
    secrets = {value for _, value in FACTS.values()} | {NAME, *NAME.split(), FORGET[0].question}
    assert not [secret for secret in secrets if secret in text]
    told.clear()
    again = run_attacks(attacked, tiers=TIERS, out_dir=tmp_path / "out", key="k")
    assert again == found
    assert set(told) == {"attacks"}  # nothing was asked again
