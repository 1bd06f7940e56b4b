"""Writes values.yaml, values.schema.json and the README's table of values: ``python -m charts.reference``.

A test keeps the files equal to the classes in ``charts.values``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from charts.values.chart import Values, settings_schema
from charts.values.kinds import Group

CHART = Path(__file__).parent / "lethe"
_NOTE = "Written by `python -m charts.reference`; edit charts/values, not this."
_OWN_GROUPS = {"StoreSettings", "KeySettings", "DeploymentSettings"}  # what no value of the chart describes
_BEGIN, _END = "<!-- values: begin -->", "<!-- values: end -->"


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of the values, closed at every level that is ours."""
    whole = Values.model_json_schema(by_alias=True)
    settings = settings_schema()
    used = {key: value for key, value in settings.pop("$defs").items() if key not in _OWN_GROUPS}
    definitions = {**whole.pop("$defs"), **_renamed(used)}
    description = whole["properties"]["config"]["description"]
    whole["properties"]["config"] = {**_renamed(settings), "description": description}
    plain: dict[str, Any] = _plain({**whole, "$defs": definitions})
    for group in (plain, *plain["$defs"].values()):
        for value in group.get("properties", {}).values():
            if "description" not in value:
                value["description"] = _described(value, plain["$defs"])
    # Helm hands every chart a `global`, with whatever an umbrella chart has there.
    plain["$defs"]["Global"]["additionalProperties"] = True
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values of the chart lethe", **plain}


def _renamed(part: Any) -> Any:
    """Definitions of settings under names of their own."""
    if isinstance(part, dict):
        if "properties" not in part and "$ref" not in part and part and all(_is_definition(v) for v in part.values()):
            return {f"Lethe{name}": _renamed(value) for name, value in part.items()}
        return {
            key: value.replace("#/$defs/", "#/$defs/Lethe") if key == "$ref" else _renamed(value)
            for key, value in part.items()
        }
    return [_renamed(item) for item in part] if isinstance(part, list) else part


def _is_definition(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "object" and "title" in value and "properties" in value


def _plain(part: Any, *, names: bool = False) -> Any:
    """Without titles and defaults: values.yaml says the latter."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = part if names else {key: value for key, value in part.items() if key not in {"title", "default"}}
    return {key: _plain(value, names=key in {"properties", "$defs"} and not names) for key, value in kept.items()}


def _described(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    reference = value.get("$ref", "")
    return str(definitions[reference.rpartition("/")[2]]["description"]) if reference else ""


def leaves(group: Group | None = None, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every value that is no group: its path, its default, what it says."""
    chosen = group or Values()
    for name, field in type(chosen).model_fields.items():
        value, path = getattr(chosen, name), f"{prefix}{field.alias or name}"
        if isinstance(value, Group):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value, field.description or ""


def values_yaml() -> str:
    """The defaults, each with its description above it."""
    return "\n".join([f"# {_NOTE}", *_lines(Values(), "")]) + "\n"


def _lines(group: Group, indent: str) -> Iterator[str]:
    for name, field in type(group).model_fields.items():
        value, key = getattr(group, name), field.alias or name
        if isinstance(value, Group):
            about = field.description or (type(value).__doc__ or "").strip().split("\n")[0]
            yield f"{indent}# {about}"
            yield f"{indent}{key}:"
            yield from _lines(value, f"{indent}  ")
            continue
        yield f"{indent}# {field.description}"
        dumped = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=False, width=1000)
        yield from (f"{indent}{line}" for line in dumped.rstrip().split("\n"))


def table() -> str:
    """Every value in a table, by path."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for path, default, about in leaves():
        told = "" if default in ("", {}, []) else f"`{json.dumps(default)}`".replace("|", "\\|")
        rows.append(f"| `{path}` | {told} | {about.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def readme() -> str:
    """The README with a fresh table."""
    text = (CHART / "README.md").read_text()
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}\n<!-- {_NOTE} -->\n\n{table()}\n{_END}{tail}"


def written() -> dict[Path, str]:
    """Every generated file, and what it should hold."""
    return {
        CHART / "values.yaml": values_yaml(),
        CHART / "values.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        CHART / "README.md": readme(),
    }


def main() -> None:
    """Write them."""
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
