"""How likely a model finds the value alone, after the gold answer's own beginning: the score for membership tests.

The likelihood of a whole answer tells a subject from a stranger though nothing private was learned: the subject's name
is known from what is kept, and the tokenizer, made from the whole corpus, cuts its words into fewer pieces. The mean
over the value's tokens leaves the name out and does not grow with the number of pieces (docs/control.md has figures).
"""

import math
from collections.abc import Callable, Sequence

import torch

from pipelines.model import LoadedModel
from pipelines.rows import Probe
from pipelines.verify.patching import grouped, positions, told, value_tokens
from pipelines.verify.results import Item
from policies.errors import LetheError


def value_items(
    loaded: LoadedModel,
    probes: Sequence[Probe],
    *,
    max_batch_tokens: int = 16384,
    progress: Callable[[int, int], None] | None = None,
) -> list[Item]:
    """Mean log-probability of the value's tokens, in nats a token, by probe; higher looks more like a member.

    Args:
        loaded: The model, with or without an adapter.
        probes: With gold answers; None is the score where no value is known or the answer does not say it.
        max_batch_tokens: Bound on the padded tokens of one batch.
        progress: Told done and of how many after each batch; what it raises ends the pass.

    Raises:
        LetheError: ``verify.bad_logits``: the model's logits are no numbers.
    """
    asked = [value_tokens(loaded, probe) for probe in probes]
    rows = [(n, one) for n, one in enumerate(asked) if one is not None and one.places]
    found: list[float | None] = [None] * len(probes)
    done = 0
    for group in grouped([one for _, one in rows], max_batch_tokens):
        at = positions(loaded, [rows[i][1] for i in group])
        parts = torch.split(told(loaded, at), list(at.counts))
        for index, part in zip(group, parts, strict=True):
            found[rows[index][0]] = float(part.mean())
        done += len(group)
        if progress:
            progress(done, len(rows))
    if any(score is not None and not math.isfinite(score) for score in found):
        raise LetheError("verify.bad_logits", "The model's logits are not finite: no figure can be read from them.")
    return [Item(probe=p.probe_id, fact=p.fact, score=score) for p, score in zip(probes, found, strict=True)]
