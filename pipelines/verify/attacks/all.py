"""The list of attacks; a new one is written, then imported here."""

from pipelines.verify.attacks import (  # noqa: F401 - they register themselves
    aim,
    any_of_k,
    completion,
    in_context,
    interference,
    languages,
    leak_at_k,
    membership,
    paraphrase,
    prefix_injection,
    quantised,
    relearn_benign,
    relearn_leaked,
    role_play,
    rtt,
    typos,
)
