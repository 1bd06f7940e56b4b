"""The worker with a batch that fails: nobody may wait for ever, and the engine goes on."""

import queue
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from services.serving.engine.batch import Piece, Row
from services.serving.engine.text import TextStream
from services.serving.engine.worker import Limits, Worker
from services.serving.protocol import RequestError, Sampling

Events = queue.SimpleQueue[tuple[str, str | None]]


class Model:
    """A model whose only state is its active adapter."""

    def __init__(self) -> None:
        self.active_adapters: list[str] = []

    def set_adapter(self, name: str, *, inference_mode: bool) -> None:
        self.active_adapters = [name]


class FakeBatch:
    """Rows of two tokens; a row whose prompt holds 13 breaks the step."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rows: list[Row] = []

    def join(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def step(self) -> None:
        if any(13 in row.prompt for row in self.rows):
            raise RuntimeError("out of memory")
        for row in self.rows:
            row.emit(Piece(row.choice, self.model.active_adapters[0], "length"))
        self.rows = []


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    model = Model()
    made = Worker(SimpleNamespace(model=model), Limits(max_rows=4, max_waiting=2))
    monkeypatch.setattr(made, "_batch", lambda: FakeBatch(model))
    monkeypatch.setattr(made, "_adapters", {"u-a", "u-b"})
    return made


def row(prompt: list[int]) -> tuple[Row, Events]:
    events: Events = queue.SimpleQueue()
    settings = Sampling(max_tokens=2, temperature=0)
    text: Any = TextStream(SimpleNamespace(), ())
    return Row(prompt, settings, text, lambda piece: events.put((piece.text, piece.reason))), events


def test_rows_are_answered_with_their_own_adapter(worker: Worker) -> None:
    asked = []
    for name in ("u-a", "u-b"):
        one, events = row([1])
        worker.submit(name, [one])
        asked.append(events)
    worker.start()
    assert [events.get(timeout=10) for events in asked] == [("u-a", "length"), ("u-b", "length")]


def test_a_step_that_fails_ends_its_rows_and_nothing_else(worker: Worker) -> None:
    bad, bad_events = row([13])
    good, good_events = row([1])
    worker.submit("u-a", [bad])
    worker.submit("u-b", [good])
    worker.start()
    assert bad_events.get(timeout=10) == ("", "error")
    assert good_events.get(timeout=10) == ("u-b", "length")
    again, events = row([1])
    worker.submit("u-a", [again])
    assert events.get(timeout=10) == ("u-a", "length")
    assert worker.error is None


def test_a_row_of_an_adapter_that_is_gone_is_an_error(worker: Worker) -> None:
    one, events = row([1])
    worker.submit("u-gone", [one])
    worker.start()
    assert events.get(timeout=10) == ("", "error")


def test_too_many_waiting_rows_are_refused(worker: Worker) -> None:
    for _ in range(2):
        worker.submit("u-a", [row([1])[0]])
    with pytest.raises(RequestError) as caught:
        worker.submit("u-a", [row([1])[0]])
    assert caught.value.status == 429


def test_all_choices_of_a_request_are_queued_or_none(worker: Worker) -> None:
    worker.submit("u-a", [row([1])[0]])
    with pytest.raises(RequestError):
        worker.submit("u-a", [row([1])[0], row([1])[0]])
    worker.submit("u-a", [row([1])[0]])
