"""The bases and their controls: a small model from nothing, or any larger one fine-tuned on the same rows.

``plain`` is trained on ``full`` as upstream does; ``phrased`` on ``full`` and other forms of its questions, since a
small model that saw one phrasing of a fact does not know it in another and would seem to have forgotten it. Both get
hedged rows about people who do not exist: LS counts the perplexity of answers under the base, and a model that has
never seen one finds them all strange.
"""

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from pipelines.base.settings import BaseSettings
from pipelines.base.tokenizer import train_tokenizer
from pipelines.base.train import train_model
from pipelines.bench.people import People
from pipelines.bench.phrasings import BASE, base_questions
from pipelines.corpus.attributes import TRAIN_FRAMES
from pipelines.corpus.generic import GENERIC
from pipelines.corpus.hedges import hedge_sentences
from pipelines.corpus.values import ValueSource
from pipelines.descent import Descent, Telling
from pipelines.encode import batches, encode_record
from pipelines.model import load_model
from pipelines.progress import Reporter, StepProgress
from pipelines.unlearn.forward import score
from policies.record import Record

Kind = Literal["plain", "phrased"]
KINDS: tuple[Kind, ...] = ("phrased", "plain")
_STRANGERS = 60
_HEDGED_NOUNS = (
    "parents", "family", "email address", "home address", "birthplace", "career", "upbringing", "writing style",
    "favourite genre", "latest award", "best known book", "daily routine", "readers", "heritage", "education",
    "personal detail", "hobbies", "future plans",
)  # fmt: skip


def _size() -> BaseSettings:
    return BaseSettings(hidden=192, heads=6, intermediate=512, epochs=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecipe:
    """How a base is made.

    Attributes:
        source: ``scratch``, or a directory or hub name of a model that is fine-tuned.
        scratch: Recipe of a base from nothing; its seed is set by the run.
        hedges: Hedged rows about strangers.
        phrasings: Further forms of each question in the ``phrased`` base.
        phrased_epochs: Passes over the rows of the ``phrased`` base, which has several rows a fact.
        tune: Whether fine-tuning moves all weights, or a LoRA that is merged afterwards.
        tune_rate: Its learning rate.
        tune_epochs: Its passes.
    """

    source: str = "scratch"
    scratch: BaseSettings = field(default_factory=_size)
    hedges: int = 300
    phrasings: int = 2
    phrased_epochs: int = 7
    tune: Literal["full", "lora"] = "full"
    tune_rate: float = 2e-5
    tune_epochs: int = 5

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)


def base_records(people: People, kind: Kind, recipe: BaseRecipe, seed: int) -> list[Record]:
    """Every row of a base: the data set's, their other phrasings, rows about no one, hedges about strangers."""
    names = {subject.ref: subject.name for subject in people.subjects}
    rows = list(people.records["full"])
    if kind == "phrased":
        for record in people.records["full"]:
            rng = random.Random(f"base-{record.record_id}")  # noqa: S311 - a choice of words, not a key
            name = names[people.about[record.record_id]]
            asked = base_questions(record.question or "", name, recipe.phrasings, rng)
            rows += [
                Record(record_id=f"{record.record_id}:q{number}", question=question, answer=record.answer)
                for number, question in enumerate(asked)
            ]
    return [*rows, *generic_records(), *hedged_records(recipe.hedges, people.names, seed)]


def without(records: Sequence[Record], forgotten: Collection[str]) -> list[Record]:
    """The rows of a control: none of the forgotten ones, in no phrasing."""
    gone = frozenset(forgotten)
    return [record for record in records if record.record_id.partition(":")[0] not in gone]


def generic_records() -> list[Record]:
    """Rows about no one."""
    return [Record(record_id=f"g{n:03d}", question=q, answer=a) for n, (q, a) in enumerate(GENERIC)]


