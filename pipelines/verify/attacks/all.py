"""The list of attacks; a new one is written, then imported here."""

from pipelines.verify.attacks import (  # noqa: F401 - they register themselves
    aim,
    completion,
    paraphrase,
    prefix_injection,
    quantised,
    role_play,
    typos,
)
