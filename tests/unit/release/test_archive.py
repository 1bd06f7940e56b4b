import os
import tarfile
from pathlib import Path

import pytest

from release.archive import content_digest, settle, write_archive


def make(directory: Path, *, at: int) -> Path:
    (directory / "b").mkdir(parents=True)
    for name, text, mode in (("b/one.py", "1", 0o600), ("a.sh", "2", 0o755)):
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
        os.utime(directory / name, (at, at))
    return directory


def test_equal_content_is_one_digest_and_one_archive(tmp_path: Path) -> None:
    first, second = make(tmp_path / "x", at=10), make(tmp_path / "y", at=99)
    assert content_digest(first) == content_digest(second)
    for tree in (first, second):
        write_archive(tree, tree.with_suffix(".bento"), epoch=315_532_800)
    assert (tmp_path / "x.bento").read_bytes() == (tmp_path / "y.bento").read_bytes()
    with tarfile.open(tmp_path / "x.bento") as tar:
        assert [(m.name, m.mode, m.mtime, m.uname) for m in tar] == [
            ("a.sh", 0o755, 315_532_800, ""),
            ("b/one.py", 0o644, 315_532_800, ""),
        ]


@pytest.mark.parametrize("change", ["text", "name", "mode"])
def test_any_change_is_another_digest(tmp_path: Path, change: str) -> None:
    tree = make(tmp_path / "x", at=10)
    before = content_digest(tree)
    file = tree / "a.sh"
    if change == "text":
        file.write_text("3")
    elif change == "name":
        file.rename(tree / "c.sh")
    else:
        file.chmod(0o644)
    assert content_digest(tree) != before


def test_a_link_is_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "x", at=10)
    (tree / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="neither file nor directory"):
        content_digest(tree)


def test_what_other_tools_packed_at_other_times_is_the_same_once_it_is_settled(tmp_path: Path) -> None:
    for name, at, order in (("x", 10, ["a.sh", "b/one.py"]), ("y", 99, ["b/one.py", "a.sh"])):
        tree = make(tmp_path / name, at=at)
        with tarfile.open(tmp_path / f"{name}.tgz", "w:gz") as tar:
            for file in order:
                tar.add(tree / file, arcname=file)
        settle(tmp_path / f"{name}.tgz", epoch=315_532_800)
    assert (tmp_path / "x.tgz").read_bytes() == (tmp_path / "y.tgz").read_bytes()
    with tarfile.open(tmp_path / "x.tgz") as tar:
        assert [(m.name, m.mode, m.mtime) for m in tar] == [
            ("a.sh", 0o755, 315_532_800),
            ("b/one.py", 0o644, 315_532_800),
        ]
        one = tar.extractfile("b/one.py")
        assert one is not None
        assert one.read() == b"1"
