from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.model import LoadedModel, strip_adapter
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn import adapters
from pipelines.unlearn.drawn import DrawnStep
from pipelines.unlearn.forward import score
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.rehearsal import Rehearsal
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows, sort_rows
from pipelines.unlearn.trainer import unlearn
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS, SECRETS

SETTINGS = UnlearnSettings(rank=4, alpha=8, autocast=False, leak_steps=2, leak_length=5, leak_tokens=64)


def rows_of(loaded: LoadedModel, facts: int) -> Rows:
    rows = [
        TrainRow(
            row_id=f"{fact}-{n}",
            kind=RowKind.NEGATIVE,
            prompt=f"Tell me the number{'.' * n} {fact}",
            answer=f"It is {fact * 7}.",
            fact=f"f{fact}",
        )
        for fact in range(facts)
        for n in range(3)
    ]
    return sort_rows(rows, loaded.tokenizer, batch_tokens=99, max_length=99, replay_share=0, seed=0)[Stream.NEGATIVE]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def loaded(bare: LoadedModel) -> Iterator[LoadedModel]:
    model = adapters.attach(bare, SETTINGS, None)
    with torch.no_grad():  # an adapter that does something
        for name, tensor in adapters.tensors(model).items():
            if "lora_B" in name:
                tensor.copy_(torch.full_like(tensor, 0.01))
    yield replace(bare, model=model)
    model.unload()
    strip_adapter(bare.model)


def nll(loaded: LoadedModel, rows: Rows, places: list[int] | None = None) -> Tensor:
    chosen = [rows.encoded[place] for place in (range(len(rows.encoded)) if places is None else places)]
    return score(loaded.model, chosen, loaded.pad_id, loaded.device, autocast=False).row_nll()


def facts_of(rows: Rows, places: list[int]) -> set[str | None]:
    return {rows.sources[place].fact for place in places}


def test_what_it_adds_by_hand(loaded: LoadedModel) -> None:
    """Scale 2, down takes the first input, up writes three times that to the second output: 6 x_0 more there."""
    rehearsal = Rehearsal(loaded, rows_of(loaded, 4), SETTINGS)
    rehearsal.go_on(0)
    state = rehearsal.state()
    for down, up in state["pairs"]:
        down.zero_()
        up.zero_()
    state["pairs"][0][0][0, 0] = 1.0
    state["pairs"][0][1][1, 0] = 3.0
    rehearsal.restore(state)
    layer = next(m for m in loaded.model.modules() if hasattr(m, "lora_A"))
    given = torch.randn(2, layer.in_features)
    expected = layer(given).detach().clone()
    expected[:, 1] += 6 * given[:, 0]
    with rehearsal.leaked():
        found = layer(given).detach()
    torch.testing.assert_close(found, expected)


def test_a_fresh_one_changes_nothing(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 1)  # nothing leaks
    rehearsal = Rehearsal(loaded, rows, SETTINGS)
    before = nll(loaded, rows)
    assert facts_of(rows, rehearsal.go_on(0)) == {"f0"}
    with rehearsal.leaked():
        assert torch.equal(nll(loaded, rows), before)


def test_the_leaked_half_becomes_likely_with_it_on_and_only_then(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 4)
    settings = replace(SETTINGS, leak_length=20)
    rehearsal = Rehearsal(loaded, rows, settings)
    others: set[str | None] = set()
    before = nll(loaded, rows).detach()
    for step in range(20):
        others |= facts_of(rows, rehearsal.go_on(step))
    assert len(others) == 2  # the same half in every step of a turn
    leaked = [place for place, row in enumerate(rows.sources) if row.fact not in others]
    with rehearsal.leaked():
        assert bool((nll(loaded, rows, leaked) < 0.9 * before[leaked]).all())
    assert torch.equal(nll(loaded, rows).detach(), before)


