"""One forward pass of a causal LM, with logits only where a loss looks."""

from collections.abc import Sequence
from typing import Any

import torch

from pipelines.attention import training_attention
from pipelines.encode import IGNORE, Encoded, collate
from pipelines.model import keeps_last_logits
from pipelines.ranks import WHOLE, Share
from pipelines.unlearn.losses import Scored
from pipelines.unlearn.lowering import States
from policies.errors import LetheError


def score(
    model: Any,
    rows: Sequence[Encoded],
    pad_id: int,
    device: torch.device,
    *,
    autocast: bool = True,
    everywhere: bool = False,
    share: Share = WHOLE,
) -> Scored:
    """Logits at the answer positions of some rows.

    Rows are padded on the right, where a causal model does not look: no mask is needed, and attention stays on its
    fast path. The output layer, for a small model most of the work, runs from the first answer of the batch on.

    Args:
        model: The causal LM.
        rows: Encoded rows.
        pad_id: What fills the shorter ones.
        device: Where the model is.
        autocast: Compute in bf16.
        everywhere: Also at the prompts: every real token but a row's first, and never padding.
        share: What the rows count in a mean over the batch.
    """
    batch = collate(rows, pad_id, device)
    first = 0 if everywhere else min(row.answer_start for row in rows) - 1
    width = batch.input_ids.shape[1]
    options = {"logits_to_keep": width - first} if keeps_last_logits(model) else {}
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast), training_attention(device):
        logits = model(input_ids=batch.input_ids, use_cache=False, **options).logits
    logits = logits[:, -(width - first) :][:, :-1]
    wanted = batch.attention_mask.bool() if everywhere else batch.labels != IGNORE
    learned = wanted[:, first + 1 :]
    targets = batch.input_ids[:, first + 1 :]
    lines = learned.nonzero(as_tuple=True)[0]
    copied = None if everywhere else torch.tensor([there for row in rows for there in _copied(row)], device=device)
    return Scored(logits[learned], targets[learned], lines, len(rows), copied, share)


def _copied(row: Encoded) -> list[bool]:
    """Which answer tokens stand in the prompt too; never the end, which any chat template has."""
    prompt = set(row.ids[: row.answer_start])
    return [*(token in prompt for token in row.ids[row.answer_start : -1]), False]


def answers_of(everywhere: Scored, rows: Sequence[Encoded]) -> Scored:
    """The answer positions of what was scored everywhere."""
    answer = torch.cat([torch.arange(1, len(row)) >= row.answer_start for row in rows]).to(everywhere.logits.device)
    return Scored(
        everywhere.logits[answer],
        everywhere.targets[answer],
        everywhere.rows[answer],
        everywhere.count,
        share=everywhere.share,
    )


def states(
    model: Any,
    rows: Sequence[Encoded],
    pad_id: int,
    device: torch.device,
    layer: int,
    *,
    autocast: bool = True,
    share: Share = WHOLE,
) -> States:
    """The output of one layer at the answer tokens of some rows.

    Args:
        model: The causal LM.
        rows: Encoded rows.
        pad_id: What fills the shorter ones.
        device: Where the model is.
        layer: Counted from 0.
        autocast: Compute in bf16.
        share: What the rows count in a mean over the batch.
    """
    batch = collate(rows, pad_id, device)
    options = {"logits_to_keep": 1} if keeps_last_logits(model) else {}
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast), training_attention(device):
        out = model(input_ids=batch.input_ids, use_cache=False, output_hidden_states=True, **options)
    answer = batch.labels != IGNORE
    hidden = out.hidden_states[layer + 1]  # the first one is the embedding
    return States(hidden[answer], answer.nonzero(as_tuple=True)[0], len(rows), share)


def steered_layer(model: Any, wanted: int) -> int:
    """The layer that RMU steers, for -1 the one that ends the first half: 7 of 16 as published.

    Raises:
        LetheError: ``unlearn.bad_settings``: the model has no such layer.
    """
    count = int(model.config.num_hidden_layers)
    if wanted >= count:
        fault = f"rmu_layer must be below {count}, the number of layers"
        raise LetheError("unlearn.bad_settings", "The settings of the run cannot be used.", (fault,))
    return wanted if wanted >= 0 else max(0, count // 2 - 1)
