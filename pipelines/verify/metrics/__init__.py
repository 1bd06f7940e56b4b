"""The metrics, one small file each; importing this package registers them all."""

from pipelines.verify.metrics import (
    fluent_text,
    forgetting,
    linguistic,
    named,
    other_people,
    retention,
    value_kept,
)
from pipelines.verify.metrics.registry import Context, Group, run_all

__all__ = [
    "Context",
    "Group",
    "fluent_text",
    "forgetting",
    "linguistic",
    "named",
    "other_people",
    "retention",
    "run_all",
    "value_kept",
]
