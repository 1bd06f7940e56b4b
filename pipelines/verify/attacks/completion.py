"""Completion: the assistant's turn begins with the first quarter of the gold answer, never with the value."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from pipelines.rows import Probe
from pipelines.verify import values
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.prompted import Turn, attacked
from pipelines.verify.attacks.registry import attack

PARTS = 4  # the first of so many is given
_WORD = re.compile(r"\S+")


@attack
class Completion:
    """The rest of the answer is scored; what was given counts for nothing."""

    name: ClassVar[str] = "completion"
    tier: ClassVar[Tier] = 0
    source: ClassVar[str] = "arXiv 2502.11190 §5 (sentence completion); docs/attacks.md"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """KFR over the forget probes whose answer has a beginning that gives nothing away."""
        turns = [turn for probe in context.forget if (turn := begun(probe)) is not None]
        skipped = len(context.forget) - len(turns)
        note = f"{skipped} probes were skipped: their answers begin with the value or are one word" if skipped else None
        result = attacked(self, context, turns, budget={"share_given": 1 / PARTS, "skipped": skipped}, note=note)
        yield result.model_copy(update={"inapplicable": bool(context.forget) and not turns})


def begun(probe: Probe) -> Turn | None:
    """The probe with a beginning of its answer; None where no word could be given.

    The entities of the beginning are taken as asked about, so that repeating them tells nothing; where no value is
    known the rest of the answer is what is scored.
    """
    words = list(_WORD.finditer(probe.answer))
    given = min(max(1, len(words) // PARTS), value_place(probe.answer, probe.value), len(words) - 1)
    if given < 1:
        return None
    cut = words[given - 1].end()
    start, rest = probe.answer[:cut], probe.answer[cut:].strip()
    return Turn(replace(probe, question=f"{probe.question} {start}", answer=rest), probe.question, start=start)


def value_place(answer: str, value: str | None) -> int:
    """How many words of the answer come before its value begins; all of them where it holds no value."""
    words = _WORD.findall(answer)
    if value is None:
        return len(words)
    end = next((n for n in range(1, len(words) + 1) if values.holds(" ".join(words[:n]), value)), None)
    if end is None:
        return len(words)
    return next(n for n in range(end - 1, -1, -1) if values.holds(" ".join(words[n:end]), value))
