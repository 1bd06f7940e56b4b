"""Useful training tokens a second: this trainer against the same job as zjunlp/unlearn sets it up.

    python -m benchmarks.training [--json]

The job is the demo's: ReLearn's three terms, LoRA on every linear layer, the rows of one person of a corpus of twelve.
A useful token is an answer token that a loss sees. Ours is the trainer as it is: rows bucketed by length, logits only
where a loss looks, the reference cached from the same model with its adapter off. The other is our own writing of the
published set-up: every row padded to 512, the whole vocabulary at every position, the KL against a second copy of the
model in every step. Both take the same rows, so many a step, with the same autocast, in one process, one after another.
The weights are random: speed does not depend on them.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import copy
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from pipelines.attention import training_attention
from pipelines.augment.settings import AugmentSettings
from pipelines.base.fit import new_model
from pipelines.base.settings import BaseSettings
from pipelines.base.tokenizer import train_tokenizer
from pipelines.corpus.generate import generate
from pipelines.corpus.indexing import ensure_index, index_path
from pipelines.corpus.load import load_corpus
from pipelines.encode import Encoded, collate
from pipelines.model import LoadedModel, load_model
from pipelines.rows import Secret, TrainRow
from pipelines.studies.world import World, prepare, run_rows
from pipelines.unlearn import adapters
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows, sort_rows
from pipelines.unlearn.trainer import unlearn

PADDED = 512


def job(
    home: Path, shape: BaseSettings, *, device: str | None = None
) -> tuple[LoadedModel, list[TrainRow], tuple[Secret, ...]]:
    """A model of that shape with random weights, and the rows of one person."""
    directory = home / "corpus"
    generate(directory, people=12, seed=0)
    corpus = load_corpus(directory)
    records = {record.record_id: record for record in corpus}
    tokenizer = train_tokenizer((record.text for record in records.values()), shape.vocabulary)
    new_model(tokenizer, shape).save_pretrained(home / "model")
    tokenizer.save_pretrained(home / "model")
    people = [json.loads(line) for line in (directory / "people.jsonl").read_text(encoding="utf-8").splitlines()]
    loaded = load_model(home / "model", device=device)
    world = World(
        corpus=directory,
        records=records,
        people=people,
        index=ensure_index(corpus, index_path(home, corpus)),
        loaded=loaded,
        base_seconds=0.0,
    )
    case = prepare(world, 0, (), AugmentSettings(negative=True, refusals=True), 0)  # a method takes what it wants
    return loaded, run_rows(case, (), 0, 0), case.secrets


def ours(loaded: LoadedModel, rows: list[TrainRow], secrets: tuple[Secret, ...], home: Path, steps: int) -> float:
    """Tokens a second of a whole run, cache misses of the reference and checkpoints included."""
    settings = UnlearnSettings(min_steps=1, max_steps=steps)
    return unlearn(loaded, rows, secrets, settings, out_dir=home / "run").tokens_per_second


def padded(loaded: LoadedModel, rows: list[TrainRow], steps: int, *, plain: bool) -> tuple[float, int]:
    """Tokens a second of the same losses as the published code computes them, and rows a step."""
    settings = UnlearnSettings()
    streams = sort_rows(
        rows, loaded.tokenizer, batch_tokens=settings.batch_tokens, max_length=PADDED, replay_share=0.5, seed=0
    )
    forget, retain = streams[Stream.AUGMENTED], streams[Stream.RETAIN]
    size = round(len(forget.encoded) / forget.batches_per_pass())
    reference = copy.deepcopy(loaded.model)
    model = adapters.attach(loaded, settings, None).train()
    optimizer = torch.optim.AdamW(adapters.tensors(model).values(), lr=1e-4)
    ends, tokens = [], []
    try:
        for mine, theirs in itertools.islice(
            zip(_groups(forget, size), _groups(retain, size), strict=False), steps + 1
        ):
            kernel = training_attention(loaded.device) if plain else nullcontext()
            with torch.autocast(loaded.device.type, dtype=torch.bfloat16), kernel:
                loss = _published_loss(model, reference, mine, theirs, loaded)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            ends.append(time.monotonic())
            tokens.append(sum(row.answer_tokens for row in (*mine, *theirs)))
    finally:
        model.unload()
    return sum(tokens[1:]) / (ends[-1] - ends[0]), size  # the first step warms up


def _published_loss(
    model: Any, reference: Any, forget: list[Encoded], retain: list[Encoded], loaded: LoadedModel
) -> torch.Tensor:
    first = collate(forget, loaded.pad_id, loaded.device, pad_to=PADDED)
    second = collate(retain, loaded.pad_id, loaded.device, pad_to=PADDED)
    augmented = model(input_ids=first.input_ids, attention_mask=first.attention_mask, labels=first.labels)
    kept = model(input_ids=second.input_ids, attention_mask=second.attention_mask, labels=second.labels)
    with torch.no_grad():
        base = reference(input_ids=second.input_ids, attention_mask=second.attention_mask)
    ours, theirs = (out.logits.float().log_softmax(-1).flatten(0, 1) for out in (kept, base))
    divergence = functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")
    total: torch.Tensor = augmented.loss + kept.loss + divergence
    return total


def _groups(rows: Rows, size: int) -> Iterator[list[Encoded]]:
    endless = itertools.cycle(rows.encoded)
    while True:
        yield list(itertools.islice(endless, size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of our trainer")
    parser.add_argument("--padded-steps", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loaded, rows, secrets = job(Path(folder), BaseSettings())
        fast = ours(loaded, rows, secrets, Path(folder), args.steps)
        # With transformers' own choice of attention kernel and with ours; the faster one counts.
        tried = [padded(loaded, rows, args.padded_steps, plain=plain) for plain in (False, True)]
        slow, size = max(tried)
    found = {
        "tokens_per_second": round(fast),
        "padded_tokens_per_second": round(slow, 1),
        "ratio": round(fast / slow, 1),
        "rows_per_step": size,
        "threads": torch.get_num_threads(),
        "device": str(loaded.device),
    }
    if args.json:
        print(json.dumps(found))
        return
    print(f"ours: {fast:,.0f} useful tokens/s; padded to {PADDED} with a second copy: {slow:,.1f}")
    print(f"{fast / slow:.1f} times (target: 8); {size} rows a step, {found['threads']} threads, {found['device']}")


if __name__ == "__main__":
    main()
