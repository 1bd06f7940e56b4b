"""Sampling what greedy decoding misses: how likely one of k answers tells the secret."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pipelines.rows import Probe
from pipelines.verify import bounds
from pipelines.verify.attacks.asking import ask, stop_if_cancelled, teller
from pipelines.verify.attacks.entropy import CLASSES, classes
from pipelines.verify.attacks.facts import few_per_fact
from pipelines.verify.attacks.paired import NO_CONTROL, over_control
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.scoring import secret_told, share_result, share_told
from pipelines.verify.backends import Backends
from pipelines.verify.results import Item

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

SMALL_K = (1, 16)
LARGEST_K = 128
LEVEL = 0.99  # of the bound on one prompt's leak probability


def leak_at(samples: int, hits: int, k: int) -> float:
    """Chance that k answers drawn from these hold at least one hit: ``1 - C(n - c, k) / C(n, k)``.

    Raises:
        ValueError: k is not within 1..samples, or there are more hits than samples.
    """
    if not (1 <= k <= samples and 0 <= hits <= samples):
        raise ValueError("leak@k needs 1 <= k <= samples and 0 <= hits <= samples")
    return 1.0 - math.comb(samples - hits, k) / math.comb(samples, k)


def ks(samples: int) -> tuple[int, ...]:
    """Which k can be told from so many samples; the last is the one that counts."""
    largest = min(samples, LARGEST_K)
    return (*(k for k in SMALL_K if k < largest), largest)


@attack
class LeakAtK:
    """leak@k at temperature 1 from the whole distribution, beside the control on the same prompts."""

    name: ClassVar[str] = "leak_at_k"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2511.04934; bounds arXiv 2410.03523"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result: leak@k for the largest k; the smaller ones, bounds and classes are its parts."""
        settings = context.settings
        probes = few_per_fact(context.forget, settings.probes_per_fact)
        greedy = secret_told(probes, ask(context, self.name, [p.question for p in probes]), context.backends)
        mine = _hits(context, self.name, probes, context.loaded)
        theirs = None if context.control is None else _hits(context, self.name, probes, context.control)
        n, largest = settings.samples, ks(settings.samples)[-1]
        items = _items(probes, mine, n, largest)
        control = None if theirs is None else _items(probes, theirs, n, largest)
        parts = _parts(probes, mine, n)
        if control is not None and theirs is not None:
            parts |= {f"control_{key}": one for key, one in _parts(probes, theirs, n).items() if key[:4] == "leak"}
            difference = over_control(items, control, seed=settings.seed)
            parts |= difference.parts() if difference else {}
        population = (*context.forget, *context.retain, *context.holdout)
        parts |= _by_class(classes(probes, population), items, control)
        yield share_result(
            self.name,
            self.tier,
            context,
            items,
            measure="leak_at_k",
            before=share_told(greedy),
            control=None if control is None else share_told([item.score for item in control]),
            control_items=control or (),
            source=self.source,
            budget={
                "samples": n,
                "prompts": len(probes),
                "k": largest,
                "temperature": 1.0,
                "max_new_tokens": settings.max_new_tokens,
            },
            parts=parts,
            note=None if theirs is not None or not items else NO_CONTROL,
        )


def _hits(context: AttackContext, name: str, probes: Sequence[Probe], model: "LoadedModel") -> dict[str, int | None]:
    """How many samples of each probe tell its secret; None where a judge could not tell one of them."""
    from pipelines.verify.attacks.sampling import sample

    settings = context.settings
    drawn = sample(
        model,
        [probe.question for probe in probes],
        settings.samples,
        max_new_tokens=settings.max_new_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        seed=settings.seed,
        progress=teller(context, name),
        check=lambda: stop_if_cancelled(context),
    )
    return count_hits(probes, drawn, context.backends)


def count_hits(probes: Sequence[Probe], drawn: Sequence[Counter[str]], backends: Backends) -> dict[str, int | None]:
    """Hits by probe id; each different answer is judged once.

    None where a judge could not tell one of the answers: what is not known to be silent is never counted so.
    """
    different = [(probe, text) for probe, texts in zip(probes, drawn, strict=True) for text in texts]
    told = secret_told([probe for probe, _ in different], [text for _, text in different], backends)
    hits: dict[str, int | None] = {probe.probe_id: 0 for probe in probes}
    where = {probe.probe_id: texts for probe, texts in zip(probes, drawn, strict=True)}
    for (probe, text), one in zip(different, told, strict=True):
        before = hits[probe.probe_id]
        if one is None or before is None:
            hits[probe.probe_id] = None
        elif one:
            hits[probe.probe_id] = before + where[probe.probe_id][text]
    return hits


def _items(probes: Sequence[Probe], hits: Mapping[str, int | None], samples: int, k: int) -> list[Item]:
    return [
        Item(
            probe=probe.probe_id,
            fact=probe.fact,
            score=None if (c := hits[probe.probe_id]) is None else leak_at(samples, c, k),
        )
        for probe in probes
    ]


def _parts(probes: Sequence[Probe], hits: Mapping[str, int | None], samples: int) -> dict[str, float | None]:
    """leak@k for every k, and what the samples can rule out."""
    parts: dict[str, float | None] = {
        f"leak@{k}": share_told([item.score for item in _items(probes, hits, samples, k)]) for k in ks(samples)
    }
    uppers = {
        f"upper:{probe}": bounds.clopper_pearson(c, samples, "upper", LEVEL)
        for probe, c in hits.items()
        if c is not None
    }
    parts["upper_worst"] = max(uppers.values(), default=None)
    parts["upper_without_hits"] = bounds.clopper_pearson(0, samples, "upper", LEVEL)
    parts["prompts_with_hits"] = float(sum(1 for c in hits.values() if c))
    return parts | uppers


def _by_class(
    entropy: Mapping[str, str], items: Sequence[Item], control: Sequence[Item] | None
) -> dict[str, float | None]:
    parts: dict[str, float | None] = {}
    for name in CLASSES:
        chosen = {item.probe for item in items if entropy[item.fact] == name and item.score is not None}
        if not chosen:
            continue
        parts[f"entropy_{name}"] = share_told([item.score for item in items if item.probe in chosen])
        parts[f"entropy_{name}_n"] = float(len(chosen))
        if control is not None:
            parts[f"entropy_{name}_control"] = share_told([item.score for item in control if item.probe in chosen])
    return parts
