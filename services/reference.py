"""Writes the reference pages docs/errors.md and docs/settings.md: ``python -m services.reference``.

A test keeps the pages equal to the code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from policies.errors import ERRORS
from services.settings import ENV_PREFIX, Settings

PAGES = Path(__file__).parent.parent / "docs"
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
        "Read once at start. The environment counts over `lethe.toml` in the home directory, that over the default.",
        f"In the file `intake.port` is `port` under `[intake]`; in the environment it is `{ENV_PREFIX}INTAKE__PORT`.",
        "A name that no setting has is refused. Lists and tables are JSON in the environment.",
    ]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            lines += ["", f"## {name}", "", (group.__doc__ or "").split("\n")[0], ""]
            lines += ["| setting | default | meaning |", "|---|---|---|", *_rows(group, name)]
        else:
            lines += ["", f"## {name}", "", "| setting | default | meaning |", "|---|---|---|", _row(name, field)]
    return "\n".join(lines) + "\n"


def _rows(group: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}.{name}")
        else:
            yield _row(f"{prefix}.{name}", field)


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_default(field.get_default(call_default_factory=True))} | {_cell(field.description or '')} |"


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
    """Writes both pages."""
    PAGES.mkdir(exist_ok=True)
    (PAGES / "errors.md").write_text(errors_page())
    (PAGES / "settings.md").write_text(settings_page())


if __name__ == "__main__":
    write()
