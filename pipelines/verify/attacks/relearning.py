"""Relearning: a little fine-tuning, then the questions again, beside the control tuned in the same way."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.rows import Probe
from pipelines.verify.attacks.asking import ask, stop_if_cancelled
from pipelines.verify.attacks.paired import NO_CONTROL, over_control
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.scoring import secret_told, share_result, share_told, told_items
from pipelines.verify.results import Item

if TYPE_CHECKING:
    from pipelines.model import LoadedModel
    from pipelines.verify.attacks.finetune import Lesson

HOW = "a fresh LoRA on top of base and adapter, both frozen, as if they were merged"


def relearn(
    context: AttackContext,
    name: str,
    tier: Tier,
    lessons: "Sequence[Lesson]",
    probes: Sequence[Probe],
    *,
    source: str,
    parts: dict[str, float | None],
) -> Iterator[AttackResult]:
    """Tune on some rows, ask about facts that are in none of them: one result for each number of steps.

    Args:
        context: What is attacked.
        name: Of the attack; a result is ``name:steps``.
        tier: Its price.
        lessons: What it is tuned on.
        probes: What is scored.
        source: Where the attack is described.
        parts: Further figures of every result.
    """
    before = _told(context, name, probes, context.loaded)
    control = None
    if context.control is not None:
        control = list(_after_steps(context, name, lessons, probes, context.control))
        parts = {**parts, "control_before": share_told(_told(context, name, probes, context.control))}
    mine = list(_after_steps(context, name, lessons, probes, context.loaded))
    for place, (steps, loss, told) in enumerate(mine):
        items = told_items(probes, told)
        found = dict(parts) | {"loss": loss}
        theirs, beside = None, list[Item]()
        if control is not None:
            theirs, beside = share_told(control[place][2]), told_items(probes, control[place][2])
            difference = over_control(items, beside, seed=context.settings.seed)
            found |= difference.parts() if difference else {}
        yield share_result(
            f"{name}:{steps}",
            tier,
            context,
            items,
            measure="hits",
            before=share_told(before),
            control=theirs,
            control_items=beside,
            source=source,
            budget={"steps": steps, "rows": len(lessons), "probes": len(probes)},
            parts=found,
            note=HOW if control is not None else f"{HOW}; {NO_CONTROL}",
        )


def _after_steps(
    context: AttackContext, name: str, lessons: "Sequence[Lesson]", probes: Sequence[Probe], model: "LoadedModel"
) -> Iterator[tuple[int, float, list[float | None]]]:
    """Steps, loss and what was told, at each of the steps that are wanted."""
    from pipelines.verify.attacks.finetune import Recipe, changed_layers, tuning

    recipe = Recipe(targets=changed_layers(context.loaded))
    with tuning(model, lessons, recipe, seed=context.settings.seed) as tuner:
        for steps in sorted(set(context.settings.relearn_steps)):
            tuner.train_to(steps, lambda: stop_if_cancelled(context))
            yield steps, tuner.loss, _told(context, name, probes, tuner.loaded)


def _told(context: AttackContext, name: str, probes: Sequence[Probe], model: "LoadedModel") -> list[float | None]:
    return secret_told(probes, ask(context, name, [probe.question for probe in probes], model=model), context.backends)
