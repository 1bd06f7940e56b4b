from pipelines.encode import Encoded
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn.pairing import pair
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.streams import Rows


def rows(stream: Stream, *named: tuple[str, str, str]) -> Rows:
    kind = RowKind.NEGATIVE if stream is Stream.NEGATIVE else RowKind.REFUSAL
    sources = tuple(
        TrainRow(row_id=f"{stream.value}-{n}", kind=kind, prompt=prompt, answer=answer, fact=fact)
        for n, (fact, prompt, answer) in enumerate(named)
    )
    encoded = tuple(Encoded((n, n, n), 1) for n in range(len(named)))
    return Rows(stream, encoded, sources, 1024, 0)


RAW = rows(Stream.NEGATIVE, ("f1", "a?", "1"), ("f2", "a?", "2"), ("f1", "b?", "3"), ("f1", "c?", "4"))
# In another order, and two for one question: what stands at the same place belongs to another question.
OTHER = rows(Stream.REFUSAL, ("f1", "b?", "x"), ("f1", "a?", "y"), ("f2", "a?", "z"), ("f1", "a?", "w"))


def test_pairs_are_found_by_fact_and_prompt_and_not_by_position() -> None:
    pairs = pair(RAW, OTHER)
    assert [row.answer for row in pairs.rejected.sources] == ["1", "2", "3"]
    assert pairs.partners == ((1, 3), (2,), (0,))
    for row, partners in zip(pairs.rejected.sources, pairs.partners, strict=True):
        for place in partners:
            assert (OTHER.sources[place].fact, OTHER.sources[place].prompt) == (row.fact, row.prompt)


def test_what_has_no_partner_is_left_out_and_counted() -> None:
    pairs = pair(RAW, OTHER)
    assert pairs.unpaired == 1
    assert len(pairs.rejected.encoded) == 3
    assert pair(RAW, rows(Stream.REFUSAL)).partners == ()


def test_every_partner_comes_before_any_comes_twice() -> None:
    plan = list(pair(RAW, OTHER).plan([[0, 1], [2, 0], [0], [1, 0]]))
    assert plan == [[1, 2], [0, 3], [1], [2, 3]]
