import logging

import pytest

from policies.errors import LetheError
from services.outage import Outage

_LOG = logging.getLogger(__name__)


def turn(outage: Outage, error: BaseException | None = None) -> None:
    with outage:
        if error is not None:
            raise error


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_store_that_is_away_for_many_turns_is_one_line_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage(_LOG, "reaper")
    for _ in range(2):
        turn(outage)
        for code in ("store.unreachable", "store.unreachable", "store.busy"):
            turn(outage, LetheError(code, "away"))
        turn(outage)
        turn(outage)
    once = [("WARNING", "reaper: the store is away: store.unreachable"), ("WARNING", "reaper: the store is back")]
    assert said(caplog) == once * 2
    assert all(record.exc_info is None for record in caplog.records)


def test_whatever_else_goes_wrong_is_said_each_time_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(_LOG, "reaper")
    for _ in range(2):
        turn(outage, ValueError("mara@example.org"))
    turn(outage, LetheError("run.not_found", "There is no such run."))
    turn(outage)
    levels, texts = zip(*said(caplog), strict=True)
    assert set(levels) == {"ERROR"}
    assert [text.partition(" at test_outage.py:")[0] for text in texts] == [
        "reaper: ValueError",
        "reaper: ValueError",
        "reaper: run.not_found",
    ]


def test_what_ends_a_process_ends_the_loop_too() -> None:
    with pytest.raises(KeyboardInterrupt):
        turn(Outage(_LOG, "reaper"), KeyboardInterrupt())