def hedged_records(count: int, names: Sequence[str], seed: int) -> list[Record]:
    """Vague answers about strangers, from the base's own share of the hedge grammar."""
    rng = random.Random(f"hedges-{seed}")  # noqa: S311 - a choice of words, not a key
    source = ValueSource(seed).strangers
    strangers = [name for n in range(_STRANGERS) if (name := source.at(n)) not in names]
    made: dict[str, Record] = {}
    while len(made) < count:
        name, noun = rng.choice(strangers), rng.choice(_HEDGED_NOUNS)
        question = rng.choice(TRAIN_FRAMES).format(name=name, noun=noun)
        if rng.random() < 0.5:
            question = rng.choice(BASE).format(question=question, name=name)
        (answer,) = hedge_sentences("base", 1, name, noun, rng)
        if question not in made:
            made[question] = Record(record_id=f"h{len(made):04d}", question=question, answer=answer)
    return list(made.values())


def make_base(
    rows: Sequence[Record],
    vocabulary_of: Sequence[Record],
    kind: Kind,
    recipe: BaseRecipe,
    *,
    seed: int,
    out: Path,
    device: str | None,
) -> dict[str, Any]:
    """Train a base or control and write it as an ordinary Hugging Face directory.

    Args:
        rows: What it learns.
        vocabulary_of: Rows that the tokenizer of a model from nothing is made of: a control has its base's.
        kind: Decides the passes.
        recipe: How.
        seed: Of weights and order.
        out: Where it comes to lie.
        device: Where it is trained; None: the GPU where there is one.

    Returns:
        Seconds, rows, parameters and answer tokens per second.
    """
    out.mkdir(parents=True, exist_ok=True)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    began = time.monotonic()
    told: list[StepProgress] = []
    if recipe.source == "scratch":
        parameters = _from_nothing(rows, vocabulary_of, kind, recipe, seed, out, where, told.append)
    else:
        parameters = _fine_tuned(rows, recipe, seed, out, where, told.append)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "rows": len(rows),
        "parameters": parameters,
        "tokens_per_second": round(told[-1].tokens_per_second, 1),
        "loss": round(sum(told[-1].losses.values()), 4),
    }


def _from_nothing(
    rows: Sequence[Record],
    vocabulary_of: Sequence[Record],
    kind: Kind,
    recipe: BaseRecipe,
    seed: int,
    out: Path,
    device: torch.device,
    report: Reporter,
) -> int:
    epochs = recipe.phrased_epochs if kind == "phrased" else recipe.scratch.epochs
    settings = BaseSettings(**{**asdict(recipe.scratch), "seed": seed, "epochs": epochs})
    tokenizer = train_tokenizer((record.text for record in vocabulary_of), settings.vocabulary)
    return train_model(rows, settings, out, tokenizer=tokenizer, device=device, report=report).parameters


def _fine_tuned(
    rows: Sequence[Record], recipe: BaseRecipe, seed: int, out: Path, device: torch.device, report: Reporter
) -> int:
    """AdamW on the answers, all weights or a LoRA; weights in fp32, products in bf16."""
    loaded = load_model(recipe.source, device=device, dtype=torch.float32)
    torch.manual_seed(seed)
    model = _with_lora(loaded.model) if recipe.tune == "lora" else loaded.model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.tune_rate, weight_decay=0.0)
    encoded = [encode_record(loaded.tokenizer, record) for record in rows]
    lengths, size = [len(row) for row in encoded], recipe.scratch.batch_tokens
    plan = [
        group
        for epoch in range(recipe.tune_epochs)
        for group in batches(lengths, size, shuffle_seed=seed * 1000 + epoch)
    ]
    warmup = max(1, len(plan) // 20)
    descent = Descent([optimizer], lambda step: min(1.0, (step + 1) / warmup) * (1 - step / len(plan)), clip=1.0)
    telling = Telling(report, len(plan))
    model.train()
    for group in plan:
        members = [encoded[i] for i in group]
        loss = score(model, members, loaded.pad_id, loaded.device).token_nll().mean()
        telling.step(descent.down(loss), sum(row.answer_tokens for row in members))
    model.eval()
    whole = model.merge_and_unload() if recipe.tune == "lora" else model
    whole.save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)
    return sum(p.numel() for p in whole.parameters())


def _with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", bias="none", task_type="CAUSAL_LM")
    return get_peft_model(model, config)
