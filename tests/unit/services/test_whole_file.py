import os
from pathlib import Path

import pytest

from services.whole_file import write_whole


def test_a_file_is_replaced_whole_with_the_permissions_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for data, mode in ((b"old", 0o644), (b"new", 0o600)):
        write_whole(path, data, mode=mode)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == mode
    assert os.listdir(tmp_path) == ["state"]


def test_what_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    write_whole(path, b"old", mode=0o600)

    def full(_: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]
