"""The reference set of a measurement: what a fluent answer that gives nothing away looks like, for each question."""

import random
from collections.abc import Iterable

from pipelines.augment.questions import NEUTRAL_NOUN, name_in, topic
from pipelines.corpus.hedges import hedge_sentences
from pipelines.rows import Probe, ProbeGroup


def reference_texts(probes: Iterable[Probe], seed: int = 0) -> dict[str, str]:
    """A well-formed hedged sentence for every forget probe, from the set that neither base nor augmenter used.

    Args:
        probes: Those of other groups are passed over.
        seed: A probe's sentence depends on it and on the probe alone, not on what else is asked.

    Returns:
        By probe id.
    """
    texts = {}
    for probe in probes:
        if probe.group is ProbeGroup.FORGET:
            name = name_in(probe.question, probe.names) or (probe.names[0] if probe.names else "the person")
            rng = random.Random(f"{seed}:{probe.probe_id}")  # noqa: S311 - a choice of words, not a key
            noun = topic(probe.question, name) or NEUTRAL_NOUN
            texts[probe.probe_id] = hedge_sentences("reference", 1, name, noun, rng)[0]
    return texts
