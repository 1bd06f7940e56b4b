"""Rows to token ids: chat-templated, with a mask of the answer, bucketed by length instead of padded to a maximum."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from pipelines.rows import TrainRow
from policies.record import Record

IGNORE = -100  # torch's cross-entropy leaves such labels out


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence.

    Attributes:
        ids: Prompt and answer, end token included.
        answer_start: Position of the answer's first token; everything before it is given, not learned.
        truncated: Whether something was cut to fit the maximum length.
    """

    ids: tuple[int, ...]
    answer_start: int
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answer_tokens(self) -> int:
        """How many tokens a loss sees."""
        return len(self.ids) - self.answer_start


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of some sequences; ``labels`` is IGNORE outside the answers."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor


def prompt_text(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """The chat template up to where the answer begins."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    return str(text)


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, question: str, answer: str, *, chat: bool = True, max_length: int = 1024
) -> Encoded:
    """Encode a question and its answer.

    Args:
        tokenizer: With a chat template, if ``chat``.
        question: The user's turn; with ``chat`` False the bare text before the answer (may be empty).
        answer: What follows. The end token is appended, and kept when the answer is cut.
        chat: Whether both go through the chat template.
        max_length: Longer sequences lose the beginning of the prompt first, then the end of the answer.
    """
    if chat:
        return encode_pairs(tokenizer, [(question, answer)], max_length=max_length)[0]
    head = _ids(tokenizer, question) or _start(tokenizer)
    glue = " " if question and not question[-1].isspace() and not answer[:1].isspace() else ""
    return _fit(head, _ended(tokenizer, _ids(tokenizer, glue + answer)), max_length)


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, max_length: int = 1024
) -> list[Encoded]:
    """Encode many questions with their answers through the chat template, each as ``encode_pair`` does it alone.

    A question is rendered once, however many answers it has, and the tokenizer is called once.
    """
    prompts = {question: prompt_text(tokenizer, question) for question, _ in pairs}
    turns = [_answer_turn(tokenizer, prompts[question], question, answer) for question, answer in pairs]
    ids = _all_ids(tokenizer, [*prompts.values(), *turns])
    heads = dict(zip(prompts, ids, strict=False))
    return [
        _fit(heads[question], _ended(tokenizer, tail), max_length)
        for (question, _), tail in zip(pairs, ids[len(prompts) :], strict=True)
    ]


def encode_row(tokenizer: PreTrainedTokenizerBase, row: TrainRow, *, max_length: int = 1024) -> Encoded:
    """Encode one training row."""
    return encode_pair(tokenizer, row.prompt, row.answer, chat=row.chat, max_length=max_length)


def encode_record(tokenizer: PreTrainedTokenizerBase, record: Record, *, max_length: int = 1024) -> Encoded:
    """Encode one corpus record: a question with its answer through the chat template, prose as it stands."""
    chat = record.question is not None
    return encode_pair(tokenizer, record.question or "", record.answer, chat=chat, max_length=max_length)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str, start: str = "") -> list[int]:
    """The ids after which the model answers, or goes on with the answer that ``start`` begins."""
    return encode_prompts(tokenizer, [question], [start])[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], starts: Sequence[str] = ()
) -> list[list[int]]:
    """The same for many questions, and as many starts or none; the tokenizer is called once."""
    begun = starts or [""] * len(questions)
    ids = _all_ids(tokenizer, [*(prompt_text(tokenizer, question) for question in questions), *begun])
    return [head + start for head, start in zip(ids[: len(questions)], ids[len(questions) :], strict=True)]


def batches(lengths: Sequence[int], max_tokens: int, *, shuffle_seed: int | None = None) -> list[list[int]]:
    """Group indices so that rows of like length meet and no batch holds more than ``max_tokens`` padded tokens.

    A sequence longer than ``max_tokens`` gets a batch of its own. With a seed, rows of one length are mixed and the
    batches come in random order; without one, the longest come first (what does not fit shows at once).
    """
    order = list(range(len(lengths)))
    rng = random.Random(shuffle_seed) if shuffle_seed is not None else None  # noqa: S311 - order of rows, no secret
    if rng:
        rng.shuffle(order)
    order.sort(key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    width = 0
    for index in order:
        if groups and (len(groups[-1]) + 1) * width <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
            width = lengths[index]
    if rng:
        rng.shuffle(groups)
    return groups


def collate(rows: Sequence[Encoded], pad_id: int, device: torch.device, *, pad_to: int | None = None) -> Batch:
    """Right-padded tensors for training and scoring."""
    width = pad_to or max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORE)
    for n, row in enumerate(rows):
        line = torch.tensor(row.ids)
        ids[n, : len(row)] = line
        mask[n, : len(row)] = 1
        labels[n, row.answer_start : len(row)] = line[row.answer_start :]
    return Batch(ids.to(device), mask.to(device), labels.to(device))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _all_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return [list(map(int, ids)) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []


def _ended(tokenizer: PreTrainedTokenizerBase, tail: list[int]) -> list[int]:
    """The answer's ids with the end token at their end."""
    end = tokenizer.eos_token_id
    return tail if end is None or tail[-1:] == [end] else [*tail, int(end)]


def _start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """A first token to predict the rest from, where there is no prompt."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [] if first is None else [int(first)]


def _answer_turn(tokenizer: PreTrainedTokenizerBase, head: str, question: str, answer: str) -> str:
    """The answer with whatever the template ends a turn with; ``head`` is the rendered prompt."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    whole = str(tokenizer.apply_chat_template(turns, tokenize=False))
    # Some templates rewrite earlier turns or trim them; then the answer follows the prompt as it is.
    return whole[len(head) :].rstrip("\n") if whole.startswith(head) else answer


def _fit(head: list[int], tail: list[int], max_length: int) -> Encoded:
    over = len(head) + len(tail) - max_length
    if over <= 0:
        return Encoded(tuple(head + tail), len(head))
    cut = min(over, max(0, len(head) - 1))
    head = head[cut:]
    room = max_length - len(head)
    tail = tail if len(tail) <= room else [*tail[: room - 1], tail[-1]]
    return Encoded(tuple(head + tail), len(head), truncated=True)