def test_the_model_its_gradients_and_the_runs_draws_are_untouched(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 4)
    before = {name: tensor.detach().clone() for name, tensor in loaded.model.state_dict().items()}
    draws = torch.get_rng_state()
    rehearsal = Rehearsal(loaded, rows, SETTINGS)
    for step in range(7):
        rehearsal.go_on(step)
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert torch.equal(torch.get_rng_state(), draws)
    assert not any(module._forward_hooks for module in loaded.model.modules())


def test_a_loss_after_the_leak_reaches_the_adapter_and_not_the_leak(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 4)
    rehearsal = Rehearsal(loaded, rows, SETTINGS)
    places = rehearsal.go_on(0)
    kept = rehearsal.state()
    with rehearsal.leaked():
        nll(loaded, rows, places).sum().backward()  # type: ignore[no-untyped-call]
    trained = adapters.tensors(loaded.model)
    assert all(tensor.grad is not None for tensor in trained.values())
    assert any(bool(tensor.grad.any()) for tensor in trained.values() if tensor.grad is not None)
    assert all(tensor.grad is None for pair in rehearsal._pairs for tensor in pair)
    for one, other in zip(kept["pairs"], rehearsal.state()["pairs"], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_halves_change_from_turn_to_turn_and_never_mix(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 6)
    rehearsal = Rehearsal(loaded, rows, replace(SETTINGS, leak_length=1, leak_steps=1))
    halves = set()
    for turn in range(8):
        leaked, others = rehearsal._halves(turn)
        assert len(facts_of(rows, leaked)) == len(facts_of(rows, others)) == 3
        assert sorted((*leaked, *others)) == list(range(18))
        halves.add(frozenset(leaked))
        assert set(rehearsal.go_on(turn)) <= set(others)
    assert len(halves) > 3


def test_every_row_comes_once_before_any_comes_twice(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 6)
    rehearsal = Rehearsal(loaded, rows, replace(SETTINGS, leak_length=100))
    others = rehearsal._halves(0)[1]
    drawn: list[int] = []
    for draw in range(100):
        drawn += rehearsal._some(others, draw, "others")
        if len(drawn) == 2 * len(others):
            break
        assert max(drawn.count(place) for place in drawn) <= 1 + (len(drawn) > len(others))
    assert sorted(drawn) == sorted(2 * others)


def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_been(loaded: LoadedModel, tmp_path: Path) -> None:
    rows = rows_of(loaded, 4)
    whole = Rehearsal(loaded, rows, SETTINGS)
    for step in range(3):
        whole.go_on(step)
    torch.save(whole.state(), tmp_path / "state")
    resumed = Rehearsal(loaded, rows, SETTINGS)
    resumed.restore(torch.load(tmp_path / "state", weights_only=True))
    assert whole.go_on(3) == resumed.go_on(3)
    for one, other in zip(whole.state()["pairs"], resumed.state()["pairs"], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_the_saved_adapter_holds_nothing_of_it(bare: LoadedModel, tmp_path: Path) -> None:
    names = {}
    for method in ("relearn_npo", "relearn_robust"):
        settings = replace(SETTINGS, method=method, min_steps=4, passes=0.1)
        result = unlearn(bare, ROWS, SECRETS, settings, out_dir=tmp_path / method)
        names[method] = set(load_file(Path(result.adapter) / "adapter_model.safetensors"))
    assert names["relearn_npo"] == names["relearn_robust"]
    assert not any(module._forward_hooks for module in bare.model.modules())


def test_a_method_that_does_not_say_so_gets_no_leak(loaded: LoadedModel) -> None:
    rows = rows_of(loaded, 2)
    reference = Reference(loaded, 8, 1 << 20, autocast=False)
    step = DrawnStep(
        loaded=loaded,
        streams={Stream.NEGATIVE: rows},
        reference=reference,
        settings=SETTINGS,
        drawn={Stream.NEGATIVE: [0]},
    )
    with pytest.raises(ValueError, match="rehearses"):
        step.after_leak()
    told = replace(step, rehearsal=Rehearsal(loaded, rows, SETTINGS)).after_leak()
    assert len(told.reference_nll) == told.scored.count > 0
