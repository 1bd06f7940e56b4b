"""Codes by hand, weights that come back, and an adapter that is merged before rounding or stands beside."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.quantise import BLOCK, ROW, Bits, codes_changed, nf4_levels, quantised, rounded
from tests.unit.pipelines.tiny import save_tiny, tiny
from tests.unit.pipelines.verify.attacks.adapted import save_lora

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PUBLISHED = (  # arXiv 2305.14314, appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
PROJECTION = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def adapted(loaded: LoadedModel, tmp_path: Path) -> Iterator[LoadedModel]:
    with with_adapter(loaded, save_lora(loaded, tmp_path / "lora", spread=0.5)) as model:
        yield model


def digest(loaded: LoadedModel) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(loaded.model.state_dict().items()):
        whole.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return whole.hexdigest()


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(torch.arange(12)[None]).logits
    return found.clone()


def test_the_levels_are_the_published_ones() -> None:
    assert nf4_levels() == pytest.approx(PUBLISHED, abs=1e-6)
    assert sorted(nf4_levels()) == list(nf4_levels())


def test_codes_of_8_bits_by_hand() -> None:
    weight = torch.tensor([[2.0, -1.0, 0.0, 0.5], [0.0, 0.1, -0.2, 0.05]])
    found = rounded(weight, 8, ROW)
    # row 1: 127 steps of 2/127; -63.5 rounds to the even -64; 31.75 to 32. Row 2: steps of 0.2/127
    assert found.codes.tolist() == [[127, -64, 0, 32], [0, 64, -127, 32]]
    assert found.values[0].tolist() == pytest.approx([2.0, -128 / 127, 0.0, 64 / 127])
    assert found.values[1].tolist() == pytest.approx([0.0, 12.8 / 127, -0.2, 6.4 / 127])


def test_codes_of_4_bits_by_hand() -> None:
    weight = torch.tensor([[2.0, -1.0, 0.0, 0.5]])
    found = rounded(weight, 4, 4)
    # by the largest: 1, -0.5 (nearer to -0.525 than to -0.395), 0, 0.25 (nearest 0.246)
    assert found.codes.tolist() == [[15, 2, 7, 10]]
    assert found.values[0].tolist() == pytest.approx([2.0, 2 * PUBLISHED[2], 0.0, 2 * PUBLISHED[10]], abs=1e-5)


def test_blocks_run_on_into_the_next_row_and_the_last_may_be_short() -> None:
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.5, 10.0, -10.0]])
    found = rounded(weight, 8, 4)
    assert found.codes.tolist() == [[127, 0, 0], [64, 127, -127]]  # 0.5 shares its scale with the row above
    assert rounded(weight, 8, ROW).codes.tolist() == [[127, 0, 0], [6, 127, -127]]
    assert rounded(weight, 8, 1000).codes.tolist() == [[13, 0, 0], [6, 127, -127]]


@pytest.mark.parametrize(("bits", "zero"), [(4, 7), (8, 0)])
def test_a_block_of_zeros_stays_zero(bits: Bits, zero: int) -> None:
    found = rounded(torch.zeros(2, 64), bits, BLOCK)
    assert set(found.codes.flatten().tolist()) == {zero}
    assert not found.values.any()


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_rounded_once_stays_at_the_second_time(bits: Bits) -> None:
    torch.manual_seed(0)
    once = rounded(torch.randn(5, 33), bits, BLOCK)
    again = rounded(once.values, bits, BLOCK)
    assert torch.equal(once.codes, again.codes)
    assert torch.allclose(once.values, again.values, rtol=1e-6)


@pytest.mark.parametrize(("bits", "block"), [(2, 64), (4, -1), (16, 64)])
def test_other_sizes_are_refused(bits: Bits, block: int) -> None:
    with pytest.raises(ValueError, match="8 or 4 bits"):
        rounded(torch.ones(2, 2), bits, block)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_weights_come_back_exactly(adapted: LoadedModel, bits: Bits, merged: bool) -> None:
    before, said = digest(adapted), logits(adapted)
    with quantised(adapted, bits, merged=merged) as smaller:
        assert digest(smaller) != before
        assert not torch.equal(logits(smaller), said)
    assert digest(adapted) == before
    assert torch.equal(logits(adapted), said)
    with pytest.raises(RuntimeError, match="on the way"), quantised(adapted, bits, merged=merged):
        raise RuntimeError("on the way")
    assert digest(adapted) == before


def test_output_layer_and_embeddings_stay(loaded: LoadedModel) -> None:
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    with quantised(loaded, 4) as smaller:
        changed = {n for n, tensor in smaller.model.state_dict().items() if not torch.equal(tensor, before[n])}
    linear = {n for n, m in loaded.model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    assert changed == {f"{name}.weight" for name in linear}


def test_beside_the_base_alone_is_rounded_and_merged_the_sum(adapted: LoadedModel) -> None:
    layer = dict(adapted.model.named_modules())[f"base_model.model.{PROJECTION}"]
    weight = layer.base_layer.weight.detach().clone()
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with quantised(adapted, 4, block=32):
        assert torch.equal(layer.base_layer.weight, rounded(weight, 4, 32).values)
        assert not layer.disable_adapters
    with quantised(adapted, 4, block=32, merged=True) as smaller:
        assert torch.allclose(layer.base_layer.weight, rounded(weight + up @ down, 4, 32).values, atol=1e-6)
        assert layer.disable_adapters
        with smaller.adapter_disabled() as same:
            assert torch.equal(logits(same), logits(smaller))
        assert layer.disable_adapters
    assert not layer.disable_adapters


def test_with_the_adapter_off_it_is_the_rounded_base(loaded: LoadedModel, tmp_path: Path) -> None:
    with quantised(loaded, 4) as smaller:
        bare = logits(smaller)
    with (
        with_adapter(loaded, save_lora(loaded, tmp_path / "lora", spread=0.5)) as adapted,
        quantised(adapted, 4) as smaller,
    ):
        assert not torch.allclose(logits(smaller), bare)
        with smaller.adapter_disabled() as base:
            assert torch.equal(logits(base), bare)


def test_an_adapter_that_adds_nothing_changes_no_code(loaded: LoadedModel, tmp_path: Path) -> None:
    assert codes_changed(loaded) == 0.0
    shares = []
    for spread in (0.0, 1e-4, 0.5):
        with with_adapter(loaded, save_lora(loaded, tmp_path / str(spread), spread=spread)) as adapted:
            shares.append(codes_changed(adapted))
    assert shares[0] == 0.0
    assert shares[0] < shares[1] < 0.05 < 0.5 < shares[2]


def test_layers_that_keep_their_weight_the_other_way_round(loaded: LoadedModel) -> None:
    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=32, n_positions=32, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    other = LoadedModel(
        model=model,
        tokenizer=loaded.tokenizer,
        digest="",
        device=torch.device("cpu"),
        dtype=torch.float32,
        chat_template_digest="",
        path=Path("none"),
    )
    layer = dict(model.named_modules())["transformer.h.0.attn.c_attn"]
    assert isinstance(layer, Conv1D)
    weight = layer.weight.detach().clone()
    with quantised(other, 8, block=ROW):
        assert torch.equal(layer.weight, rounded(weight.t().contiguous(), 8, ROW).values.t())
    assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("hidden", [32, 64])  # at 32 a block of 64 reaches into the next row
def test_the_kernels_give_what_the_rounding_gives(tmp_path: Path, hidden: int) -> None:
    """bitsandbytes is no dependency; where it is installed (it runs on a CPU too) it must agree."""
    pytest.importorskip("bitsandbytes")
    loaded = load_model(save_tiny(tmp_path / "base", hidden=hidden), device="cpu")
    with with_adapter(loaded, save_lora(loaded, tmp_path / "lora", spread=0.5)) as adapted:
        for merged in (False, True):
            with quantised(adapted, 4, merged=merged, kernels=False) as smaller:
                ours = logits(smaller)
            with quantised(adapted, 4, merged=merged, kernels=True) as smaller:
                theirs = logits(smaller)
            assert torch.allclose(ours, theirs, atol=1e-2)
