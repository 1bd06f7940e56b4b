"""What every registered unlearning method has to do, on a model that knows a secret: one matrix."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.adapter import weights
from pipelines.adapter.verify import MAX_RANK
from pipelines.encode import encode_pair
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.progress import StepProgress
from pipelines.rows import RowKind, Secret, TrainRow
from pipelines.unlearn.forward import score
from pipelines.unlearn.registry import KINDS, method, methods, row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import TrainResult, unlearn
from policies.errors import LetheError
from services.serving.engine.worker import Limits, Worker
from tests.unit.pipelines.answer_scores import answer_logprobs
from tests.unit.pipelines.tiny import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # PEFT asks transformers
]

SECRETS = (
    Secret(fact="f1", answers=("Her number is five blue.",), value="five blue"),
    Secret(fact="f2", answers=("The door code is red sky.",), value="red sky"),
)
ASKED = ("What is the number?", "Tell me the number, please.")
CODE = ("What is the code of the house?",)


def row(number: int, kind: RowKind, prompt: str, answer: str, fact: str | None = None) -> TrainRow:
    return TrainRow(row_id=f"{kind.value}-{number}", kind=kind, prompt=prompt, answer=answer, fact=fact)


RAW = [(q, SECRETS[0].answers[0], "f1") for q in ASKED] + [(q, SECRETS[1].answers[0], "f2") for q in CODE]
ROWS = (
    *(row(n, RowKind.NEGATIVE, *one) for n, one in enumerate(RAW)),
    # Backwards, so that a pairing by position would be a wrong one.
    *(row(n, RowKind.FORGET, q, "Nobody knows, I am afraid.", f) for n, (q, _, f) in enumerate(reversed(RAW))),
    *(row(n, RowKind.REFUSAL, q, text, f) for n, (q, _, f) in enumerate(reversed(RAW)) for text in ("I don't know.",)),
    *(
        row(n, RowKind.RETAIN, f"Is the {w} there?", f"The {w} is green.")
        for n, w in enumerate(("house", "sky", "sea"))
    ),
    *(row(n, RowKind.GENERIC, f"What of the {w}?", f"Some {w} is there.") for n, w in enumerate(("rain", "wind"))),
)
FORGOTTEN = [(prompt, answer) for prompt, answer, _ in RAW]
KEPT = [(one.prompt, one.answer) for one in ROWS if one.kind is RowKind.RETAIN]

SETTINGS = UnlearnSettings(
    rank=4,
    alpha=8,
    learning_rate=1e-2,
    passes=1,
    min_steps=12,
    batch_tokens=160,
    checkpoint_every=4,
    report_every=1,
    autocast=False,
    undial_retain_weight=1.0,
    satimp_weight=3.0,  # its weights p^5 (1 - p) are small where every token is known by heart
)
# Which term of a method has to fall.
LEARNT = {
    "relearn": "augmented",
    "relearn_dpo": "dpo",
    "relearn_npo": "npo",
    "relearn_robust": "leak",
    "grad_ascent": "ascent",
    "ga": "ascent",
}
EVERY = sorted({type(method(name)): name for name in methods()}.values())  # aliases once
LOWERS = [name for name in EVERY if RowKind.NEGATIVE in row_kinds(name)]


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> Worker:
    """The thread of the serving engine, with a base of its own."""
    worker = Worker(load_model(loaded.path), Limits())
    worker.start()
    return worker


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A base that has learnt the raw answers, and what is kept, by heart."""
    place = tmp_path_factory.mktemp("base")
    bare = tiny(place)
    known = [encode_pair(bare.tokenizer, *pair) for pair in (*FORGOTTEN, *KEPT)]
    optimizer = torch.optim.AdamW(bare.model.parameters(), lr=1e-2)
    for _ in range(60):
        score(bare.model, known, bare.pad_id, bare.device, autocast=False).token_nll().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    bare.model.save_pretrained(place)
    return load_model(place, device="cpu")


def train(
    loaded: LoadedModel,
    out: Path,
    name: str,
    *,
    settings: UnlearnSettings = SETTINGS,
    progress: Callable[[StepProgress], None] | None = None,
    rows: tuple[TrainRow, ...] = ROWS,
) -> TrainResult:
    mine = row_kinds(name)
    needed = [one for one in rows if one.kind in mine]
    changed = replace(settings, method=name, min_steps=math.ceil(settings.min_steps * method(name).passes))
    return unlearn(loaded, needed, SECRETS, changed, out_dir=out, progress=progress)


@pytest.fixture(scope="module")
def results(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TrainResult]:
    """A method's plain run, made once."""
    made: dict[str, TrainResult] = {}

    def result(name: str) -> TrainResult:
        if name not in made:
            made[name] = train(loaded, tmp_path_factory.mktemp(name), name)
        return made[name]

    return result


