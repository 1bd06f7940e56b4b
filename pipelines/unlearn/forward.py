"""One forward pass of a causal LM, with logits only where a loss looks."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from pipelines.attention import training_attention
from pipelines.encode import IGNORE, Encoded, collate
from pipelines.unlearn.losses import Scored


def score(model: Any, rows: Sequence[Encoded], pad_id: int, device: torch.device, *, autocast: bool = True) -> Scored:
    """Logits at the answer positions of some rows.

    Rows are padded on the right, where a causal model does not look: no mask is needed, and attention stays on its
    fast path. The output layer, for a small model most of the work, runs from the first answer of the batch on.
    """
    batch = collate(rows, pad_id, device)
    first = min(row.answer_start for row in rows) - 1
    width = batch.input_ids.shape[1]
    options = {"logits_to_keep": width - first} if _keeps_last_logits(model) else {}
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast), training_attention(device):
        logits = model(input_ids=batch.input_ids, use_cache=False, **options).logits
    logits = logits[:, -(width - first) :][:, :-1]
    targets = batch.labels[:, first + 1 :]
    learned = targets != IGNORE
    lines = learned.nonzero(as_tuple=True)[0]
    return Scored(logits[learned], targets[learned], lines, len(rows))


def _keeps_last_logits(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
