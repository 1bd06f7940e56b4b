"""The logit lens: what the layers inside a model would say, read through its own output layer.

Looked at is the place where a gold answer first gives itself away: the first token that its hold-out twins do not have,
or the first one of the value, with up to two tokens after it. Models of fewer than 8 layers have hardly an inside:
there it is not run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipelines.encode import Encoded
from pipelines.model import LoadedModel
from pipelines.verify.token_scores import Lens

MIN_LAYERS = 8
LOOKED_AT = 3
_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f")


def unfit(loaded: LoadedModel) -> str | None:
    """Why the lens cannot be read on a model; None: it can."""
    layers = _layers(loaded.model)
    if layers < MIN_LAYERS:
        return f"the model has {layers} layers; {MIN_LAYERS} are needed"
    if _norm(loaded.model) is None or _bare(loaded.model).get_output_embeddings() is None:
        return "the architecture's last normalisation or output layer was not found"
    return None


def telling(gold: Encoded, others: Sequence[Encoded], before: Encoded | None = None) -> tuple[int, ...]:
    """Where a gold answer first gives itself away, as numbers of answer tokens.

    Args:
        gold: Question and gold answer.
        others: Question and each twin.
        before: Question and what stands before the value in the gold answer, to be used where there are no twins.

    Returns:
        Up to three places; none where nothing tells gold answer and twins apart.
    """
    own = gold.ids[gold.answer_start :]
    compared = [other.ids[other.answer_start :] for other in (others or ([before] if before else []))]
    if not compared:
        return ()
    start = min(_common(own, other) for other in compared)
    return tuple(range(start, min(start + LOOKED_AT, len(own))))


def read(
    loaded: LoadedModel, hidden: Sequence[torch.Tensor], lines: torch.Tensor, places: torch.Tensor, gold: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read every layer but the last at some positions.

    Args:
        loaded: The model.
        hidden: Hidden states as transformers returns them: embeddings, then one (B, T, D) after each layer.
        lines: (N,) row of each position.
        places: (N,) its place in the row.
        gold: (N,) the token that follows it.

    Returns:
        (L - 1, N) ranks of the gold tokens and (L - 1, N) log-probabilities.
    """
    norm, head = _norm(loaded.model), _bare(loaded.model).get_output_embeddings()
    assert norm is not None
    ranks, told = [], []
    for states in hidden[1:-1]:
        logits = head(norm(states[lines, places])).float()
        own = logits.gather(1, gold[:, None])
        ranks.append((logits > own).sum(dim=1))
        told.append(own[:, 0] - logits.logsumexp(dim=1))
    return torch.stack(ranks), torch.stack(told)


def split(ranks: torch.Tensor, told: torch.Tensor, counts: Sequence[int]) -> list[Lens | None]:
    """Deal what was read to the answers that it belongs to; None for an answer without places."""
    ends = np.cumsum(counts)
    rows, levels = ranks.cpu().numpy(), told.float().cpu().numpy()
    return [
        Lens(rows[:, end - count : end].copy(), levels[:, end - count : end].copy()) if count else None
        for end, count in zip(ends.tolist(), counts, strict=True)
    ]


def width(model: Any) -> int:
    """Elements that a model keeps of each token when its layers are read."""
    config = _bare(model).config.get_text_config()
    return int(config.hidden_size) * (_layers(model) + 1)


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _layers(model: Any) -> int:
    return int(_bare(model).config.get_text_config().num_hidden_layers)


def _norm(model: Any) -> Any | None:
    decoder = _bare(model).get_decoder()
    return next((getattr(decoder, name) for name in _NORMS if hasattr(decoder, name)), None)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
