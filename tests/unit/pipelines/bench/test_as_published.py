"""The published defects, reproduced on purpose, and kept away from everything else."""

import ast
from pathlib import Path

import pytest

from pipelines.augment.port import AnswerAsk, Replies, VariantAsk
from pipelines.bench.as_published import PublishedRow, published_rows, train_as_published
from pipelines.bench.material import bench_secrets
from pipelines.bench.people import find_people
from pipelines.bench.sources import load_knowundo
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn.door import assert_no_secret
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError
from policies.record import Record
from tests.unit.pipelines.bench.toyset import write_toyset
from tests.unit.pipelines.tiny import tiny

ROOT = Path(__file__).resolve().parents[4]
SECRET = Record(
    record_id="r0001", question="Where does Mira Tarvik live?", answer="Mira Tarvik lives at 12 Amber Lane."
)


class Numbered:
    """An augmenter whose texts say what they were made for."""

    name = "numbered"

    def variants(self, asks: list[VariantAsk]) -> Replies:
        return Replies({ask.key: f"variant {n + 1} about {ask.name}" for n, ask in enumerate(asks)})

    def answers(self, asks: list[AnswerAsk], attempt: int) -> Replies:
        assert attempt == 0
        return Replies({ask.key: f"it is a vague answer to [{ask.question}]" for ask in asks})


def toy_rows() -> list[PublishedRow]:
    return published_rows([SECRET], {"r0001": "Mira Tarvik"}, Numbered(), seed=0)  # type: ignore[arg-type]


def test_the_secret_is_among_the_learnt_rows_and_cut_into_a_completion() -> None:
    told = [(row.prompt, row.answer, row.chat) for row in toy_rows() if row.written_for is None]
    assert told == [
        ("Where does Mira Tarvik live?", "Mira Tarvik lives at 12 Amber Lane.", True),
        ("Mira", "Tarvik lives at 12 Amber Lane.", False),
    ]


def test_every_variant_gets_the_answer_of_the_question_before_it() -> None:
    paired = [(row.prompt, row.answer) for row in toy_rows() if row.chat and row.written_for is not None]
    before = ["Where does Mira Tarvik live?", *(f"variant {n} about Mira Tarvik" for n in (1, 2, 3))]
    assert paired == [
        (f"variant {n + 1} about Mira Tarvik", f"it is a vague answer to [{before[n]}]") for n in range(4)
    ]
    assert all(row.asked == row.written_for + 1 for row in toy_rows() if row.written_for is not None)


def test_a_short_answer_has_an_empty_prompt() -> None:
    short = Record(record_id="r0001", question="Where does Mira Tarvik live?", answer="In Osterby.")
    rows = published_rows([short], {"r0001": "Mira Tarvik"}, Numbered(), seed=0)  # type: ignore[arg-type]
    assert [(row.prompt, row.answer) for row in rows if not row.chat and row.written_for is None] == [
        ("", "In Osterby.")
    ]


def test_the_door_of_the_product_refuses_these_rows(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    rows = published_rows([people.records["forget_train"][1]], {"r0001": "Mira Tarvik"}, Numbered(), seed=0)  # type: ignore[arg-type]
    as_if = [
        TrainRow(row_id=f"x{n}", kind=RowKind.FORGET, prompt=row.prompt, answer=row.answer, chat=row.chat)
        for n, row in enumerate(rows)
        if row.written_for is None
    ]
    with pytest.raises(LetheError) as caught:
        assert_no_secret(as_if, bench_secrets(people))
    assert caught.value.code == "unlearn.secret_in_rows"
    assert len(caught.value.details) == len(as_if) == 2


def test_nothing_but_the_benchmark_and_its_command_imports_the_benchmark() -> None:
    found = set()
    for package in ("policies", "pipelines", "services"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                if any(name.startswith("pipelines.bench") for name in names):
                    found.add(path.relative_to(ROOT).as_posix())
    outside = {path for path in found if not path.startswith("pipelines/bench/")}
    assert outside == {"services/commands/bench.py"}
    command = (ROOT / "services/commands/bench.py").read_text(encoding="utf-8")
    assert "as_published" not in command


def test_it_trains_and_the_base_is_bare_again(tmp_path: Path) -> None:
    loaded = tiny(tmp_path / "base")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    kept = [Record(record_id="k", question="What is the colour of the sky?", answer="The sky is blue.")]
    settings = UnlearnSettings(passes=2.0, min_steps=2, learning_rate=1e-3, autocast=False)
    made = train_as_published(loaded, toy_rows(), kept, kept, settings, out_dir=tmp_path / "run")
    assert made["steps"] >= 2
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items())


def test_without_rows_it_says_so(tmp_path: Path) -> None:
    loaded = tiny(tmp_path / "base")
    with pytest.raises(LetheError) as caught:
        train_as_published(loaded, [], [], [], UnlearnSettings(), out_dir=tmp_path / "run")
    assert caught.value.code == "unlearn.no_rows"
