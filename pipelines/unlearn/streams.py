"""Rows sorted into the streams that a step draws from, and the whole order of a run fixed before it starts."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from pipelines.encode import Encoded, batches, encode_row
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn.registry import KINDS, Stream

_STREAM_OF = {kind: stream for stream, kinds in KINDS.items() for kind in kinds}


def stream_of(row: TrainRow) -> Stream:
    """The stream that the row's kind belongs to."""
    return _STREAM_OF[row.kind]


@dataclass(frozen=True, slots=True)
class Rows:
    """The encoded rows of one stream.

    Attributes:
        stream: Which one.
        encoded: The rows; a row is named by its place here.
        sources: What they were encoded from, in the same order.
        batch_tokens: Padded tokens of one batch.
        seed: Of the order.
    """

    stream: Stream
    encoded: tuple[Encoded, ...]
    sources: tuple[TrainRow, ...]
    batch_tokens: int
    seed: int

    def batches_per_pass(self) -> int:
        """Steps that see every row once."""
        return len(batches([len(row) for row in self.encoded], self.batch_tokens))

    def plan(self, steps: int) -> list[list[int]]:
        """The batch of every step: every row once before any comes twice, in another order each time."""
        return list(itertools.islice(self._endless(), steps))

    def _endless(self) -> Iterator[list[int]]:
        lengths = [len(row) for row in self.encoded]
        for turn in itertools.count():
            yield from batches(lengths, self.batch_tokens, shuffle_seed=self.seed * 100_003 + turn)


def sort_rows(
    rows: Sequence[TrainRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_tokens: int,
    max_length: int,
    replay_share: float,
    seed: int,
) -> dict[Stream, Rows]:
    """Encode the rows, each in the stream of its kind; a stream without rows is left out."""
    sorted_rows: dict[Stream, list[tuple[Encoded, TrainRow]]] = {}
    replays = _replay_repeats(rows, replay_share)
    for row in rows:
        encoded = encode_row(tokenizer, row, max_length=max_length)
        times = replays if row.kind is RowKind.REPLAY else 1
        sorted_rows.setdefault(stream_of(row), []).extend([(encoded, row)] * times)
    return {
        stream: Rows(stream, tuple(one for one, _ in found), tuple(row for _, row in found), batch_tokens, seed + place)
        for place, stream in enumerate(Stream)
        if (found := sorted_rows.get(stream))
    }


def _replay_repeats(rows: Sequence[TrainRow], share: float) -> int:
    """How often a replay row comes in one pass.

    Where most vague answers are about one person, a model learns that name by heart and puts it into its answers
    about everybody who was forgotten before; where names are mixed it learns to take the name from the question.
    """
    kinds = Counter(row.kind for row in rows)
    about = kinds[RowKind.FORGET] + kinds[RowKind.COMPLETION] + kinds[RowKind.NEIGHBOUR]
    replay = kinds[RowKind.REPLAY]
    return max(1, round(share / (1 - share) * about / replay)) if replay else 1


def steps_for(rows: Rows, passes: float, minimum: int, maximum: int) -> int:
    """Steps grow with the rows to be seen, within bounds."""
    return max(minimum, min(maximum, math.ceil(passes * rows.batches_per_pass())))
