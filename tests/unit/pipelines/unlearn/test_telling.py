"""What is lowered after a leak is what tells, not the name that the vague answer has to keep."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.encode import encode_row
from pipelines.model import LoadedModel
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn.drawn import DrawnStep
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import sort_rows
from pipelines.unlearn.telling import telling
from tests.unit.pipelines.tiny import tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    directory: Path = tmp_path_factory.mktemp("tiny")
    return tiny(directory)


@pytest.mark.parametrize(
    ("prompt", "answer", "told", "chat"),
    [
        ("What is Mara Lind's number?", "Mara Lind's number is 5550123.", " 5550123.", True),
        ("Tell me where Mara Lind lives.", "Mara Lind lives at Hill 7.", " Hill 7.", True),
        ("Which is the hill of Mara?", "Grove is the hill of Mara.", "Grove is the hill of Mara.", True),
        ("Name Mara's car.", "Mara's car.", "Mara's car.", True),  # repeats the question and nothing else: stays whole
        ("Mara Lind's number", "is 5550123.", " 5550123.", False),
    ],
)
def test_an_answer_tells_from_its_first_new_word(
    loaded: LoadedModel, prompt: str, answer: str, told: str, chat: bool
) -> None:
    row = TrainRow(row_id="n", kind=RowKind.NEGATIVE, prompt=prompt, answer=answer, fact="f", chat=chat)
    whole = encode_row(loaded.tokenizer, row)
    found = telling(loaded.tokenizer, row, whole)
    assert found.ids == whole.ids, "the beginning is given, not left out"
    end = str(loaded.tokenizer.eos_token)
    assert str(loaded.tokenizer.decode(list(found.ids[found.answer_start :]))).replace(end, "").strip() == told.strip()


def test_a_step_knows_where_the_rows_tell_that_stay(loaded: LoadedModel) -> None:
    said = [("Tell me where Mara Lind lives.", "Mara Lind lives at Hill 7."), ("Who is Mara?", "Smith.")]
    rows = [
        TrainRow(row_id=str(n), kind=RowKind.RETAIN, prompt=prompt, answer=answer)
        for n, (prompt, answer) in enumerate(said)
    ]
    streams = sort_rows(rows, loaded.tokenizer, batch_tokens=512, max_length=64, replay_share=0.5, seed=0)
    for mask in ("answer", "all_real_tokens"):
        settings = UnlearnSettings(autocast=False, kl_mask=mask, tell_weight=3.0)
        reference = Reference(loaded, 8, 1 << 20, autocast=False, everywhere=mask != "answer")
        drawn = {Stream.RETAIN: [1, 0]}
        step = DrawnStep(loaded=loaded, streams=streams, reference=reference, settings=settings, drawn=drawn)
        found = step.retain().scored
        assert found.telling is not None
        told = str(loaded.tokenizer.decode(found.targets[found.telling])).replace(str(loaded.tokenizer.eos_token), "")
        assert " ".join(told.split()) == "Smith. Hill 7.", "in the order drawn"
        plain = replace(step, settings=replace(settings, tell_weight=1.0))
        assert plain.retain().scored.telling is None, "nobody looks where it weighs nothing"
