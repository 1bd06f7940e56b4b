"""How far an adapter is weakened, and what a weakened one is."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pipelines.bench.judging import Judged
from pipelines.bench.strength import STEPS, at_equal_utility, greatest, weakened
from pipelines.model import with_adapter
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS, SECRETS

WEIGHTS = "adapter_model.safetensors"
BASE = {"p_kfr_fluent": 0.9, "v_kfr": 0.8, "utility": 0.7}


@given(st.floats(0, 1))
def test_the_greatest_step_that_keeps_enough_is_found(limit: float) -> None:
    looks: list[float] = []

    def keeps(strength: float) -> bool:
        looks.append(strength)
        return strength <= limit

    expected = max((step for step in STEPS if step <= limit), default=None)
    assert greatest(keeps) == expected
    assert len(looks) <= 5


def an_adapter(where: Path, b: float = 2.0) -> Path:
    where.mkdir()
    weights = {"m.lora_A.weight": torch.full((1, 2), 3.0), "m.lora_B.weight": torch.full((2, 1), b)}
    save_file(weights, where / WEIGHTS)
    (where / "adapter_config.json").write_text(json.dumps({"r": 1}))
    return where


def judged(utility: float | None) -> Judged:
    return Judged(figures={**BASE, "utility": utility}, subjects={}, seconds=1.0)


def strength_of(adapter: Path) -> float:
    return float(load_file(adapter / WEIGHTS)["m.lora_B.weight"][0, 0]) / 2.0


def test_a_weakened_adapter_changes_its_base_by_so_much(tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter")
    made = weakened(adapter, 0.25, tmp_path / "weakened")
    before, after = load_file(adapter / WEIGHTS), load_file(made / WEIGHTS)
    change = after["m.lora_B.weight"] @ after["m.lora_A.weight"]
    assert torch.equal(change, 0.25 * (before["m.lora_B.weight"] @ before["m.lora_A.weight"]))
    assert (made / "adapter_config.json").is_file()


def test_it_is_the_mixture_of_base_and_unlearnt_weights(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base")
    settings = UnlearnSettings(rank=4, alpha=8, learning_rate=1e-2, min_steps=4, max_steps=4, batch_tokens=160)
    trained = Path(unlearn(base, ROWS, SECRETS, settings, out_dir=tmp_path / "run").adapter)

    def weights(adapter: Path) -> dict[str, torch.Tensor]:
        with with_adapter(base, adapter) as adapted:
            adapted.model.merge_adapter()
            found = {
                name: one.detach().clone() for name, one in adapted.model.named_parameters() if "base_layer" in name
            }
            adapted.model.unmerge_adapter()
        return found

    zero, whole = weights(weakened(trained, 0.0, tmp_path / "none")), weights(trained)
    mixed = weights(weakened(trained, 0.3, tmp_path / "weakened"))
    assert mixed
    for name, one in mixed.items():
        assert not torch.equal(zero[name], whole[name])
        torch.testing.assert_close(one, 0.7 * zero[name] + 0.3 * whole[name])


def test_what_is_more_than_lora_is_not_mixed(tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter")
    save_file({"m.modules_to_save.weight": torch.ones(1)}, adapter / WEIGHTS)
    with pytest.raises(ValueError, match="cannot be mixed"):
        weakened(adapter, 0.5, tmp_path / "weakened")


def test_one_that_keeps_the_utility_is_left_as_it_was(tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter")

    def keeps(_: Path) -> bool:
        raise AssertionError("nothing is asked of an adapter that keeps enough")

    found = at_equal_utility(adapter, lambda _: judged(0.95), keeps)
    assert found.figures["strength"] == 1.0
    assert found.figures["trained_utility"] == found.figures["utility"] == 0.95
    assert strength_of(adapter) == 1.0


def test_one_that_costs_too_much_is_weakened_in_its_place(tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter")

    def utility(at: Path) -> float:
        return 1.0 - 0.1 * strength_of(at)  # 0.95 at a strength of one half

    found = at_equal_utility(adapter, lambda at: judged(utility(at)), lambda at: utility(at) >= 0.95)
    assert found.figures["strength"] == 0.5
    assert found.figures["utility"] == pytest.approx(0.95)
    assert found.figures["trained_utility"] == pytest.approx(0.9)
    assert found.figures["trained_p_kfr_fluent"] == BASE["p_kfr_fluent"]
    assert strength_of(adapter) == pytest.approx(0.5), "the attacks meet what the figures are of"
    assert [one.name for one in tmp_path.iterdir()] == ["adapter"]


def test_a_step_that_all_probes_find_too_strong_is_gone_down(tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter")
    found = at_equal_utility(
        adapter, lambda at: judged(0.96 if strength_of(at) < 0.42 else 0.9), lambda at: strength_of(at) <= 0.5
    )
    assert found.figures["strength"] == pytest.approx(0.4)
    assert found.figures["utility"] == 0.96


@pytest.mark.parametrize("utility", [0.5, None])
def test_one_that_no_strength_saves_stays_as_trained_and_not_eligible(tmp_path: Path, utility: float | None) -> None:
    adapter = an_adapter(tmp_path / "adapter")
    found = at_equal_utility(adapter, lambda _: judged(utility), lambda _: False)
    assert found.figures["strength"] == 1.0
    assert found.figures["utility"] == utility
    assert strength_of(adapter) == 1.0
    assert [one.name for one in tmp_path.iterdir()] == ["adapter"]
