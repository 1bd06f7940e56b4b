"""Functions that every rank calls when rank 0 is asked: each does its part, and all come to the same result."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

_P = ParamSpec("_P")
_R = TypeVar("_R")
_SHARED: dict[str, Callable[..., Any]] = {}


class shared:
    """Decorator of a function whose first argument is the model: a call reaches every rank that holds the model.

    A model on one process is called as if nobody had decorated anything.

    Args:
        stays: Names of keyword arguments that stay with rank 0: what tells somebody, or asks somebody.
    """

    def __init__(self, *stays: str) -> None:
        self._stays = frozenset(stays)

    def __call__(
        self, function: "Callable[Concatenate[LoadedModel, _P], _R]"
    ) -> "Callable[Concatenate[LoadedModel, _P], _R]":
        name = f"{function.__module__}:{function.__qualname__}"
        _SHARED[name] = function

        @functools.wraps(function)
        def call(loaded: "LoadedModel", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            ranks = loaded.ranks
            if ranks.count == 1:
                return function(loaded, *args, **kwargs)
            try:
                ranks.tell(name, args, {key: value for key, value in kwargs.items() if key not in self._stays})
                return function(loaded, *args, **kwargs)
            except BaseException as error:
                ranks.failed(error)
                raise

        return call


def function_named(name: str) -> Callable[..., Any]:
    """A shared function by the name that ``Ranks.tell`` was given; its module is imported.

    Raises:
        KeyError: There is none of that name.
    """
    import importlib

    importlib.import_module(name.partition(":")[0])
    return _SHARED[name]
