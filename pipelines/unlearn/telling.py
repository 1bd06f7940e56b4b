"""Where a forgotten answer begins to tell: behind the words that it repeats from its question.

An answer mostly begins with the person's name and the noun that was asked for. Losses that lower the whole answer
lower the name too, and the vague answer that should be given holds that name: it comes to name somebody else.
"""

from transformers import PreTrainedTokenizerBase

from pipelines.augment.wording import CALENDAR, STOPWORDS, WORD, fold, words
from pipelines.encode import Encoded
from pipelines.rows import TrainRow


def telling(tokenizer: PreTrainedTokenizerBase, row: TrainRow, encoded: Encoded) -> Encoded:
    """The row with the beginning of its answer given, as far as it only repeats the question.

    An answer that does nothing else stays whole.

    Args:
        tokenizer: That encoded the row.
        row: What was encoded.
        encoded: The same, as a loss would see it whole.
    """
    repeated = _repeated(row.prompt, row.answer)
    answer = list(encoded.ids[encoded.answer_start :])
    given = 0
    while given < len(answer) and len(str(tokenizer.decode(answer[: given + 1])).lstrip()) <= repeated:
        given += 1
    if not 0 < given < len(answer) or WORD.search(row.answer, repeated) is None:
        return encoded
    return Encoded(encoded.ids, encoded.answer_start + given, encoded.truncated)


def _repeated(question: str, answer: str) -> int:
    """How many characters of the answer pass before its first word that neither the question has nor every text."""
    known = {*words(question), *STOPWORDS} - CALENDAR.difference(words(question))
    end = 0
    for found in WORD.finditer(answer):
        if fold(found.group()) not in known:
            break
        end = found.end()
    return end
