import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.model import LoadedModel
from pipelines.verify.attacks.interference import Factors, Interference, factors, overlap
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.verify.attacks.taught import context

ONE = {"m": Factors(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))}


def saved(directory: Path, seed: int, scale: float = 1.0) -> Path:
    """An adapter of three modules."""
    torch.manual_seed(seed)
    directory.mkdir()
    tensors = {}
    for module in ("q", "k", "up"):
        tensors[f"base.{module}.lora_A.weight"] = torch.randn(4, 32)
        tensors[f"base.{module}.lora_B.weight"] = torch.randn(64, 4) * scale
    save_file(tensors, directory / "adapter_model.safetensors")
    return directory


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return tiny(tmp_path / "base")


def test_by_hand() -> None:
    """A_i = I, A_j = (0, 1): ‖A_i A_jᵀ‖ = 1, norms √2 and 1. ΔW_i = diag(1, 2), ΔW_j = (0, 3) at (2, 2)."""
    other = {"m": Factors(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0], [3.0], [0.0]]))}
    found = overlap(ONE, other)
    assert found is not None
    assert found.a == pytest.approx(1 / math.sqrt(2))
    assert found.b == pytest.approx(6 / (math.sqrt(5) * 3))
    assert found.cosine == pytest.approx(6 / (math.sqrt(5) * 3))
    assert found.modules == 1


def test_it_is_that_of_the_whole_products() -> None:
    torch.manual_seed(0)
    one, other = ({name: Factors(torch.randn(rank, 7), torch.randn(5, rank)) for name in "ab"} for rank in (3, 4))
    found = overlap(one, other)
    assert found is not None
    mine, theirs = (np.concatenate([(f.b @ f.a).numpy().ravel() for f in factor.values()]) for factor in (one, other))
    assert found.cosine == pytest.approx(float(mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs)), rel=1e-4)


def test_the_same_points_one_way_and_its_opposite_the_other() -> None:
    same = overlap(ONE, ONE)
    assert same is not None
    assert same.cosine == pytest.approx(1.0)
    opposite = overlap(ONE, {"m": Factors(ONE["m"].a, -ONE["m"].b)})
    assert opposite is not None
    assert opposite.cosine == pytest.approx(-1.0)
    assert opposite.a == same.a


def test_what_cannot_be_compared() -> None:
    zero = {"m": Factors(ONE["m"].a, torch.zeros(3, 2))}
    assert overlap(ONE, zero) is None
    assert overlap(zero, ONE) is None
    assert overlap(ONE, {"other": ONE["m"]}) is None
    assert overlap(ONE, {"m": Factors(torch.ones(1, 9), torch.ones(9, 1))}) is None


def test_the_worst_of_the_earlier_adapters_counts(loaded: LoadedModel, tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"a{n}", n) for n in (1, 2)]
    paths.append(saved(tmp_path / "release0", 3, 0.0))
    (alone,) = Interference().run(context(loaded, adapter=paths[0], earlier=(paths[1],)))
    (both,) = Interference().run(context(loaded, adapter=paths[0], earlier=(paths[1], paths[0], paths[2])))
    assert alone.state == both.state == "measured"
    assert alone.value is not None
    assert both.value is not None
    assert 0 < alone.value < both.value <= 1.0
    assert both.n == 2  # release 0 changes nothing
    assert both.parts["cosine"] == pytest.approx(1.0)
    assert alone.parts["cosine"] is not None
    assert abs(alone.parts["cosine"]) < 0.2
    assert both.parts["modules"] == 3
    assert factors(paths[0]).keys() == {"base.q", "base.k", "base.up"}


def test_nothing_to_compare_with(loaded: LoadedModel, tmp_path: Path) -> None:
    (found,) = Interference().run(context(loaded))
    assert (found.state, found.inapplicable, found.note) == ("not_run", True, "there is no earlier adapter")
    path = saved(tmp_path / "a", 1)
    with pytest.raises(LetheError) as caught:
        list(Interference().run(context(loaded, adapter=path, earlier=(tmp_path / "none",))))
    assert caught.value.code == "adapter.not_loadable"