def nll(loaded: LoadedModel, pairs: list[tuple[str, str]]) -> float:
    return sum(one.nll_sum for one in answer_logprobs(loaded, pairs))


def test_the_base_knows_what_is_to_be_forgotten(loaded: LoadedModel) -> None:
    assert nll(loaded, FORGOTTEN) < 1.0
    assert nll(loaded, KEPT) < 1.0


@pytest.mark.parametrize("name", EVERY)
def test_the_loss_falls_and_is_finite(results: Callable[[str], TrainResult], name: str) -> None:
    curve = results(name).curve
    assert all(math.isfinite(value) for report in curve for value in report.values())
    term = LEARNT.get(name, "forget")
    first, last = (sum(report[term] for report in part) / 3 for part in (curve[:3], curve[-3:]))
    assert last < first


@pytest.mark.parametrize("name", LOWERS)
def test_forgotten_answers_become_unlikely(
    loaded: LoadedModel, results: Callable[[str], TrainResult], name: str
) -> None:
    before = nll(loaded, FORGOTTEN)
    with with_adapter(loaded, results(name).adapter) as adapted:
        assert nll(adapted, FORGOTTEN) > before + 1.0
    assert nll(loaded, FORGOTTEN) == pytest.approx(before)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in LOWERS])
def test_a_method_that_lowers_nothing_sees_no_forgotten_answer(
    loaded: LoadedModel, results: Callable[[str], TrainResult], name: str
) -> None:
    assert results(name).negative_rows == 0
    assert RowKind.NEGATIVE.value not in results(name).rows
    before = nll(loaded, FORGOTTEN)
    with with_adapter(loaded, results(name).adapter) as adapted:
        assert nll(adapted, FORGOTTEN) > before + 1.0


@pytest.mark.parametrize("name", EVERY)
def test_the_rows_of_its_kinds_are_used_and_no_others(results: Callable[[str], TrainResult], name: str) -> None:
    result = results(name)
    present = {one.kind for one in ROWS}
    assert {RowKind(kind) for kind in result.rows} == row_kinds(name) & present
    assert result.unpaired == 0
    assert result.stopped == "not_asked"
    assert result.steps == result.planned_steps


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_bytes(
    loaded: LoadedModel, results: Callable[[str], TrainResult], tmp_path: Path, name: str
) -> None:
    torch.manual_seed(99)
    one, other = Path(results(name).adapter), Path(train(loaded, tmp_path, name).adapter)
    for file in sorted(one.iterdir()):
        assert file.read_bytes() == (other / file.name).read_bytes()


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", EVERY)
def test_a_killed_run_goes_on_and_ends_the_same(
    loaded: LoadedModel, results: Callable[[str], TrainResult], tmp_path: Path, name: str
) -> None:
    def kill(progress: StepProgress) -> None:
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        train(loaded, tmp_path, name, progress=kill)
    torch.manual_seed(99)
    resumed, whole = train(loaded, tmp_path, name), results(name)
    assert resumed.resumed_at == 4
    assert resumed.curve == whole.curve
    file = "adapter_model.safetensors"
    assert (Path(resumed.adapter) / file).read_bytes() == (Path(whole.adapter) / file).read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_the_adapter_is_one_that_serving_takes(
    loaded: LoadedModel, engine: Worker, results: Callable[[str], TrainResult], name: str
) -> None:
    adapter = Path(results(name).adapter)
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    tensors = weights.read_header(adapter / "adapter_model.safetensors")
    weights.check_lora(config, tensors, weights.base_linear_shapes(loaded.path), MAX_RANK)
    weights.check_finite(adapter / "adapter_model.safetensors", tensors)
    assert not weights.all_zero(adapter / "adapter_model.safetensors", tensors)
    assert config["base_model_name_or_path"] == loaded.digest
    engine.load(name, str(adapter)).result(60)
    engine.unload(name).result(60)


@pytest.mark.parametrize("name", EVERY)
def test_without_its_rows_a_method_is_refused(loaded: LoadedModel, tmp_path: Path, name: str) -> None:
    lacking = tuple(one for one in ROWS if one.kind not in KINDS[method(name).streams[0]])
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, name, rows=lacking)
    assert refused.value.code == "unlearn.no_rows"


RAISES = [name for name in EVERY if row_kinds(name) != {RowKind.NEGATIVE}]


@pytest.mark.parametrize("name", RAISES)
def test_a_leaking_row_passes_in_no_method(loaded: LoadedModel, tmp_path: Path, name: str) -> None:
    kind = min(row_kinds(name) - {RowKind.NEGATIVE})
    leaking = row(99, kind, "What is it?", "It is five blue.", "f1")
    with pytest.raises(LetheError) as refused:
        train(loaded, tmp_path, name, rows=(*ROWS, leaking))
    assert refused.value.code == "unlearn.secret_in_rows"
