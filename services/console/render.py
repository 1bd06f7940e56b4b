"""Makes pages: one Jinja environment that escapes everything, and the answers that need no page of their own."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from starlette.responses import HTMLResponse

from policies.errors import LetheError
from services.console import words
from services.console.sessions import Held


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("services.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words)
    environment.filters.update(plain=words.plain)
    return environment


def markup(template: str, held: Held | None, zone: str, values: Mapping[str, Any]) -> str:
    """A page or a part of one as text."""
    environment = _environment()
    bound = {
        "held": held,
        "scopes": held.identity.scopes if held else frozenset(),
        "csrf": held.csrf if held else "",
        "at": partial(_twice, words.moment, zone),
        "on": partial(_twice, words.day, zone),
    }
    text: str = environment.get_template(template).render({**bound, **values})
    return text


def _twice(show: Any, zone: str, value: Any) -> str:
    return str(show(value, zone))


def page(
    template: str, held: Held | None, values: Mapping[str, Any], *, zone: str = "UTC", status: int = 200
) -> HTMLResponse:
    """An answer with a page."""
    return HTMLResponse(markup(template, held, zone, values), status)


def refusal(error: LetheError, held: Held | None) -> HTMLResponse:
    """The page of an error: what went wrong, and what to do."""
    return page("refusal.html.jinja", held, {"error": error, "here": ""}, status=error.kind.status)
