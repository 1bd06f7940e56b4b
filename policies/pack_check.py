"""Checks a policy pack and names every fault at once, each with its line and column in the YAML file."""

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from policies.conditions import check_condition
from policies.pack import MAX_PACK_BYTES, PackData, pack_path
from policies.thresholds import FLOOR, Thresholds

Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in a pack. Line and column count from 1; ``path`` is ``rules.2.when``."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.path or 'pack'}: {self.message}"


def check_pack(name: str | Path) -> list[Fault]:
    """Every fault of a pack (a built-in name or a path), in the order of the file; empty: the pack is sound.

    Raises:
        LetheError: ``policy.pack_not_found``.
    """
    return read_pack(pack_path(name))[1]


def read_pack(path: Path) -> tuple[PackData | None, list[Fault]]:
    """The content of a pack's file (None where its shape is wrong) and every fault in it."""
    raw = path.read_bytes()
    if len(raw) > MAX_PACK_BYTES:
        return None, [Fault(1, 1, "", f"larger than {MAX_PACK_BYTES // 1024} KiB")]
    try:
        document = _Document.read(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return None, [Fault(1, 1, "", "not UTF-8")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [Fault(line, column, "", f"not YAML: {error.problem or error.context}")]
    except (yaml.YAMLError, RecursionError):
        return None, [Fault(1, 1, "", "not YAML")]
    data, faults = _shape(document)
    faults += _duplicate_keys(document)
    for check in _CHECKS:
        faults += check(document)
    return data, sorted(set(faults))


class _Document:
    """A YAML file as values and as nodes, so that a value's place can be told."""

    def __init__(self, root: yaml.Node) -> None:
        self.root = root
        self.value = _plain(yaml.SafeLoader("").construct_document(root))

    @classmethod
    def read(cls, text: str) -> "_Document":
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise yaml.YAMLError("empty")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed: a pack is read line by line")
        return cls(root)

    def get(self, *path: int | str, default: Any = None) -> Any:
        """The value at a path, or the default; never raises, for the file may have any shape."""
        value = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def items(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The mappings in the list called ``name``."""
        found = self.get(name)
        for index, item in enumerate(found if isinstance(found, list) else []):
            if isinstance(item, dict):
                yield index, item

    def fault(self, location: Location, message: str, *, at_key: bool = False) -> Fault:
        """A fault at the place of the deepest node that exists on the way."""
        node, place = self.root, self.root
        for part in location:
            key, child = _child(node, part)
            if child is None:
                break
            node, place = child, key if at_key and key is not None else child
        mark = place.start_mark
        return Fault(mark.line + 1, mark.column + 1, ".".join(map(str, location)), message)

    def line_of(self, location: Location) -> tuple[int, int, str]:
        """First line, column and style of the scalar at a location."""
        node = self.root
        for part in location:
            _, child = _child(node, part)
            if child is None:
                break
            node = child
        style = node.style if isinstance(node, yaml.ScalarNode) and node.style else ""
        return node.start_mark.line + 1, node.start_mark.column + 1, style


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _plain(value: Any) -> Any:
    """YAML's values as JSON's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _shape(document: _Document) -> tuple[PackData | None, list[Fault]]:
    try:
        return PackData.model_validate_json(json.dumps(document.value, default=str)), []
    except ValidationError as error:
        return None, [_shape_fault(document, fault) for fault in error.errors(include_url=False)]


def _shape_fault(document: _Document, fault: Any) -> Fault:
    location: Location = tuple(part for part in fault["loc"] if part != "[key]")
    if fault["type"] == "extra_forbidden":
        return document.fault(location, f"unknown key{_did_you_mean(location)}", at_key=True)
    if fault["type"] == "missing":
        return document.fault(location, "missing")
    if fault["type"] == "value_error":
        return document.fault(location, str(fault["ctx"]["error"]))
    return document.fault(location, _first_lower(fault["msg"]))


def _did_you_mean(location: Location) -> str:
    """The key that was probably meant, from the model at the location's parent."""
    model: Any = PackData
    for part in location[:-1]:
        if isinstance(part, str):
            model = _model_of(getattr(model, "model_fields", {}).get(part))
    close = difflib.get_close_matches(str(location[-1]), list(getattr(model, "model_fields", {})), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _model_of(field: Any) -> Any:
    """The pydantic model inside a field's annotation (``tuple[Rule, ...]``, ``Period | None``), if there is one."""
    pending = [getattr(field, "annotation", None)]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        pending.extend(getattr(kind, "__args__", ()))
    return None


def _duplicate_keys(document: _Document) -> Iterator[Fault]:
    pending: list[tuple[Location, yaml.Node]] = [((), document.root)]
    while pending:
        location, node = pending.pop()
        if isinstance(node, yaml.SequenceNode):
            pending.extend(((*location, index), child) for index, child in enumerate(node.value))
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[str] = set()
        for key, child in node.value:
            name = str(key.value)
            if name in seen:
                mark = key.start_mark
                where = ".".join(map(str, (*location, name)))
                yield Fault(mark.line + 1, mark.column + 1, where, "this key is there twice")
            seen.add(name)
            pending.append(((*location, name), child))


def _duplicate_codes(document: _Document) -> Iterator[Fault]:
    for part, key in (("rules", "id"), ("grounds", "code"), ("exemptions", "code"), ("sources", "article")):
        seen: Counter[str] = Counter()
        for index, item in document.items(part):
            value = item.get(key)
            if not isinstance(value, str):
                continue
            seen[value] += 1
            if seen[value] > 1:
                yield document.fault((part, index, key), f"{value!r} is there twice")


def _conditions(document: _Document) -> Iterator[Fault]:
    for part in ("rules", "exemptions"):
        for index, item in document.items(part):
            text = item.get("when")
            if not isinstance(text, str):
                continue
            location: Location = (part, index, "when")
            line, column, style = document.line_of(location)
            for fault in check_condition(text):
                message = f"condition: {fault.message}"
                if style in {"|", ">"}:  # the text begins on the next line; its columns are those of the file's indent
                    yield Fault(line + fault.line, 1, ".".join(map(str, location)), message)
                else:
                    shift = fault.column - 1 + (1 if style else 0) if fault.line == 1 else 0
                    yield Fault(line + fault.line - 1, column + shift, ".".join(map(str, location)), message)


def _known_articles(document: _Document) -> Iterator[Fault]:
    known = {item.get("article") for _, item in document.items("sources")}
    if not known:
        return
    places: list[Location] = [(part, "article") for part in ("identity", "holds", "approval", "retention")]
    places += [("deadlines", clock, "article") for clock in ("confirm", "answer", "extension")]
    for part in ("grounds", "exemptions", "rules"):
        places += [(part, index, "article") for index, _ in document.items(part)]
    for place in places:
        article = document.get(*place)
        if isinstance(article, str) and article.strip() and article not in known:
            yield document.fault(place, f"{article!r} is not among the sources")


def _known_letters(document: _Document) -> Iterator[Fault]:
    texts = document.get("letters", "texts")
    if not isinstance(texts, dict):
        return
    places: list[Location] = [("letters", name) for name in ("partial", "denied", "fallback")]
    places += [("rules", index, "letter") for index, _ in document.items("rules")]
    for place in places:
        letter = document.get(*place)
        if isinstance(letter, str) and letter not in texts:
            yield document.fault(place, f"there is no letter {letter!r}; there are {', '.join(texts)}")


def _unreachable(document: _Document) -> Iterator[Fault]:
    always: str | None = None
    for index, rule in document.items("rules"):
        if always is not None:
            yield document.fault(("rules", index), f"never reached: the rule {always!r} above always fires")
        if isinstance(rule.get("when"), str) and rule["when"].strip() == "true" and always is None:
            always = str(rule.get("id"))


def _above_the_floor(document: _Document) -> Iterator[Fault]:
    values = document.get("thresholds")
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        try:  # one by one, so that a wrong value does not hide a low one
            single = Thresholds.model_validate({name: value})
        except ValidationError:
            continue
        if name in single.weaker_than(FLOOR):
            floor = getattr(FLOOR, name)
            yield document.fault(("thresholds", name), f"weaker than the floor of {floor}: no pack may ask for less")


def _agreement(document: _Document) -> Iterator[Fault]:
    """What contradicts itself between two parts of a pack."""
    sealed = document.get("retention", "sealed_months")
    keep = document.get("keep_probes")
    if keep == "none" and isinstance(sealed, int) and sealed > 0:
        yield document.fault(("retention", "sealed_months"), "must be 0, for keep_probes is none")
    if keep == "sealed" and sealed == 0:
        yield document.fault(("retention", "sealed_months"), "must be more than 0, for keep_probes is sealed")
    if document.get("approval", "approvals", default=0) and document.get("approval", "roles") == []:
        yield document.fault(("approval", "roles"), "approvals are needed, but no role may give one")
    if document.get("approval", "approvals") == 0 and document.get("approval", "four_eyes") is True:
        yield document.fault(("approval", "four_eyes"), "four eyes need at least one approval")
    for index, item in document.items("exemptions"):
        if item.get("enabled") is True and not item.get("keeps"):
            yield document.fault(("exemptions", index), "is enabled but keeps nothing")
        if item.get("enabled") is True and "*" in (item.get("keeps") or []):
            yield document.fault(("exemptions", index, "keeps"), "keeps everything: that is a denial, use a rule")


_CHECKS: tuple[Callable[[_Document], Iterator[Fault]], ...] = (
    _duplicate_codes,
    _conditions,
    _known_articles,
    _known_letters,
    _unreachable,
    _above_the_floor,
    _agreement,
)


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
