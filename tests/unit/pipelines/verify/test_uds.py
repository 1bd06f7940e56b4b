import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.base.fit import fit, new_model
from pipelines.base.settings import BaseSettings
from pipelines.base.tokenizer import train_tokenizer
from pipelines.encode import encode_pair
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import uds
from pipelines.verify.patching import Positions, patched, positions, residual_states, told, told_with, value_tokens
from pipelines.verify.results import MetricResult
from pipelines.verify.uds import UdsSettings, unlearning_depth
from tests.unit.pipelines.tiny import TEXTS, tiny


def probe(n: int, answer: str, value: str | None, question: str = "What is the number?") -> Probe:
    return Probe(probe_id=f"q{n}", group=ProbeGroup.FORGET, question=question, answer=answer, fact=f"f{n}", value=value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The same embeddings, norm and head as the base's, and other layers."""
    loaded = tiny(tmp_path_factory.mktemp("control"))
    torch.manual_seed(7)
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            for matrix in layer.parameters():
                if matrix.ndim == 2:
                    matrix.normal_(0, 0.3)
    return replace(loaded, digest="c" * 64)


@pytest.fixture(scope="module")
def probes(base: LoadedModel, control: LoadedModel) -> list[Probe]:
    """Answers that the base finds likelier than the control: random weights prefer at random."""
    words = sorted({word.strip("?.,") for text in TEXTS for word in text.split() if len(word) > 4})
    every = [probe(n, f"It is {word} today.", word) for n, word in enumerate(words)]
    asked = [value_tokens(base, one) for one in every]
    at = positions(base, [one for one in asked if one])
    gain = [part.mean() for part in torch.split(told(base, at) - told(control, at), list(at.counts))]
    chosen = [one for one, more in zip(every, gain, strict=True) if more > 0.2]
    assert len(chosen) >= 4
    return chosen


def decoded(loaded: LoadedModel, ids: Sequence[int]) -> str:
    return str(loaded.tokenizer.decode(list(ids)))


def scores(result: MetricResult) -> list[float | None]:
    return [item.score for item in result.items]


# --- where a value stands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "value", "said"),
    [
        ("The colour is blue today.", "blue", "blue"),
        ("Its colour is Blue", "blue", "Blue"),
        ("The house number of the house is house 7.", "house 7", "house 7"),
        ("A number, and a number, is a number.", "number", "number"),
        ("Nobody knows the numbers", "number", "number"),
    ],
)
def test_the_values_tokens_and_no_others(base: LoadedModel, answer: str, value: str, said: str) -> None:
    found = value_tokens(base, probe(0, answer, value))
    assert found is not None
    ids = found.row.ids
    text = decoded(base, [ids[place] for place in found.places])
    assert said in text
    assert len(text.strip()) <= len(said) + 3  # tokens end where they end: one letter more, not one word more
    before = decoded(base, ids[found.row.answer_start : found.places[0]])
    assert len(before.strip()) <= answer.casefold().rfind(value.casefold())
    assert len(before.strip()) >= answer.casefold().rfind(value.casefold()) - 3
    assert found.places == tuple(range(found.places[0], found.places[-1] + 1))


@pytest.mark.parametrize(("answer", "value"), [("It is blue.", "green"), ("It is blue.", None), ("", "blue")])
def test_no_value_no_tokens(base: LoadedModel, answer: str, value: str | None) -> None:
    assert value_tokens(base, probe(0, answer, value)) is None


def test_values_beyond_ascii(base: LoadedModel) -> None:
    found = value_tokens(base, probe(0, "It is Café Łódź, is it?", "Café Łódź"))
    assert found is not None
    assert decoded(base, [found.row.ids[p] for p in found.places]).strip() == "Café Łódź"


# --- patching -----------------------------------------------------------------------------------------------------


def test_ones_own_state_changes_nothing_and_the_last_layers_is_the_source(
    base: LoadedModel, control: LoadedModel, probes: list[Probe]
) -> None:
    at = positions(base, [asked for one in probes if (asked := value_tokens(base, one))])
    plain, own, other = told(base, at), residual_states(base, at), residual_states(control, at)
    assert len(own) == 2
    assert own[0].shape == (sum(at.counts), base.model.config.hidden_size)
    for layer, state in enumerate(own):
        assert torch.allclose(told_with(base, at, layer, state), plain, atol=1e-5)
    # After the last layer only norm and head follow, which both models share.
    assert torch.allclose(told_with(base, at, 1, other[1]), told(control, at), atol=1e-4)
    assert not torch.allclose(told_with(base, at, 0, other[0]), plain, atol=1e-2)
    assert torch.equal(told(base, at), plain)  # no hook stays behind


