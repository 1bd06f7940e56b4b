"""Pages say what is there: commands and their options, make targets, pages in the navigation, files of the house."""

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from policies.errors import ERRORS
from services.cli import AREAS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)
FENCE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def told(text: str) -> Iterator[str]:
    """What looks like a call of our command: a line of a block, or code within a line."""
    lines = [
        line.partition(" #")[0] for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += re.findall(r"`(lethe [a-z][^`]*)`", FENCE.sub("", text))
    for part in (part for line in lines for part in re.split(r"&&|;", line)):
        if re.match(r"\s*(\w+=\S+ )*lethe [a-z]", part):
            yield re.sub(r"^\s*(\w+=\S+ )*", "", part).strip()


@cache
def command_of(area: str) -> Any:
    return typer.main.get_command(importlib.import_module(AREAS[area][0]).app)


def fault(call: str) -> str | None:
    """What our command would not understand; None where it would."""
    words = [word for word in shlex.split(call.replace("…", " ").replace("'", "")) if word not in {"(or", "or"}]
    area, rest = words[1].rstrip(",."), words[2:]
    if area not in AREAS:
        return f"no such command: {area}"
    command = command_of(area)
    if hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return None if not rest or rest[0] == "--help" else f"{area} needs a command"
        name = rest.pop(0).rstrip(",.")
        if name not in command.commands:
            return f"no such command: {area} {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = {word.partition("=")[0].rstrip(",.)") for word in rest if word.startswith("--")}
    if unknown := sorted(given - known):
        return f"no such option: {unknown}"
    if not given or "--help" in given:
        return None  # named, not told whole
    needed = {parameter.opts[0] for parameter in command.params if parameter.required and parameter.opts[0][:2] == "--"}
    return f"needs {sorted(needed - given)}" if needed - given else None


def of_code() -> Iterator[tuple[str, str]]:
    """Calls that people are told by the command's own help, by remedies of errors and by the chart; with place."""
    for area in AREAS:
        command = command_of(area)
        for one in [command, *getattr(command, "commands", {}).values()]:
            texts = [one.help or "", *(getattr(parameter, "help", None) or "" for parameter in one.params)]
            for call in re.findall(r"[`(](lethe [a-z][^`)]*)[`)]", " ".join(texts)):
                yield f"help of {area}", call
    for code, kind in ERRORS.items():
        for call in re.findall(r"\blethe [a-z][^`:;,)]*", kind.remedy):
            yield code, call
    for file in sorted(path for path in (ROOT / "charts/lethe").rglob("*") if path.suffix in {".md", ".txt", ".yaml"}):
        text = re.sub(r"\bpython -m services\.cli ([^\n]*)", r"`lethe \1`", file.read_text().replace("\\\n", " "))
        for call in told(text):
            yield file.name, call


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_one(page: Path) -> None:
    faults = {call: fault(call) for call in told(page.read_text(encoding="utf-8"))}
    assert {call: one for call, one in faults.items() if one} == {}


def installed_by_name(text: str) -> list[str]:
    """Our name where pip would ask PyPI for it; the package there is somebody else's."""
    return re.findall(r"pip install[^\n`)]*?(?<![\w./-])lethe(?![\w/-]|\.\w).*", text)


def test_nobody_is_told_to_install_a_strangers_package() -> None:
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    texts |= {code: kind.remedy for code, kind in ERRORS.items()}
    assert {place: found for place, text in texts.items() if (found := installed_by_name(text))} == {}
    assert installed_by_name("`pip install 'lethe[postgres]'`")
    assert installed_by_name("pip install -U lethe  # the newest")
    assert not installed_by_name("pip install './dist/release/lethe-0.1.0-py3-none-any.whl[s3]' -c constraints.txt")


def test_every_command_that_code_and_chart_name_is_one_and_told_whole() -> None:
    calls = list(of_code())
    assert {place for place, _ in calls} >= {
        "help of base",
        "keys.missing",
        "validations.yaml",
        "NOTES.txt",
        "values.yaml",
    }
    faults = {(place, call): one for place, call in calls if (one := fault(call))}
    assert faults == {}


def test_the_readme_names_every_command_without_json() -> None:
    (said,) = re.findall(r"and all but (.+) have `--json`", (ROOT / "README.md").read_text(encoding="utf-8"))
    lacking = set()
    for area in AREAS:
        command = command_of(area)
        for name, one in getattr(command, "commands", {"": command}).items():
            if not any("--json" in parameter.opts for parameter in one.params):
                lacking.add(f"lethe {area} {name}".strip())
    assert set(re.findall(r"`([^`]+)`", said)) == lacking


def test_the_readme_says_what_tests_install_where_they_may() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for file in ("postgres.py", "chromium.py"):
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        (package,) = re.findall(r'"install", "-qq", "-y", "([a-z]+)"', source)
        assert f"apt-get install {package}" in source, "whoever is not root is told what to install"
        assert re.search(rf"apt-get install [a-z ]*{package}", text)


def test_a_command_that_is_none_is_found() -> None:
    text = "`lethe ticket grant T`\n```\nlethe init --everything\nLETHE_HOME=x lethe ticket list --json  # all\n"
    text += "lethe key create --scope ops:read\n```\n"
    assert [fault(call) for call in told(text)] == [
        "no such option: ['--everything']",
        None,
        "needs ['--name']",
        "no such command: ticket grant",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_on_a_page_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = re.findall(r"(?:`|^ *|&& )make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(named) <= targets


def test_every_page_stands_in_the_navigation_once() -> None:
    loader = yaml.SafeLoader((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = list(_leaves(loader.get_single_data()["nav"]))
    there = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(pages) == there


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav if isinstance(nav, list) else nav.values():
            yield from _leaves(one)


def test_the_changelog_begins_with_what_is_to_come() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ — \d{4}-\d{2}-\d{2}", head) for head in heads[1:])


def test_the_tour_of_the_house_names_every_folder_that_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^([a-z]+)/ ", text, flags=re.MULTILINE))
    there = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} | {"charts", "docs"}
    assert named == there
    for path in re.findall(r"`((?:policies|pipelines|services|tests)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
