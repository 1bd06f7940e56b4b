"""What is lowered after a leak is what tells, not the name that the vague answer has to keep."""

from pathlib import Path

import pytest

from pipelines.encode import encode_row
from pipelines.model import LoadedModel
from pipelines.rows import RowKind, TrainRow
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
        ("Is Mara ill?", "Mara is ill!", "Mara is ill!", True),
        ("When is Mara's birthday?", "Mara's birthday is May 7.", " May 7.", True),
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
