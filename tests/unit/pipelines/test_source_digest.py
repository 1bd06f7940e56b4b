from pathlib import Path

import pytest

from pipelines.source_digest import digest_of, source_digest

PLAIN = "def double(x):\n    return 2 * x\n"


def of(directory: Path, text: str, name: str = "module.py") -> str:
    package = directory / "package"
    package.mkdir(exist_ok=True)
    for file in package.iterdir():
        file.unlink()
    (package / name).write_text(text)
    return digest_of((package,))


@pytest.mark.parametrize(
    "text",
    [
        '"""What it does."""\n\n\ndef double(x):\n    """Twice."""\n    return 2 * x\n',
        "def double(x):  # twice\n\n    return (2 * x)\n",
    ],
)
def test_words_and_layout_do_not_count(tmp_path: Path, text: str) -> None:
    assert of(tmp_path, text) == of(tmp_path, PLAIN)


def test_what_code_does_and_where_it_stands_counts(tmp_path: Path) -> None:
    assert of(tmp_path, PLAIN.replace("2", "3")) != of(tmp_path, PLAIN)
    assert of(tmp_path, PLAIN, "other.py") != of(tmp_path, PLAIN)


def test_a_constant_string_that_is_no_docstring_counts(tmp_path: Path) -> None:
    assert of(tmp_path, 'SOURCE = "one"\n') != of(tmp_path, 'SOURCE = "two"\n')


def test_the_packages_have_one_digest() -> None:
    assert source_digest() == source_digest()
    assert len(source_digest()) == 64
