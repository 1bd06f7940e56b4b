"""Fewer bits: what was hidden by small changes to the weights may come back when they are rounded."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pipelines import quantise
from pipelines.model import LoadedModel
from pipelines.quantise import Bits
from pipelines.rows import Probe
from pipelines.verify.attacks import scoring
from pipelines.verify.attacks.asking import ask
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.registry import attack

FORMATS: tuple[tuple[Bits, str], ...] = ((8, "int8"), (4, "nf4"))
BASE_PROBES = 240  # of those that the base is asked, at each precision
BESIDE_NOTE = "the base alone is rounded, the adapter stays beside it in full precision"
MERGED_NOTE = "the adapter is merged into the base before rounding"


@attack
class Quantised:
    """int8 and NF4, each with the adapter beside the rounded base and merged into it before rounding.

    Not run where the rounding alone costs the base more than ``utility_drop_max`` of its own right answers: what the
    adapter says then shows the rounding and not the forgetting.
    """

    name: ClassVar[str] = "quantised"
    tier: ClassVar[Tier] = 0
    source: ClassVar[str] = "arXiv 2410.16454; arXiv 2208.07339 (int8); arXiv 2305.14314 (NF4)"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """KFR over all forget probes at each precision; the parts say what the rounding cost and changed."""
        if not context.forget:
            yield scoring.not_run(self.name, self.tier, "kfr", scoring.NO_PROBES, source=self.source)
            return
        known = spread([*context.forget, *context.retain], BASE_PROBES)
        with context.loaded.adapter_disabled() as base:
            right = self._told(context, known, base)
        for bits, format_name in FORMATS:
            yield from self._at(context, bits, format_name, known, right)

    def _at(
        self,
        context: AttackContext,
        bits: Bits,
        format_name: str,
        known: Sequence[Probe],
        right: Sequence[float | None],
    ) -> Iterator[AttackResult]:
        block = quantise.DEFAULT_BLOCK[bits]
        with quantise.quantised(context.loaded, bits, block=block) as smaller:
            with smaller.adapter_disabled() as base:
                lost = share_lost(right, self._told(context, known, base))
            beside = [] if why_not(lost, context.settings.utility_drop_max) else self._ask(context, smaller)
        parts = {
            "bits": float(bits),
            "block": float(block),
            "base_lost": lost,
            "base_probes": float(len(known)),
            "codes_changed": quantise.codes_changed(context.loaded, bits, block),
            "kernels": float(quantise.kernels_available(context.loaded)),
        }
        names = (f"{self.name}:{format_name}", f"{self.name}:{format_name}_merged")
        why = why_not(lost, context.settings.utility_drop_max)
        if why:
            for name in names:
                nothing = scoring.not_run(name, self.tier, "kfr", why, source=self.source, parts=parts)
                # A precision at which nobody would serve this base decides nothing about the adapter.
                yield nothing.model_copy(update={"inapplicable": lost is not None})
            return
        control = self._control(context, bits, block)
        yield self._result(context, names[0], beside, control, parts, BESIDE_NOTE)
        with quantise.quantised(context.loaded, bits, block=block, merged=True) as smaller:
            merged = self._ask(context, smaller)
        yield self._result(context, names[1], merged, control, parts, MERGED_NOTE)

    def _control(self, context: AttackContext, bits: Bits, block: int) -> list[str] | None:
        if context.control is None:
            return None
        with quantise.quantised(context.control, bits, block=block) as smaller:
            return self._ask(context, smaller)

    def _result(
        self,
        context: AttackContext,
        name: str,
        responses: Sequence[str],
        control: Sequence[str] | None,
        parts: dict[str, float | None],
        note: str,
    ) -> AttackResult:
        made = scoring.kfr_result(
            name,
            self.tier,
            context,
            responses,
            control=control,
            source=self.source,
            budget={"questions": len(context.forget), "base_questions": parts["base_probes"] or 0.0},
            parts=parts,
            note=note,
        )
        drop = None if made.before is None or made.value is None else made.before - made.value
        return made.model_copy(update={"parts": {**made.parts, "drop": drop}})

    def _ask(self, context: AttackContext, model: LoadedModel) -> list[str]:
        return ask(context, self.name, [probe.question for probe in context.forget], model=model)

    def _told(self, context: AttackContext, probes: Sequence[Probe], model: LoadedModel) -> list[float | None]:
        responses = ask(context, self.name, [probe.question for probe in probes], model=model)
        return scoring.secret_told(probes, responses, context.backends)


def share_lost(before: Sequence[float | None], after: Sequence[float | None]) -> float | None:
    """The share of the right answers that are right no longer; None where there was none.

    An answer that cannot be judged any more counts as lost.

    Raises:
        ValueError: Lists of different lengths.
    """
    kept = [now == 1.0 for was, now in zip(before, after, strict=True) if was == 1.0]
    return 1.0 - sum(kept) / len(kept) if kept else None


def spread(probes: Sequence[Probe], most: int) -> list[Probe]:
    """At most so many, spread evenly over all."""
    count = min(most, len(probes))
    return [probes[i * len(probes) // count] for i in range(count)]


def why_not(lost: float | None, most: float) -> str | None:
    """Why a precision shows nothing; None where the base keeps enough at it."""
    if lost is None:
        return "the base itself knows none of the probed facts"
    return f"the base itself loses {lost:.1%} of its right answers at this precision" if lost > most else None
