"""Likelihoods of answers the plain way, one after another, to hold the batched ones against."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pipelines.encode import encode_prompt
from pipelines.model import LoadedModel


class AnswerScore(NamedTuple):
    """Negative log-likelihood of one answer in nats, the end token left out, over how many tokens."""

    nll_sum: float
    n_tokens: int


@torch.inference_mode()
def answer_logprobs(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> list[AnswerScore]:
    """Each (question, answer) in a forward pass of its own, over the whole logits."""
    found = []
    for question, answer in pairs:
        head = encode_prompt(loaded.tokenizer, question)
        tail = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*head, *tail]], device=loaded.device)
        told = loaded.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        nll = -sum(float(told[len(head) + n - 1, token]) for n, token in enumerate(tail))
        found.append(AnswerScore(nll, len(tail)))
    return found
