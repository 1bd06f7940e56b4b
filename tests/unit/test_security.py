"""SECURITY.md: each threat names tests, and each of these tests exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([RSC]\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(file: str) -> set[str]:
    path = ROOT / file
    if not path.is_file():
        return set()
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str) -> list[str]:
    """Threats without a test, and tests that are not there."""
    faults = []
    for number, _, _, cell in ROW.findall(text):
        named = NAMED.findall(cell)
        if not named or NAMED.sub("", cell).strip():
            faults.append(f"{number}: {cell}")
        faults += [f"{number}: {file}::{test}" for file, test in named if test not in names_in(file)]
    return faults


def test_every_threat_has_tests_that_exist() -> None:
    assert missing(TEXT) == []


def test_threats_are_numbered_without_a_gap_and_stand_once() -> None:
    numbers = [number for number, *_ in ROW.findall(TEXT)]
    for letter, least in (("R", 16), ("S", 12), ("C", 6)):
        own = [int(number[1:]) for number in numbers if number[0] == letter]
        assert own == list(range(1, len(own) + 1))
        assert len(own) >= least


def test_every_test_that_is_named_stands_in_a_threat() -> None:
    assert len(NAMED.findall(TEXT)) == sum(len(NAMED.findall(cell)) for *_, cell in ROW.findall(TEXT))


@pytest.mark.parametrize(
    "row",
    [
        "| R1 | who | what | `tests/unit/test_security.py::test_that_is_not_there` |",
        "| R1 | who | what | `tests/unit/test_no_such_file.py::test_x` |",
        "| R1 | who | what | to be written |",
        "| R1 | who | what | – |",
    ],
)
def test_a_threat_without_a_test_is_found(row: str) -> None:
    assert missing(row)
