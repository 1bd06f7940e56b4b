"""What the code and the documents promise is there: error codes, settings, commands."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from policies.errors import ERRORS
from services.cli import AREAS
from services.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("policies", "pipelines", "services")


@cache
def trees() -> dict[Path, ast.Module]:
    paths = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def strings(but: str) -> set[str]:
    return {
        node.value
        for path, tree in trees().items()
        if str(path.relative_to(ROOT)) != but
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_error_code_is_raised_somewhere() -> None:
    said = strings("policies/errors.py")
    assert not set(ERRORS) - said, "remove them from policies.errors"


def fields(group: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, (*prefix, name))
        else:
            yield (*prefix, name)


def group_classes() -> dict[str, set[str]]:
    """Class names of every group of settings, those it inherits from too, by the group's name."""
    found: dict[str, set[str]] = {"": {"Settings"}}

    def look(model: type[BaseModel], name: str) -> None:
        found[name] = {one.__name__ for one in model.__mro__ if issubclass(one, BaseModel) and one is not BaseModel}
        for inner, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                look(field.annotation, inner)

    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            look(field.annotation, name)
    return found


def reads(tree: ast.Module, classes: dict[str, set[str]]) -> set[tuple[str, str]]:
    """(group, field) of every attribute that is read of a group of settings, as far as a name tells which it is."""
    known: dict[str, set[str]] = {}  # how the file calls a group
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            named = ast.unparse(node.annotation).strip("'\"").removesuffix(" | None").strip("'\"").split(".")[-1]
            known.setdefault(name, set()).update(group for group, names in classes.items() if named in names)
    for _ in range(2):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                value = ast.unparse(node.value)
                groups = {group for group in classes if group and value.endswith(f".{group}")} | known.get(value, set())
                for target in node.targets:
                    known.setdefault(ast.unparse(target), set()).update(groups)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            groups = known.get(base, set()) | {base.rpartition(".")[2]}
            found |= {(group, node.attr) for group in groups}
            if base.rpartition(".")[2].strip("_") in {"settings", "self"}:
                found.add(("", node.attr))
    return found


def test_every_setting_is_read_somewhere() -> None:
    classes = group_classes()
    read = {pair for tree in trees().values() for pair in reads(tree, classes)}
    whole = {"serving.floor"}  # handed over as a whole: its fields are the thresholds
    unused = [
        ".".join(path)
        for path in fields(Settings)
        if ".".join(path[:-1]) not in whole and ((("", *path)[-2]), path[-1]) not in read
    ]
    assert not unused, "a setting that nothing reads promises what does not exist: remove it"


def commands() -> Iterator[tuple[str, ...]]:
    for area, (module, _) in AREAS.items():
        command = typer.main.get_command(importlib.import_module(module).app)
        yield (area,)
        for name in getattr(command, "commands", ()):
            yield (area, name)


def mentioned() -> Iterator[tuple[str, str]]:
    """Every command that a document, a remedy or an explanation names, with the words that follow it."""
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    }
    texts["policies/errors.py"] = "\n".join(kind.remedy for kind in ERRORS.values())
    for place, text in texts.items():
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"```(.*?)```", text, flags=re.DOTALL)
        plain = [text] if place.endswith(".py") else code
        for piece in plain:
            for found in re.finditer(r"(?<![\w/.-])lethe ((?:[a-z][a-z-]*)(?: [a-z][a-z0-9-]*)?)", piece):
                yield place, found[1]


@pytest.mark.parametrize(("place", "command"), sorted(set(mentioned())))
def test_every_command_that_is_mentioned_exists(place: str, command: str) -> None:
    words = tuple(command.split())
    known = set(commands())
    groups = {command[0] for command in known if len(command) == 2}
    assert (words[:1] in known) if words[0] not in groups or len(words) == 1 else (words in known), place


def test_every_command_is_listed() -> None:
    names = {path.stem for path in (ROOT / "services" / "commands").glob("*.py")} - {
        "__init__",
        "counting",
        "training",
        "ticket_people",
    }
    assert {module.rpartition(".")[2] for module, _ in AREAS.values()} == names
