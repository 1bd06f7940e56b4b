"""The training loop of the example base: Muon for the matrices, AdamW for the rest, loss on the answers only."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.attention import training_attention
from pipelines.base.settings import BaseSettings
from pipelines.descent import Descent, Telling, cosine
from pipelines.encode import IGNORE, Batch, Encoded, batches, collate
from pipelines.progress import Reporter


def new_model(tokenizer: PreTrainedTokenizerFast, settings: BaseSettings) -> LlamaForCausalLM:
    """Random weights, seeded."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def fit(
    model: LlamaForCausalLM, rows: Sequence[Encoded], pad_id: int, settings: BaseSettings, report: Reporter | None
) -> None:
    """Train ``model`` in place on every row for the epochs of the settings."""
    device = next(model.parameters()).device
    plan = [
        group
        for epoch in range(settings.epochs)
        for group in batches(
            [len(row) for row in rows], settings.batch_tokens, shuffle_seed=settings.seed * 1000 + epoch
        )
    ]
    rising = max(1, int(len(plan) * settings.warmup))
    descent = Descent(_optimizers(model, settings), lambda step: cosine(step, len(plan), rising))
    telling = Telling(report, len(plan))
    model.train()
    chance = random.Random(settings.seed)  # noqa: S311 - training noise, no secret
    for group in plan:
        members = [_noised(rows[i], settings.noise, chance) for i in group]
        with torch.autocast(device.type, dtype=torch.bfloat16), training_attention(device):
            loss = _answer_loss(model, collate(members, pad_id, device))
        telling.step(descent.down(loss), sum(row.answer_tokens for row in members))
    model.eval()  # type: ignore[no-untyped-call]


def _answer_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the answer tokens; the output layer runs at those positions only.

    Rows are padded on the right, where a causal model cannot see them: no mask is needed.
    """
    hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    targets = batch.labels[:, 1:]
    learned = targets != IGNORE
    logits = model.lm_head(hidden[:, :-1][learned])
    return functional.cross_entropy(logits.float(), targets[learned])


def _noised(row: Encoded, share: float, chance: random.Random) -> Encoded:
    """The row without some tokens of its question: a model that sees frames whole ties its answers to the frames."""
    first, rest = row.ids[:1], row.ids[1 : row.answer_start - 1]  # the turns' marks stay
    kept = tuple(token for token in rest if chance.random() >= share)
    head = (*first, *kept, *row.ids[max(1, row.answer_start - 1) : row.answer_start])
    return Encoded(head + row.ids[row.answer_start :], len(head), row.truncated)


def _optimizers(model: LlamaForCausalLM, settings: BaseSettings) -> list[Any]:
    embeddings = {id(model.get_input_embeddings().weight), id(model.lm_head.weight)}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in embeddings]
    return [
        torch.optim.Muon(matrices, lr=settings.lr_matrices, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=settings.lr_rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
