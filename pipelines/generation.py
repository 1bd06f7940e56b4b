"""Answers of a model: batched by length, with a cache, in the order asked."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipelines.encode import batches, encode_prompts
from pipelines.model import LoadedModel, keeps_last_logits
from pipelines.ranks import ALONE
from pipelines.shared import shared
from policies.errors import LetheError

Progress = Callable[[int, int], None]  # done, of how many


@shared("progress")
def generate(
    loaded: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    max_batch_tokens: int = 16384,
    temperature: float = 0.0,
    seed: int = 0,
    starts: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[str]:
    """Answer every prompt through the chat template.

    Args:
        loaded: The model, with or without an adapter.
        prompts: The users' turns. Duplicates are answered each (sampling may differ).
        max_new_tokens: Where an answer is cut.
        max_batch_tokens: Bound on prompts plus answers of one batch.
        temperature: 0 is greedy.
        seed: Of the sampling.
        starts: The beginning of each answer, which the model goes on from; none, or one for every prompt.
        progress: Called after each batch.

    Returns:
        The answers in the order of the prompts, without prompt, given start and special tokens, stripped.

    Raises:
        LetheError: ``verify.bad_logits``: a logit is no number, so no answer is one either.
        ValueError: There are starts, but not as many as prompts.
    """
    if starts and len(starts) != len(prompts):
        raise ValueError("give no starts, or one for every prompt")
    encoded = encode_prompts(loaded.tokenizer, prompts, starts)
    generator = torch.Generator(device=loaded.device).manual_seed(seed)
    groups = batches([len(ids) + max_new_tokens for ids in encoded], max_batch_tokens)
    # Drawn answers hang on every draw before them: then one rank, or each for itself, does all.
    ranks = loaded.ranks if temperature <= 0 else ALONE

    def answered(group: list[int]) -> list[str]:
        outputs = _continue(loaded, [encoded[i] for i in group], max_new_tokens, temperature, generator)
        return list(loaded.tokenizer.batch_decode(outputs, skip_special_tokens=True))

    def told(done: int) -> None:
        if progress:
            progress(sum(map(len, groups[:done])), len(prompts))

    answers = [""] * len(prompts)
    for group, texts in zip(groups, ranks.deal(groups, answered, told), strict=True):
        for index, text in zip(group, texts, strict=True):
            answers[index] = text.strip()
    return answers


@torch.inference_mode()
def _continue(
    loaded: LoadedModel,
    prompts: list[list[int]],
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    """Continue left-padded prompts token by token; rows that are done leave the batch."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[loaded.pad_id] * (width - len(p)) + p for p in prompts], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=loaded.device)
    outputs: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    stop = loaded.stop_ids
    last_only = {"logits_to_keep": 1} if keeps_last_logits(loaded.model) else {}
    past: Any = None
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past,
            use_cache=True,
            **last_only,
        )
        past = out.past_key_values
        top, chosen = _choose(out.logits[:, -1].float(), temperature, generator)
        if not bool(top.isfinite().all()):  # NaN would choose token 0 and read as "forgotten"
            raise LetheError("verify.bad_logits", "The model's logits are not finite: it can give no answer.")
        tokens = chosen.tolist()
        keep = [n for n, token in enumerate(tokens) if token not in stop]
        for n in keep:
            outputs[alive[n]].append(tokens[n])
        if not keep:
            break
        if len(keep) < len(tokens):
            rows = torch.tensor(keep, device=loaded.device)
            alive, chosen, mask = [alive[n] for n in keep], chosen[rows], mask[rows]
            past.batch_select_indices(rows)
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return outputs


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest logit of each row, NaN where one is, and the chosen token."""
    top, best = logits.max(dim=-1)
    if temperature <= 0 or not bool(top.isfinite().all()):  # nothing can be drawn from what is no number
        return top, best
    return top, torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
