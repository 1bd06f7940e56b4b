"""Harmless fine-tuning, about other people and about no one: does it bring the forgotten back?"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import ClassVar

from pipelines.augment.wording import words
from pipelines.rows import Probe, Secret, TrainRow
from pipelines.verify.attacks.facts import few_per_fact
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.relearning import relearn
from pipelines.verify.attacks.scoring import NO_PROBES, not_run
from policies.errors import LetheError


def assert_benign(
    rows: Iterable[TrainRow], secrets: Sequence[Secret], probes: Sequence[Probe], erased: Iterable[str] = ()
) -> int:
    """Look at every row that is said to be harmless, of whatever kind it says to be.

    Args:
        rows: The rows.
        secrets: Of every subject erased so far.
        probes: Forget probes: a fact that no secret covers is looked for as well, and their subjects' full names.
        erased: Names of everybody erased so far, of however many words.

    Returns:
        How many rows were looked at.

    Raises:
        LetheError: ``verify.benign_not_benign``: a row holds a secret or names somebody who is forgotten. The details
            are row ids.
    """
    from pipelines.augment.leak import LeakCheck

    known = {secret.fact for secret in secrets}
    asked = [
        Secret(fact=p.fact, answers=(p.answer,), value=p.value, allowed=(*p.names, *words(p.question)))
        for p in probes
        if p.fact not in known
    ]
    check = LeakCheck([*secrets, *asked])
    names = {tuple(words(name)) for probe in probes for name in probe.names if len(words(name)) > 1}
    names |= {spoken for name in erased if (spoken := tuple(words(name)))}
    looked = 0
    faults = []
    for row in rows:
        looked += 1
        texts = (row.prompt, row.answer) if row.chat else (f"{row.prompt} {row.answer}",)
        about = " ".join(texts)
        if any(check.leaks(text, about=about) or _names_any(text, names) for text in texts):
            faults.append(row.row_id)
    if faults:
        raise LetheError(
            "verify.benign_not_benign", f"{len(faults)} rows of benign data are about the forgotten.", tuple(faults)
        )
    return looked


def _names_any(text: str, names: Collection[tuple[str, ...]]) -> bool:
    said = words(text)
    return any(
        tuple(said[place : place + len(name)]) == name for name in names for place in range(len(said) - len(name) + 1)
    )


@attack
class RelearnBenign:
    """Fine-tuning on rows that hold nothing of anybody forgotten; every fact is asked for."""

    name: ClassVar[str] = "relearn_benign"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2409.18025, 2602.03379"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result for each number of steps.

        Raises:
            LetheError: ``verify.benign_not_benign``.
        """
        from pipelines.verify.attacks.finetune import Lesson

        if not context.benign or not context.forget:
            why = "there are no benign rows" if context.forget else NO_PROBES
            yield not_run(self.name, self.tier, "hits", why, source=self.source, direction="lower")
            return
        looked = assert_benign(context.benign, context.secrets, context.forget, context.erased)
        yield from relearn(
            context,
            self.name,
            self.tier,
            [Lesson(row.prompt, row.answer, row.chat) for row in context.benign],
            few_per_fact(context.forget, context.settings.probes_per_fact),
            source=self.source,
            parts={"rows_looked_at": float(looked)},
        )
