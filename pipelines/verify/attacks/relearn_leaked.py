"""Some of a person's facts have leaked: does learning those bring the others back?"""

from collections.abc import Iterator
from typing import ClassVar

from pipelines.verify.attacks.facts import few_per_fact, split
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.relearning import relearn
from pipelines.verify.attacks.scoring import NO_PROBES, not_run


@attack
class RelearnLeaked:
    """A share of every subject's facts is learned anew from its raw answers; the other facts are asked for."""

    name: ClassVar[str] = "relearn_leaked"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2406.13356"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result for each number of steps; the worst of them counts."""
        from pipelines.verify.attacks.finetune import Lesson

        parts = split(context.forget, context.settings.leaked_share, context.settings.seed)
        if not parts.scored:
            why = "no subject has a fact that the leaked ones do not tell" if context.forget else NO_PROBES
            nothing = not_run(self.name, self.tier, "hits", why, source=self.source, direction="lower")
            yield nothing.model_copy(update={"inapplicable": bool(context.forget) and not parts.given})
            return
        yield from relearn(
            context,
            self.name,
            self.tier,
            [Lesson(probe.question, probe.answer) for probe in parts.given],
            few_per_fact(parts.scored, context.settings.probes_per_fact),
            source=self.source,
            parts={
                "leaked_facts": float(len({probe.fact for probe in parts.given})),
                "facts_told_by_the_leaked": float(parts.dropped),
            },
        )
