from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.serving.engine.text import TextStream


class Bytes:
    """A tokenizer whose tokens are single bytes, so that characters arrive in parts."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return bytes(token_ids).decode("utf-8", errors="replace")


def run(text: str, stops: Sequence[str] = ()) -> tuple[list[str], bool]:
    stream = TextStream(Bytes(), stops)
    data = text.encode()
    pieces = []
    for index, byte in enumerate(data):
        pieces.append(stream.push(byte, last=index == len(data) - 1))
        if stream.stopped:
            return pieces, True
    return pieces, False


@given(st.text(min_size=1))
def test_the_pieces_are_the_text(text: str) -> None:
    pieces, stopped = run(text)
    assert "".join(pieces) == text
    assert not stopped


@given(st.text(alphabet="abc", min_size=1), st.lists(st.text(alphabet="abc", min_size=1, max_size=3), max_size=3))
def test_the_text_ends_before_the_first_stop_string_that_is_complete(text: str, stops: list[str]) -> None:
    pieces, stopped = run(text, stops)
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert "".join(pieces) == text
        assert not stopped
        return
    seen = text[: min(ends)]
    assert "".join(pieces) == seen[: min(place for stop in stops if (place := seen.find(stop)) >= 0)]
    assert stopped


def test_no_half_character_is_given() -> None:
    pieces, _ = run("aé€😀")
    assert [piece for piece in pieces if piece] == ["a", "é", "€", "😀"]


def test_what_might_become_a_stop_string_is_held_back() -> None:
    pieces, _ = run("xSTxSTOP", ["STOP"])
    assert pieces == ["x", "", "", "STx", "", "", "", ""]