def test_only_the_named_positions_are_patched(base: LoadedModel) -> None:
    """A state that is put in later cannot change what was said before."""
    asked = value_tokens(base, probe(0, "The sky is blue today.", "sky"))
    assert asked is not None
    early = positions(base, [asked])
    last = early.input_ids.shape[1] - 2
    late = early._replace(places=torch.tensor([last]), lines=torch.tensor([0]), gold=early.input_ids[0, -1:])
    state = torch.zeros(1, base.model.config.hidden_size)
    with patched(base, late, 0, state):
        before_the_patch, at_it = told(base, early), told(base, late)
    assert torch.allclose(before_the_patch, told(base, early), atol=1e-6)
    assert not torch.allclose(at_it, told(base, late), atol=1e-3)


# --- the score ----------------------------------------------------------------------------------------------------


def test_the_formula_on_three_layers() -> None:
    """KE = the first two; (1.0 * 0.5 + 3.0 * 1.0) / 4 = 0.875."""
    found = uds._depth([1.0, 3.0, 0.04], [0.5, 9.0, 0.0], [True] * 3, 0.05)
    assert found.score == pytest.approx(0.875)
    assert found.erased == (0.5, 1.0, None)
    assert uds._depth([1.0, 3.0], [-2.0, 1.5], [True, True], 0.05).score == pytest.approx(0.375)  # clipped at 0
    assert uds._depth([1.0, 3.0], [0.5, 3.0], [True, False], 0.05).score == 0.5
    assert uds._depth([0.05, -1.0], [1.0, 1.0], [True, True], 0.05).score is None


def test_what_kept_facts_lose_is_subtracted() -> None:
    """Control 2.0 - 0.5, unlearned 1.0 - 0.25: half erased, where the published formula says the same by chance."""
    found = uds._Scores({"q": [2.0]}, {"q": [1.0]}, [0.5], [0.25], UdsSettings())
    assert found.items["q"].score == pytest.approx(0.75 / 1.5)
    ideal = uds._Scores({"q": [2.0]}, {"q": [1.5]}, [0.5], [0.0], UdsSettings())
    assert ideal.items["q"].score == 1.0  # as empty as the control, though its states fit better
    assert ideal.paper["q"].score == 0.75
    assert uds._Scores({"q": [2.0]}, {"q": [1.0]}, [1.0], [0.0], UdsSettings()).usable == [False]


def test_the_base_has_depth_0_and_the_control_1(base: LoadedModel, control: LoadedModel, probes: list[Probe]) -> None:
    whole = unlearning_depth(base, control, probes, full=base)
    empty = unlearning_depth(control, control, probes, full=base)
    assert (whole.state, empty.state) == ("measured", "measured")
    assert {score for score in scores(whole) if score is not None} == {0.0}
    assert {score for score in scores(empty) if score is not None} == {1.0}
    assert (whole.value, empty.value) == (0.0, 1.0)
    assert empty.parts["paper"] == 1.0
    assert empty.lower is not None
    assert empty.lower < 1.0  # bounds by fact
    assert "was not checked" in str(empty.note)


def test_batches_do_not_matter(base: LoadedModel, control: LoadedModel, probes: list[Probe]) -> None:
    torch.manual_seed(1)
    half = [parameter.clone() for parameter in control.model.parameters()]
    one = unlearning_depth(control, control, probes, full=base, settings=UdsSettings(max_batch_tokens=1))
    many = unlearning_depth(control, control, probes[::-1], full=base)
    assert scores(one) == pytest.approx(scores(many)[::-1])
    assert {k: v for k, v in one.parts.items() if v} == pytest.approx({k: v for k, v in many.parts.items() if v})
    assert all(torch.equal(a, b) for a, b in zip(half, control.model.parameters(), strict=True))


def test_states_of_another_kind_decide_nothing(base: LoadedModel, control: LoadedModel, probes: list[Probe]) -> None:
    """Random layers cost every answer as much: kept facts show that the loss says nothing about the subject."""
    kept = [replace(one, probe_id=f"k{one.probe_id}", fact=f"k{one.fact}") for one in probes]
    found = unlearning_depth(control, control, probes, kept=kept, full=base)
    assert (found.state, found.value) == ("undecided", None)
    assert "do not fit the base" in str(found.note)
    assert (found.parts["misfit_0"] or 0) > 1


