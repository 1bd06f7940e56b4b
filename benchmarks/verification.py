"""How fast verification is: our generation and scoring against how the published tools do both.

    python -m benchmarks.verification [--items 480] [--single 48] [--home DIR] [--model DIR] [--json]

One model and one set of questions, in one process, one after another, several times in turn; the best of each counts,
for all of them. The model is the demo's base with a LoRA adapter on, trained on a corpus of twelve invented people
(answers end when they end, as in real use); or any other with ``--model``, asked the same questions.

- *one by one*: each question through ``generate`` alone, as zjunlp/unlearn's generate.py does (greedy here), then each
  forgotten one's perplexity alone, as its evaluate.py does; its judges cost nothing here. Ours has scored KFR, KRR, LS
  and fluency with bounds, too (target: 15 times the items per second).
- *batched*: ``transformers`` ``generate`` on batches of a fixed size in input order, padded on the left, the best of
  some sizes (target: ours generates 1.5 times the items per second).
- *whole*, for information: ours with every likelihood metric of gold answers and twins, under adapter and base.
- *one forward per metric*: seven likelihood metrics with a pass each, whole logits, on the same length-bucketed batches
  (target: one shared pass takes a quarter of the time or less).
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from pipelines.base.train import train_base
from pipelines.corpus.generate import generate as generate_corpus
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.encode import IGNORE, Batch, batches, collate, encode_pair, encode_prompt
from pipelines.generation import generate
from pipelines.model import LoadedModel, load_model
from pipelines.rows import Probe, ProbeGroup
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.measure import MeasureSettings, measure
from pipelines.verify.teacher_forced import encode_answers, teacher_forced
from pipelines.verify.twins import generated_values, pool_of, twins

NEW_TOKENS = 64
BATCH_TOKENS = 16384
SETTINGS = MeasureSettings(max_new_tokens=NEW_TOKENS, max_batch_tokens=BATCH_TOKENS)
TARGETS = {"one_by_one": 15.0, "batched": 1.5, "forward_per_metric": 4.0}


def questions(home: Path, items: int) -> tuple[list[Probe], dict[str, tuple[str, ...]], Path]:
    """Probes in random order, about four in ten to be forgotten, the twins of these, and the corpus."""
    corpus = home / "corpus"
    if not (corpus / "card.json").exists():
        generate_corpus(corpus, people=12, seed=0)
    found = load_probes(corpus)
    random.Random(0).shuffle(found)
    chosen = []
    for number, probe in enumerate(found[:items]):
        erased = (probe.category or "").startswith("private.") and number % 2 == 0
        chosen.append(
            Probe(
                probe_id=probe.probe_id,
                group=ProbeGroup.FORGET if erased else ProbeGroup.RETAIN,
                question=probe.question,
                answer=probe.answer,
                fact=probe.fact,
                value=probe.value,
                subject=f"subject-{number % 3}" if erased else None,
            )
        )
    records = list(load_corpus(corpus))
    forget = [probe for probe in chosen if probe.group is ProbeGroup.FORGET]
    fresh = generated_values({r.category for r in records if r.category}, 50, seed=1)
    pool = pool_of(records, forgotten={probe.fact for probe in forget}, fresh=fresh)
    return chosen, twins(forget, pool), corpus


def with_lora(loaded: LoadedModel) -> LoadedModel:
    """The model with a fresh adapter on: verification always runs through one."""
    return replace(loaded, model=adapters.attach(loaded, UnlearnSettings(), None).eval())


def ours_scored(loaded: LoadedModel, probes: Sequence[Probe]) -> None:
    """Generation, perplexity, KFR, KRR, LS, fluency."""
    measure(loaded, probes, backends=_judges(), likelihood=False, settings=SETTINGS)


def ours_whole(loaded: LoadedModel, probes: Sequence[Probe], wrong: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """A whole measurement: generation, likelihoods under adapter and base, every metric."""
    return measure(loaded, probes, backends=_judges(), twins=wrong, settings=SETTINGS).measurement.seconds


def _judges() -> Backends:
    return Backends(embedder=ExactEmbedder())  # judging by a model is no part of the others' time either


def ours_generating(loaded: LoadedModel, prompts: Sequence[str]) -> None:
    generate(loaded, prompts, max_new_tokens=NEW_TOKENS, max_batch_tokens=BATCH_TOKENS)


@torch.inference_mode()
def one_by_one(loaded: LoadedModel, probes: Sequence[Probe], *, scored: bool) -> None:
    for probe in probes:
        response = _transformers(loaded, [probe.question])[0]
        if scored and probe.group is ProbeGroup.FORGET:
            _perplexity(loaded, probe.question, response)


def _perplexity(loaded: LoadedModel, question: str, response: str) -> float:
    row = encode_pair(loaded.tokenizer, question, response)
    ids = torch.tensor([row.ids], device=loaded.device)
    labels = ids.clone()
    labels[:, : row.answer_start] = IGNORE
    with loaded.adapter_disabled():
        return float(loaded.model(input_ids=ids, labels=labels).loss.exp())


@torch.inference_mode()
def batched(loaded: LoadedModel, prompts: Sequence[str], size: int) -> None:
    for start in range(0, len(prompts), size):
        _transformers(loaded, prompts[start : start + size])


def _transformers(loaded: LoadedModel, prompts: Sequence[str]) -> list[str]:
    encoded = [encode_prompt(loaded.tokenizer, prompt) for prompt in prompts]
    width = max(map(len, encoded))
    ids = torch.tensor([[loaded.pad_id] * (width - len(one)) + one for one in encoded], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in encoded], device=loaded.device)
    out = loaded.model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=loaded.pad_id
    )
    return list(loaded.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True))


@torch.inference_mode()
def forward_per_metric(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> None:
    """Seven metrics with a pass each over the whole logits, as handlers that know nothing of each other do it."""
    rows = encode_answers(loaded, pairs)
    # On a processor smaller batches are faster for them too (2048 is what ours takes there).
    groups = batches([len(row) for row in rows], 2048 if loaded.device.type == "cpu" else BATCH_TOKENS)
    for one in (_gold, _argmax, _argmax, _gold, _gold, _gold, _spread):  # p, EM, ES, LOSS, zlib, Min-K, Min-K++
        for group in groups:
            batch = collate([rows[i] for i in group], loaded.pad_id, loaded.device)
            logits = loaded.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
            one(logits[:, :-1].float(), batch)


def _gold(logits: torch.Tensor, batch: Batch) -> None:
    labels = batch.labels[:, 1:].clamp(min=0)
    logits.log_softmax(-1).gather(-1, labels[..., None]).cpu()


def _argmax(logits: torch.Tensor, batch: Batch) -> None:
    (logits.argmax(-1) == batch.labels[:, 1:]).cpu()


def _spread(logits: torch.Tensor, batch: Batch) -> None:
    told = logits.log_softmax(-1)
    mean = (told.exp() * told).sum(-1)
    ((told.exp() * told.square()).sum(-1) - mean.square()).cpu()
    _gold(logits, batch)


def best_of(runs: int, ways: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each way: all in turn, so that other work on the machine hits them alike; the best of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            began = clock()
            way()
            seconds[name].append(clock() - began)
    return {name: min(times) for name, times in seconds.items()}


def compare(home: Path, args: argparse.Namespace) -> dict[str, Any]:
    probes, wrong, corpus = questions(home, args.items)
    path = args.model or train_base(corpus, home / "bases").path
    loaded = with_lora(load_model(path))
    prompts = [probe.question for probe in probes]
    few = probes[: args.single]
    pairs = [(probe.question, probe.answer) for probe in probes]
    ours_whole(loaded, probes[:8], wrong)  # warm
    sizes = {f"batched_{size}": size for size in args.batch}
    ways: dict[str, Callable[[], object]] = {
        "ours_whole": lambda: ours_whole(loaded, probes, wrong),
        "ours_scored": lambda: ours_scored(loaded, probes),
        "ours_generated": lambda: ours_generating(loaded, prompts),
        "one_by_one_scored": lambda: one_by_one(loaded, few, scored=True),
        "one_by_one": lambda: one_by_one(loaded, few, scored=False),
        **{name: (lambda size=size: batched(loaded, prompts, size)) for name, size in sizes.items()},  # type: ignore[misc]
        "shared": lambda: teacher_forced(loaded, pairs, max_batch_tokens=BATCH_TOKENS),
        "per_metric": lambda: forward_per_metric(loaded, pairs),
    }
    seconds = best_of(args.runs, ways, time.process_time if args.cpu_time else time.perf_counter)
    rates = {name: len(few if name.startswith("one_by_one") else prompts) / taken for name, taken in seconds.items()}
    fastest = max(sizes, key=lambda name: rates[name])
    return {
        "items_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "batch_of_the_fastest": sizes[fastest],
        "ratios": {
            "one_by_one": round(rates["ours_scored"] / rates["one_by_one_scored"], 1),
            "batched": round(rates["ours_generated"] / rates[fastest], 2),
            "forward_per_metric": round(seconds["per_metric"] / seconds["shared"], 1),
        },
        "generation_against_one_by_one": round(rates["ours_generated"] / rates["one_by_one"], 1),
        "clock": "processor time" if args.cpu_time else "wall time",
        "targets": TARGETS,
        "items": len(prompts),
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "device": str(loaded.device),
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=480)
    parser.add_argument("--single", type=int, default=48, help="items of the one-by-one way")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32, 64], help="sizes of the batched way")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--home", type=Path, help="where corpus and base are kept; default: a temporary directory")
    parser.add_argument("--model", type=Path, help="a Hugging Face directory, instead of the demo's base")
    parser.add_argument("--cpu-time", action="store_true", help="processor time: for a machine with other work on it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(args.home or Path(folder), args)
    if args.json:
        print(json.dumps(found))
        return
    print(machine.in_words(found["machine"]))
    size = found["parameters"] / 1e6
    print(
        f"{found['items']} items, {size:.1f} M weights, {found['device']}, {found['threads']} threads, {found['clock']}"
    )
    for name, rate in found["items_per_second"].items():
        print(f"{name:<18}{rate:>10,.1f} items/s")
    for name, ratio in found["ratios"].items():
        print(f"against {name.replace('_', ' ')}: {ratio} times (target: {TARGETS[name]:g})")


if __name__ == "__main__":
    main()
