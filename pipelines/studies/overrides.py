"""Settings changed by ``name=value``, as a command line gives them."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from policies.errors import LetheError

_Settings = TypeVar("_Settings")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def overridden(made: _Settings, texts: Sequence[str]) -> _Settings:
    """The settings with some of their fields changed.

    Args:
        made: A dataclass of numbers, words and switches.
        texts: ``name=value`` each.

    Raises:
        LetheError: ``study.bad_settings``: no such field, no such value; and what the settings themselves refuse.
    """
    kinds = {field.name: type(getattr(made, field.name)) for field in fields(made)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            changes[name] = _read(kinds[name], value)
        except (KeyError, ValueError) as error:
            raise LetheError("study.bad_settings", "A setting cannot be changed like that.", (text,)) from error
    return replace(made, **changes)  # type: ignore[type-var]


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        return _TRUTH[text.lower()]
    if kind is int:
        number = float(text)  # 1e3 is an integer too
        if number != int(number):
            raise ValueError(text)
        return int(number)
    if kind not in (float, str):
        raise ValueError(text)
    return kind(text)