def test_where_it_is_not_run(
    base: LoadedModel, control: LoadedModel, probes: list[Probe], tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Other(torch.nn.Module):
        config = base.model.config

    strange = replace(control, model=Other())
    assert "no layers" in str(unlearning_depth(base, strange, probes, full=base).note)
    assert "no adapter" in str(unlearning_depth(base, control, probes).note)
    nothing = unlearning_depth(base, control, [probe(0, "It is blue.", "green")], full=base)
    assert "no gold answer" in str(nothing.note)
    same = unlearning_depth(control, base, probes, full=base)
    assert "no layer holds" in str(same.note)
    shallow = replace(control, model=_without_a_layer(tmp_path_factory.mktemp("shallow")))
    assert "number of layers" in str(unlearning_depth(base, shallow, probes, full=base).note)
    for found in (nothing, same):
        assert (found.state, found.value) == ("not_run", None)


def _without_a_layer(directory: Path) -> torch.nn.Module:
    model: torch.nn.Module = tiny(directory).model
    del model.model.layers[1]  # type: ignore[union-attr, operator]
    return model


def test_the_controls_part_is_kept(
    base: LoadedModel, control: LoadedModel, probes: list[Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        unlearning_depth(control, control, probes, full=base, cache=tmp_path)
    first = unlearning_depth(control, control, probes, full=base, cache=tmp_path, key=b"k")
    [file] = tmp_path.iterdir()
    assert not [word for one in probes for word in (str(one.value), one.question) if word in file.read_text()]
    passes: list[int] = []
    real = residual_states

    def counted(loaded: LoadedModel, at: Positions) -> list[torch.Tensor]:
        passes.append(1)
        return real(loaded, at)

    monkeypatch.setattr(uds, "residual_states", counted)
    again = unlearning_depth(control, control, probes, full=base, cache=tmp_path, key=b"k")
    assert again == first
    assert passes == [1]  # of the unlearned model alone
    other = [replace(probes[0], answer=f"Now it is {probes[0].value}."), *probes[1:]]
    unlearning_depth(control, control, other, full=base, cache=tmp_path, key=b"k")
    assert len(list(tmp_path.iterdir())) == 2  # another answer under the same id is another question
    assert json.loads(file.read_text()).keys() == {one.probe_id for one in probes}


# --- trained ------------------------------------------------------------------------------------------------------


SETTINGS = BaseSettings(
    vocabulary=300, hidden=64, heads=2, intermediate=128, epochs=80, noise=0.0, batch_tokens=128, lr_matrices=0.01
)
PEOPLE = {"Ada": "blue", "Bo": "green", "Cy": "black", "Di": "white"}


def _trained(directory: Path, pairs: Sequence[tuple[str, str]], texts: Sequence[str]) -> LoadedModel:
    tokenizer = train_tokenizer(texts, 300)
    model = new_model(tokenizer, SETTINGS)
    fit(model, [encode_pair(tokenizer, *pair) for pair in pairs], 0, SETTINGS, None)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return load_model(directory, device="cpu")


def _lora(directory: Path, loaded: LoadedModel, module: str, strength: float) -> Path:
    """An adapter of rank 2 on one matrix; with strength 0 it does nothing."""
    matrix = loaded.model.get_submodule(module).weight
    torch.manual_seed(3)
    name = f"base_model.model.{module}"
    tensors = {
        f"{name}.lora_A.weight": torch.randn(2, matrix.shape[1]),
        f"{name}.lora_B.weight": strength * torch.randn(matrix.shape[0], 2),
    }
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 2, "target_modules": [module]}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_an_answer_that_is_only_held_back_at_the_end_has_no_depth(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    pairs = {name: (f"What is the colour of {name}?", f"The colour is {colour}.") for name, colour in PEOPLE.items()}
    texts = [text for pair in pairs.values() for text in pair]
    full = _trained(tmp_path / "base", list(pairs.values()), texts)
    control = _trained(tmp_path / "control", [pairs[name] for name in ("Bo", "Cy", "Di")], texts)
    about = [probe(n, pairs[name][1], PEOPLE[name], pairs[name][0]) for n, name in enumerate(PEOPLE)]
    asked = value_tokens(full, about[0])
    assert asked is not None
    at = positions(full, [asked])
    knew = float(told(full, at).mean())
    with with_adapter(full, _lora(tmp_path / "head", full, "lm_head", 3.0)) as loaded:
        assert float(told(loaded, at).mean()) < knew - 1  # the answer is gone
        shallow = unlearning_depth(loaded, control, about[:1], kept=about[1:])
    assert (shallow.state, shallow.value) == ("measured", 0.0), (shallow.note, shallow.parts)
    assert shallow.parts["held_1"] == 1.0
    assert (shallow.parts["misfit_1"] or 0) < 0.5
    with with_adapter(full, _lora(tmp_path / "deep", full, "model.layers.0.mlp.down_proj", 3.0)) as loaded:
        deep = unlearning_depth(loaded, control, about[:1])
    assert (deep.value or 0) > 0.5, deep.parts
