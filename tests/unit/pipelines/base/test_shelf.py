import errno
import os
import threading
from pathlib import Path

import pytest

from pipelines.base.shelf import made_once


def fill(draft: Path) -> None:
    (draft / "weights").write_text("w")
    (draft / "card").write_text("c")


def test_a_directory_is_made_once(tmp_path: Path) -> None:
    assert made_once(tmp_path, "a", "card", fill)
    assert not made_once(tmp_path, "a", "card", lambda _: pytest.fail("made twice"))
    assert (tmp_path / "a" / "weights").read_text() == "w"


def test_what_fails_leaves_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "weights").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made_once(tmp_path, "a", "card", fail)
    assert not list(tmp_path.glob(".making-*"))
    assert not (tmp_path / "a").exists()
    assert made_once(tmp_path, "a", "card", fill)


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / ".making-a-1"
    left.mkdir()
    (left / "weights").write_text("half")
    made_once(tmp_path, "a", "card", fill)
    assert not left.exists()


def test_who_waits_gets_what_the_other_made_or_gives_up(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(draft: Path) -> None:
        begun.set()
        assert go.wait(20)
        fill(draft)

    first = threading.Thread(target=made_once, args=(tmp_path, "a", "card", slow))
    first.start()
    assert begun.wait(20)
    with pytest.raises(InterruptedError):
        made_once(tmp_path, "a", "card", fill, should_cancel=lambda: True)
    answers: list[bool] = []
    second = threading.Thread(target=lambda: answers.append(made_once(tmp_path, "a", "card", fill)))
    second.start()
    go.set()
    first.join(20)
    second.join(20)
    assert answers == [False]


def test_without_locks_the_faster_one_wins(tmp_path: Path) -> None:
    def overtaken(draft: Path) -> None:
        fill(draft)
        target = tmp_path / "a"
        target.mkdir()
        fill(target)

    assert not made_once(tmp_path, "a", "card", overtaken)
    assert sorted(os.listdir(tmp_path)) == [".locks", "a"]


def test_a_disk_that_knows_no_locks_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, "no locks")

    def make(draft: Path) -> None:
        (draft / "done").touch()

    monkeypatch.setattr("pipelines.base.shelf.fcntl.flock", refused)
    code = errno.ENOLCK
    others = tmp_path / ".making-it-0"  # perhaps of a process that is at work: nobody can tell
    others.mkdir(parents=True)
    assert made_once(tmp_path, "it", "done", make)
    assert (tmp_path / "it" / "done").is_file()
    assert others.is_dir()
    code = errno.EIO
    with pytest.raises(OSError, match="no locks"):
        made_once(tmp_path, "more", "done", make)
