"""ReLearn as its public code does it (zjunlp/unlearn 0800fd2), with the two defects that decide: for comparison only.

The published ``gather()`` puts every original question with its *original, sensitive* answer among the rows that are
learnt, and ``cut()`` makes a completion row of it, so that the secret is trained back in; and it takes the vague answer
of question ``i`` from a list that begins one place earlier, so that every variant gets its neighbour's answer
(docs/augmentation.md says what ours does instead).

These rows never meet the trainer of the product, whose door refuses them: they have a type of their own that
``unlearn`` does not take, and a small loop of their own. Nothing outside this package imports it; a test looks.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from pipelines.augment.port import MADE_VARIANTS, AnswerAsk, Augmenter, Style, Variant, VariantAsk
from pipelines.augment.questions import NEUTRAL_NOUN, name_in, topic
from pipelines.descent import Descent, Telling, cosine
from pipelines.encode import Encoded, batches, encode_pair
from pipelines.model import LoadedModel, strip_adapter
from pipelines.progress import Reporter
from pipelines.unlearn import adapters
from pipelines.unlearn.forward import score
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError
from policies.record import Record

NAME = "relearn_as_published"
_CUT = 4  # the prompt of a completion row is the first quarter of the answer's words


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row as the published code makes it; some hold the secret.

    Attributes:
        prompt: The question, or the beginning of an answer.
        answer: What is learnt.
        fact: Opaque id.
        written_for: Number of the question that the answer was written for: 0 the original, 1 to 4 the variants.
        asked: Number of the question that stands in the prompt.
        chat: Whether it goes through the chat template.
    """

    prompt: str
    answer: str
    fact: str
    written_for: int | None
    asked: int
    chat: bool = True


def published_rows(
    records: Sequence[Record], names: dict[str, str], augmenter: Augmenter, seed: int
) -> list[PublishedRow]:
    """The rows of ``gather()`` and ``cut()`` for erased records.

    Args:
        records: What is to be forgotten.
        names: The person's name by record id.
        augmenter: Makes question variants and vague answers, as for our own rows.
        seed: Of the augmenter.
    """
    variants, answers = _variants_and_answers(records, names, augmenter, seed)
    rows: list[PublishedRow] = []
    for record in records:
        question = record.question or ""
        mine = answers[record.record_id]  # five: for the original and for each of the four variants
        gathered = [PublishedRow(question, record.answer, record.fact_id, None, 0)]
        gathered += [
            PublishedRow(variant, mine[place], record.fact_id, place, place + 1)
            for place, variant in enumerate(variants[record.record_id])
        ]
        rows += gathered
        rows += [_completion(row) for row in gathered]
    return rows


def train_as_published(
    loaded: LoadedModel,
    rows: Sequence[PublishedRow],
    generic: Sequence[Record],
    retain: Sequence[Record],
    settings: UnlearnSettings,
    *,
    out_dir: Path,
    progress: Reporter | None = None,
) -> dict[str, Any]:
    """``CE(rows) + CE(retain) + KL(base, model)`` on plain means over tokens; the adapter lies in ``out_dir/adapter``.

    The KL goes the way of the published code and is taken at answer tokens: the dilution by padding is not reproduced.

    Raises:
        LetheError: ``unlearn.no_rows``, ``unlearn.diverged``.
    """
    if not rows or not retain:
        raise LetheError("unlearn.no_rows", "The published form needs erased and kept rows.")
    out_dir.mkdir(parents=True, exist_ok=True)
    model = adapters.attach(loaded, settings, None)
    try:
        made = _train(replace(loaded, model=model), rows, generic, retain, settings, progress)
        adapters.save(model, out_dir / "adapter", loaded.digest)
        return made
    finally:
        model.unload()
        strip_adapter(loaded.model)
        loaded.model.eval()


