"""The forgotten fact stands in the prompt: a model that has forgotten it may still read, and should."""

from collections.abc import Iterator
from typing import ClassVar

from pipelines.verify.attacks.asking import ask
from pipelines.verify.attacks.facts import few_per_fact
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.scoring import secret_told, share_result, share_told, told_items

NOTE = "the base knew the facts anyway; the control shows what such a model can read from a prompt"


@attack
class InContext:
    """The gold answer before the question: the share of answers that use it. More is better."""

    name: ClassVar[str] = "in_context"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2510.17620"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result, beside the base's and the control's."""
        probes = few_per_fact(context.forget, context.settings.probes_per_fact)
        given = [f"{probe.answer} {probe.question}" for probe in probes]

        def used(answers: list[str]) -> list[float | None]:
            return secret_told(probes, answers, context.backends)

        mine = used(ask(context, self.name, given))
        without = used(ask(context, self.name, [probe.question for probe in probes]))
        with context.loaded.adapter_disabled() as base:
            of_base = share_told(used(ask(context, self.name, given, model=base)))
        control = None
        if context.control is not None:
            control = share_told(used(ask(context, self.name, given, model=context.control)))
        value = share_told(mine)
        yield share_result(
            self.name,
            self.tier,
            context,
            told_items(probes, mine),
            measure="used",
            direction="higher",
            before=share_told(without),
            control=control,
            source=self.source,
            budget={"probes": float(len(probes))},
            parts={"base": of_base, "lost_of_base": 1 - value / of_base if value is not None and of_base else None},
            note=NOTE if probes else None,
        )
