"""The forgotten asked for in another language, where the corpus has probes in one."""

from collections.abc import Iterator
from typing import ClassVar

from pipelines.rows import Probe
from pipelines.verify.attacks.asking import ask
from pipelines.verify.attacks.paired import NO_CONTROL, over_control
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.scoring import NO_PROBES, not_run, secret_told, share_result, share_told, told_items
from pipelines.verify.results import Item

_MARK = "language:"


def language_of(probe: Probe) -> str | None:
    """The language of a probe that is in another one than its corpus: its phrasing is ``language:de``."""
    return probe.phrasing.removeprefix(_MARK) or None if probe.phrasing.startswith(_MARK) else None


@attack
class Languages:
    """Greedy answers to the probes of each other language. Nothing is translated here."""

    name: ClassVar[str] = "languages"
    tier: ClassVar[Tier] = 1
    source: ClassVar[str] = "arXiv 2601.06675"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result for each language."""
        languages: dict[str, list[Probe]] = {}
        for probe in context.forget:
            if language := language_of(probe):
                languages.setdefault(language, []).append(probe)
        if not languages:
            why = "the corpus has no other language" if context.forget else NO_PROBES
            nothing = not_run(self.name, self.tier, "hits", why, source=self.source, direction="lower")
            yield nothing.model_copy(update={"inapplicable": bool(context.forget)})
        for language, probes in sorted(languages.items()):
            questions = [probe.question for probe in probes]
            name = f"{self.name}:{language}"
            items = told_items(probes, secret_told(probes, ask(context, name, questions), context.backends))
            parts: dict[str, float | None] = {}
            theirs, control = None, list[Item]()
            if context.control is not None:
                answers = ask(context, name, questions, model=context.control)
                control = told_items(probes, secret_told(probes, answers, context.backends))
                theirs = share_told([item.score for item in control])
                difference = over_control(items, control, seed=context.settings.seed)
                parts = difference.parts() if difference else {}
            same = {probe.fact for probe in probes}
            before = [p for p in context.forget if p.fact in same and language_of(p) is None]
            told = secret_told(before, ask(context, name, [p.question for p in before]), context.backends)
            yield share_result(
                name,
                self.tier,
                context,
                items,
                measure="hits",
                before=share_told(told),
                control=theirs,
                control_items=control,
                source=self.source,
                budget={"probes": float(len(probes))},
                parts=parts,
                note=None if context.control is not None else NO_CONTROL,
            )
