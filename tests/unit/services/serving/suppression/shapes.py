"""What two answers are compared by: everything but their words."""

from typing import Any


def shape(value: Any) -> Any:
    """Keys in their order and kinds of values; what differs from answer to answer is left out."""
    if isinstance(value, dict):
        return [(key, shape(entry)) for key, entry in value.items()]
    if isinstance(value, list):
        return [shape(entry) for entry in value]
    return type(value).__name__


def steps(events: list[dict[str, Any]]) -> list[Any]:
    """The shapes of a stream's events, runs of equal ones once."""
    shapes = [shape(event) for event in events]
    return [one for at, one in enumerate(shapes) if at == 0 or shapes[at - 1] != one]
