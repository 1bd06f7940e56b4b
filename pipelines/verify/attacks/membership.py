"""Are the forgotten answers still recognised as something the model was trained on, beside people it never saw?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pipelines.verify.attacks.asking import stop_if_cancelled, teller
from pipelines.verify.attacks.paired import NO_CONTROL
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack
from pipelines.verify.attacks.scoring import NO_PROBES, not_run
from pipelines.verify.membership_scores import MEMBERSHIP
from pipelines.verify.results import Item

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

VALUE = "value"
Sides = dict[str, tuple[list[Item], list[Item]]]  # by score: the forgotten answers, the hold-out's


@attack
class Membership:
    """LOSS, zlib, Min-K and Min-K++ of gold answers against a hold-out of the same kind, and against the control.

    ``value`` is the likelihood of the value's own tokens: whole answers tell a subject by name and tokenizer though
    nothing was learned (``pipelines.verify.value_likelihood``), so it is the one to read without a control.

    An AUC far below 0.5 shows the forgotten as one far above it does: what counts is the distance from the control's.
    """

    name: ClassVar[str] = "membership"
    tier: ClassVar[Tier] = 2
    source: ClassVar[str] = "arXiv 2404.02936, 2112.03570, 2407.06460"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """One result for each score: the AUC, with the true positive rate at 1 % false positives among its parts."""
        if not context.forget or not context.holdout:
            why = "there is no hold-out of people who were never in the corpus" if context.forget else NO_PROBES
            yield not_run(self.name, self.tier, "auc", why, source=self.source, direction="none")
            return
        ours = self._scored(context, context.loaded)
        theirs = None if context.control is None else self._scored(context, context.control)
        for name, sides in ours.items():
            yield self._result(f"{self.name}:{name}", context, sides, None if theirs is None else theirs[name])

    def _scored(self, context: AttackContext, model: "LoadedModel") -> Sides:
        from pipelines.verify.teacher_forced import teacher_forced
        from pipelines.verify.value_likelihood import value_items

        stop_if_cancelled(context)
        probes, count = (*context.forget, *context.holdout), len(context.forget)
        scores = teacher_forced(
            model,
            [(probe.question, probe.answer) for probe in probes],
            max_batch_tokens=context.settings.max_batch_tokens,
            progress=teller(context, self.name),
        )
        found = {
            name: [Item(probe=p.probe_id, fact=p.fact, score=score(one)) for p, one in zip(probes, scores, strict=True)]
            for name, score in MEMBERSHIP.items()
        }
        room = context.settings.max_batch_tokens
        found[VALUE] = value_items(model, probes, max_batch_tokens=room, progress=teller(context, self.name))
        return {name: (items[:count], items[count:]) for name, items in found.items()}

    def _result(
        self,
        name: str,
        context: AttackContext,
        ours: tuple[list[Item], list[Item]],
        theirs: tuple[list[Item], list[Item]] | None,
    ) -> AttackResult:
        from pipelines.verify.indistinguishable import auc, privleak, tpr_at

        found, rate = auc(*ours), tpr_at(*ours)
        told = found.state == "measured"  # too few for an AUC is too few for everything
        notes = [found.note, f"true positive rate: {rate.note}" if told else None]
        parts: dict[str, float | None] = {
            "hold_out": float(len(ours[1])),
            "tpr": rate.value,
            "tpr_lower": rate.lower,
            "tpr_upper": rate.upper,
            "tpr_fpr": rate.parts.get("fpr"),
        }
        control = None
        if theirs is None:
            notes.append(NO_CONTROL)
        else:
            beside = privleak(*ours, *theirs, seed=context.settings.seed)
            control = auc(*theirs).value
            parts |= {
                "tpr_control": tpr_at(*theirs).value,
                "privleak": beside.value,
                "privleak_lower": beside.lower,
                "privleak_upper": beside.upper,
                "over_control": beside.parts.get("difference"),
                "over_control_lower": beside.parts.get("difference_lower"),
                "over_control_upper": beside.parts.get("difference_upper"),
            }
            notes.append(f"beside the control: {beside.note}" if told else None)
        return AttackResult(
            name=name,
            tier=self.tier,
            measure="auc",
            value=found.value,
            lower=found.lower,
            upper=found.upper,
            bound_method=found.bound_method,
            n=found.n,
            facts=found.facts,
            undecided=found.undecided,
            control=control,
            direction="none",
            source=self.source,
            budget={"answers": float(len(ours[0])), "hold_out": float(len(ours[1]))},
            state=found.state,
            note="; ".join(dict.fromkeys(note for note in notes if note)),
            parts=parts,
            items=tuple(ours[0]),
        )