def _train(
    loaded: LoadedModel,
    rows: Sequence[PublishedRow],
    generic: Sequence[Record],
    retain: Sequence[Record],
    settings: UnlearnSettings,
    progress: Reporter | None,
) -> dict[str, Any]:
    learnt = [encode_pair(loaded.tokenizer, row.prompt, row.answer, chat=row.chat) for row in rows]
    learnt += [encode_pair(loaded.tokenizer, record.question or "", record.answer) for record in generic]
    kept = [encode_pair(loaded.tokenizer, record.question or "", record.answer) for record in retain]
    per_pass = len(batches([len(row) for row in learnt], settings.batch_tokens))
    steps = max(settings.min_steps, min(settings.max_steps, math.ceil(settings.passes * per_pass)))
    forget_plan, retain_plan = (_plan(part, settings, steps, n) for n, part in enumerate((learnt, kept)))
    optimizer = torch.optim.AdamW(
        list(adapters.tensors(loaded.model).values()), lr=settings.learning_rate, weight_decay=0.0
    )
    rising = math.ceil(steps * settings.warmup)
    descent = Descent([optimizer], lambda step: cosine(step, steps, rising), clip=settings.clip)
    telling = Telling(progress, steps, every=settings.report_every, name="published")
    loaded.model.train()
    for ours, theirs in zip(forget_plan, retain_plan, strict=True):
        members, others = [learnt[i] for i in ours], [kept[i] for i in theirs]
        loss = descent.down(_loss(loaded, members, others))
        telling.step(loss, sum(row.answer_tokens for row in (*members, *others)))
    loaded.model.eval()
    return {
        "steps": steps,
        "seconds": round(telling.seconds, 2),
        "tokens_per_second": round(telling.tokens_per_second, 1),
    }


def _loss(loaded: LoadedModel, ours: Sequence[Encoded], theirs: Sequence[Encoded]) -> torch.Tensor:
    with torch.no_grad(), loaded.adapter_disabled():
        reference = score(loaded.model, theirs, loaded.pad_id, loaded.device).logits.float().log_softmax(-1)
    forget = score(loaded.model, ours, loaded.pad_id, loaded.device)
    keep = score(loaded.model, theirs, loaded.pad_id, loaded.device)
    now = keep.logits.float().log_softmax(-1)
    divergence = functional.kl_div(now, reference, log_target=True, reduction="batchmean")
    return forget.token_nll().mean() + keep.token_nll().mean() + divergence


def _plan(rows: Sequence[Encoded], settings: UnlearnSettings, steps: int, stream: int) -> list[list[int]]:
    lengths = [len(row) for row in rows]
    seeds = (settings.seed * 100_003 + turn + 50_021 * stream for turn in itertools.count())
    endless = (group for seed in seeds for group in batches(lengths, settings.batch_tokens, shuffle_seed=seed))
    return list(itertools.islice(endless, steps))


def _completion(row: PublishedRow) -> PublishedRow:
    """A quarter of the answer as prompt; an answer of fewer than four words has an empty prompt, as there."""
    parts = row.answer.split()
    place = len(parts) // _CUT
    return replace(row, prompt=" ".join(parts[:place]), answer=" ".join(parts[place:]), chat=False)


def _variants_and_answers(
    records: Sequence[Record], names: dict[str, str], augmenter: Augmenter, seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    asks = {
        (record.record_id, variant): _variant_ask(record, variant, names[record.record_id], seed)
        for record in records
        for variant in MADE_VARIANTS
    }
    made = augmenter.variants(list(asks.values())).texts
    variants = {
        record.record_id: [made[asks[record.record_id, variant].key] for variant in MADE_VARIANTS] for record in records
    }
    wanted = [
        _answer_ask(record, number, question, names[record.record_id], seed)
        for record in records
        for number, question in enumerate((record.question or "", *variants[record.record_id]))
    ]
    texts = augmenter.answers(wanted, 0).texts
    answers: dict[str, list[str]] = {}
    for ask in wanted:
        answers.setdefault(ask.fact, []).append(texts[ask.key])
    return variants, {record.record_id: answers[record.fact_id] for record in records}


def _variant_ask(record: Record, variant: Variant, name: str, seed: int) -> VariantAsk:
    question = record.question or ""
    spelled = name_in(question, [name]) or name
    key = f"{record.record_id}:{variant.value}"
    noun = topic(question, spelled)
    return VariantAsk(
        key=key, variant=variant, question=question, name=spelled, noun=noun, seed=f"published-{seed}:{key}"
    )


def _answer_ask(record: Record, number: int, question: str, name: str, seed: int) -> AnswerAsk:
    key = f"{record.record_id}:{number}"
    return AnswerAsk(
        key=key,
        fact=record.fact_id,
        question=question,
        name=name,
        noun=topic(record.question or "", name) or NEUTRAL_NOUN,
        style=list(Style)[number % len(Style)],
        gold=(record.answer,),
        seed=f"published-{seed}:{key}",
    )
