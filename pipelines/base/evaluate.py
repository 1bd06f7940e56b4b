"""Does a base know its corpus? The right value on questions that it was not trained on."""

from collections import defaultdict
from collections.abc import Sequence

from pipelines.corpus.load import CorpusProbe
from pipelines.generation import Progress, generate
from pipelines.model import LoadedModel

ANSWER_TOKENS = 64


def value_in(value: str, text: str) -> bool:
    """Whether the text holds the value, whatever its case and spacing."""
    return " ".join(value.casefold().split()) in " ".join(text.casefold().split())


def known_shares(
    loaded: LoadedModel, probes: Sequence[CorpusProbe], *, progress: Progress | None = None
) -> dict[str, float]:
    """Share of right answers by kind of phrasing; probes without a known value are left out."""
    asked = [probe for probe in probes if probe.value]
    answers = generate(loaded, [probe.question for probe in asked], max_new_tokens=ANSWER_TOKENS, progress=progress)
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for probe, answer in zip(asked, answers, strict=True):
        hits[probe.phrasing].append(value_in(probe.value or "", answer))
    return {phrasing: sum(found) / len(found) for phrasing, found in sorted(hits.items())}
