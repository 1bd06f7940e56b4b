"""Retraining on T: half of the facts are learned anew until they sit, and the other half, V, is asked for."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pipelines.rows import Probe
from pipelines.verify.attacks import contrasts
from pipelines.verify.attacks.asking import ask, stop_if_cancelled, teller
from pipelines.verify.attacks.facts import Split, few_per_fact, split
from pipelines.verify.attacks.paired import NO_CONTROL, over_control
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.relearning import HOW
from pipelines.verify.attacks.scoring import NO_PROBES, not_run, secret_told, share_result, share_told, told_items
from pipelines.verify.results import Item

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

TAUGHT_PER_FACT = 4  # phrasings of each fact of T
PASSES = 6  # over T, and never fewer steps than relearning takes


class _Retrained(NamedTuple):
    """What V came to over both halves."""

    items: list[Item]
    choices: list[float]
    steps: int


@attack
class RetrainingOnT:
    """Every fact is in V once: the halves change places. Answers by generation, and by choice among likelihoods."""

    name: ClassVar[str] = "rtt"
    tier: ClassVar[Tier] = 2
    source: ClassVar[str] = "arXiv 2410.08827"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result: the share of V that is told, beside the control retrained on the same T."""
        seed = context.settings.seed
        halves = [split(context.forget, 0.5, seed, swap=swap) for swap in (False, True)]
        if not any(half.scored for half in halves):
            why = "no subject has a fact that the others do not tell" if context.forget else NO_PROBES
            nothing = not_run(self.name, self.tier, "hits", why, source=self.source, direction="lower")
            alone = bool(context.forget) and not any(half.given for half in halves)
            yield nothing.model_copy(update={"inapplicable": alone})
            return
        halves = [half for half in halves if half.scored]
        probes = [p for half in halves for p in few_per_fact(half.scored, context.settings.probes_per_fact)]
        before = secret_told(probes, ask(context, self.name, [p.question for p in probes]), context.backends)
        found = self._retrained(context, halves, context.loaded)
        parts: dict[str, float | None] = {
            "choice_accuracy": share_told(found.choices),
            "facts_told_by_t": float(sum(half.dropped for half in halves)),
        }
        theirs, beside = None, list[Item]()
        if context.control is not None:
            control = self._retrained(context, halves, context.control)
            beside = control.items
            theirs = share_told([item.score for item in beside])
            difference = over_control(found.items, control.items, seed=seed)
            parts |= difference.parts() if difference else {}
            parts["choice_accuracy_control"] = share_told(control.choices)
        yield share_result(
            self.name,
            self.tier,
            context,
            found.items,
            measure="hits",
            before=share_told(before),
            control=theirs,
            control_items=beside,
            source=self.source,
            budget={"steps": float(found.steps), "halves": float(len(halves)), "probes": float(len(probes))},
            parts=parts,
            note=HOW if context.control is not None else f"{HOW}; {NO_CONTROL}",
        )

    def _retrained(self, context: AttackContext, halves: Sequence[Split], model: "LoadedModel") -> _Retrained:
        from pipelines.verify.attacks.finetune import Lesson, Recipe, changed_layers, tuning

        settings = context.settings
        recipe = Recipe(targets=changed_layers(context.loaded))
        everybody = (*context.forget, *context.retain, *context.holdout)
        items: list[Item] = []
        choices: list[float] = []
        steps = 0
        for half in halves:
            taught = few_per_fact(half.given, TAUGHT_PER_FACT)
            lessons = [Lesson(probe.question, probe.answer) for probe in taught]
            steps = max(*settings.relearn_steps, 1, math.ceil(PASSES * len(lessons) / recipe.batch_rows))
            probes = few_per_fact(half.scored, settings.probes_per_fact)
            with tuning(model, lessons, recipe, seed=settings.seed) as tuner:
                tuner.train_to(steps, lambda: stop_if_cancelled(context))
                items += self._told(context, probes, tuner.loaded)
                asked = [c for c in contrasts.contrasts(probes, everybody, settings.seed) if c.kind == "choice"]
                told = teller(context, self.name)
                room = settings.max_batch_tokens
                scores = contrasts.scores(tuner.loaded, asked, max_batch_tokens=room, progress=told)
                choices += [float(score > 0) for score in scores["choice"].values()]
        return _Retrained(items, choices, steps)

    def _told(self, context: AttackContext, probes: Sequence[Probe], model: "LoadedModel") -> list[Item]:
        answers = ask(context, self.name, [probe.question for probe in probes], model=model)
        told = secret_told(probes, answers, context.backends)
        return told_items(probes, told)
