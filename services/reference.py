"""Writes docs/errors.md, docs/settings.md and docs/settings.schema.json: ``python -m services.reference``.

A test keeps them equal to the code. The settings name the version that they belong to.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from policies.errors import ERRORS
from services.settings import ENV_PREFIX, Settings

PAGES = Path(__file__).parent.parent / "docs"
_PROJECT = PAGES.parent / "pyproject.toml"
_HEAD = ("| setting | value | default | meaning |", "|---|---|---|---|")
_NOTE = "<!-- Written by `python -m services.reference`; edit the code, not this page. -->"


def errors_page() -> str:
    """Every error code, with its HTTP status and what to do."""
    lines = [
        "# Errors",
        "",
        _NOTE,
        "",
        "Every refusal has a stable code. APIs answer with the status and one body, the command line prints it (with",
        "`--json` as that body) and exits with 2. No message holds personal data.",
        "",
        "```json",
        '{"error": {"code": "ticket.not_found", "message": "…", "remedy": "…", "details": []}}',
        "```",
    ]
    area = ""
    for code in sorted(ERRORS):
        kind = ERRORS[code]
        if code.partition(".")[0] != area:
            area = code.partition(".")[0]
            lines += ["", f"## {area}", "", "| code | status | what to do |", "|---|---|---|"]
        lines.append(f"| `{code}` | {kind.status} | {_cell(kind.remedy)} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting, with its variable, its default and its meaning."""
    lines = [
        "# Settings",
        "",
        _NOTE,
        "",
        f"Those of version {version()}; `docs/settings.schema.json` has the same for an editor of `lethe.toml`.",
        "",
        "Read once at start. The environment counts over `lethe.toml` in the home directory, that over the default.",
        f"In the file `intake.port` is `port` under `[intake]`; in the environment it is `{ENV_PREFIX}INTAKE__PORT`.",
        "A name that no setting has is refused. Lists and tables are JSON in the environment.",
    ]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            lines += ["", f"## {name}", "", (group.__doc__ or "").split("\n")[0], ""]
            lines += [*_HEAD, *_rows(group, name)]
        else:
            kind = _kind(Settings.model_json_schema()["properties"][name])
            lines += ["", f"## {name}", "", *_HEAD, _row(name, field, kind)]
    return "\n".join(lines) + "\n"


def settings_schema() -> str:
    """The JSON Schema of ``lethe.toml``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    schema["title"] = f"lethe.toml of version {version()}"
    return json.dumps(schema, indent=1, sort_keys=True, default=str) + "\n"


def version() -> str:
    """The version that the pages belong to."""
    return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])


def _rows(group: type[BaseModel], prefix: str) -> Iterator[str]:
    kinds = group.model_json_schema()["properties"]
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}.{name}")
            continue
        yield _row(f"{prefix}.{name}", field, _kind(kinds[name]))
        for entry in get_args(inner):  # a table whose entries are groups themselves
            if isinstance(entry, type) and issubclass(entry, BaseModel):
                yield from _rows(entry, f"{prefix}.{name}.NAME")


def _row(name: str, field: FieldInfo, kind: str) -> str:
    default = "needed" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return f"| `{name}` | {kind} | {default} | {_cell(field.description or '')} |"


def _kind(schema: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        return "entries, see below"
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    if schema["type"] == "object":
        return f"table of {_kind(schema['additionalProperties'])}"
    if schema.get("format") == "path":
        return "path"
    words = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return ", ".join([words[schema["type"]], *limits])


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", {}, ()):
        return "–"
    if isinstance(value, tuple):
        value = ", ".join(str(item) for item in value)
    return f"`{value}`" if not isinstance(value, bool) else f"`{str(value).lower()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write() -> None:
    """Writes the pages and the schema."""
    PAGES.mkdir(exist_ok=True)
    (PAGES / "errors.md").write_text(errors_page())
    (PAGES / "settings.md").write_text(settings_page())
    (PAGES / "settings.schema.json").write_text(settings_schema())


if __name__ == "__main__":
    write()
