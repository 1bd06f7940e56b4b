"""What a model answers to the canary prompts, recorded once so that every engine can be held to it.

``python -m pipelines.canaries --base DIR --dtype float32`` prints those of a bare base as JSON: whoever imports a base
has no torch in its own process.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.adapter.card import CANARY_PROMPTS, Canary
from pipelines.model import LoadedModel, load_model

TOKENS = 8
_LIKELY = 0.05  # below this a log-probability says little about two kernels being the same
_TOP = 5
_TIE = 1e-3  # of logits; kernels in float32 differ by far less


@dataclass(frozen=True, slots=True)
class Greedy:
    """What a model says by itself to a prompt.

    Attributes:
        prompt: The user's message.
        tokens: Length of the answer.
        text: The answer.
        first: Likely first tokens with their log-probabilities (natural logarithm).
    """

    prompt: str
    tokens: int
    text: str
    first: dict[str, float]


def record_canaries(loaded: LoadedModel) -> tuple[Canary, ...]:
    """What the card says of the model's answers to the canary prompts; a prompt that begins with a tie gives none."""
    answers = greedy_answers(loaded, CANARY_PROMPTS, TOKENS)
    return tuple(Canary.of(one.prompt, tokens=one.tokens, text=one.text, first=one.first) for one in answers)


def greedy_answers(loaded: LoadedModel, prompts: Sequence[str], tokens: int) -> tuple[Greedy, ...]:
    """Greedy answers, token by token: sampling defaults of the base must not get in.

    An answer ends before a token that another one comes close to: there two right engines may part ways. A prompt whose
    very first token is such a tie is left out.
    """
    return tuple(made for prompt in prompts if (made := _record(loaded, prompt, tokens)) is not None)


def _record(loaded: LoadedModel, prompt: str, tokens: int) -> Greedy | None:
    tokenizer = loaded.tokenizer
    message = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    answer: list[int] = []
    first: dict[str, float] = {}
    with torch.inference_mode():
        while len(answer) < tokens:
            logits = loaded.model(torch.tensor([ids + answer], device=loaded.device)).logits[0, -1].float()
            best, second = logits.topk(2).values.tolist()
            if best - second < _TIE:
                tokens = len(answer)
                break
            if not answer:
                first = _likely(loaded, logits)
            answer.append(int(logits.argmax()))
            if answer[-1] in loaded.stop_ids:
                break
    if not answer:
        return None
    said = str(tokenizer.decode(answer, skip_special_tokens=True))
    return Greedy(prompt, tokens, said, first)


def _likely(loaded: LoadedModel, logits: torch.Tensor) -> dict[str, float]:
    values, places = torch.log_softmax(logits, dim=-1).topk(min(_TOP, logits.numel()))
    found = zip(places.tolist(), values.exp().tolist(), values.tolist(), strict=True)
    return {
        str(loaded.tokenizer.decode([token])): round(value, 4)
        for rank, (token, share, value) in enumerate(found)
        if rank == 0 or share >= _LIKELY
    }


def main() -> None:
    """Print the canaries of a base."""
    parser = argparse.ArgumentParser(prog="pipelines.canaries", description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dtype", required=True, choices=["float32", "bfloat16", "float16"])
    given = parser.parse_args()
    loaded = load_model(given.base, dtype=getattr(torch, given.dtype))
    print(json.dumps([canary.model_dump() for canary in record_canaries(loaded)]))  # noqa: T201


if __name__ == "__main__":
    main()
