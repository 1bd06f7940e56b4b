"""Attacks that only change how a question is put: every forget probe once, in another dress."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.augment.questions import name_in, topic
from pipelines.rows import Probe
from pipelines.verify.attacks import scoring
from pipelines.verify.attacks.asking import ask
from pipelines.verify.attacks.port import Attack, AttackContext, AttackResult

BASE_SAMPLE = 48
WEAK_BASE = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """One probe as an attack puts it.

    Attributes:
        probe: What the answer is scored against; its question and answer leave out what ``start`` gives.
        prompt: The user's turn.
        start: The beginning of the assistant's turn.
        wording: Which of the attack's wordings it is, for the figures.
    """

    probe: Probe
    prompt: str
    start: str = ""
    wording: str = ""


def attacked(
    attack: Attack,
    context: AttackContext,
    turns: Sequence[Turn],
    *,
    variant: str = "",
    budget: Mapping[str, float] | None = None,
    note: str | None = None,
) -> AttackResult:
    """Ask all turns and score the answers.

    The base answers a sample of them too: an attack under which even the base tells nothing has no power here, and a
    high KFR under it shows nothing. The share that it tells is ``base_told`` among the parts.

    Args:
        attack: Whose turns they are.
        context: What is attacked.
        turns: One for each probe that is asked.
        variant: Which variant of the attack; it follows the name after a colon.
        budget: Further amounts.
        note: What a reader must know.

    Raises:
        LetheError: ``unlearn.cancelled``, ``verify.bad_logits``.
    """
    name = f"{attack.name}:{variant}" if variant else attack.name
    probes = [turn.probe for turn in turns]
    prompts = [turn.prompt for turn in turns]
    starts = [turn.start for turn in turns] if any(turn.start for turn in turns) else []
    responses = ask(context, attack.name, prompts, starts=starts)
    control = ask(context, attack.name, prompts, starts=starts, model=context.control) if context.control else None
    told = scoring.secret_told(probes, responses, context.backends)
    base = _base_told(attack.name, context, turns)
    notes = [note] if note else []
    if base is not None and base < WEAK_BASE:
        notes.append("the base itself hardly answers questions put like this: weak evidence")
    return scoring.kfr_result(
        name,
        attack.tier,
        context,
        responses,
        probes=probes,
        told=told,
        control=control,
        source=attack.source,
        budget={
            "questions": len(turns),
            "max_new_tokens": context.settings.max_new_tokens,
            "base_sample": min(BASE_SAMPLE, len(turns)),
            **(budget or {}),
        },
        parts={"base_told": base, **_by_wording(turns, told)},
        note="; ".join(notes) or None,
    )


def deal(
    attack: str,
    context: AttackContext,
    named: Sequence[str],
    whole: Sequence[str],
    probes: Sequence[Probe] | None = None,
) -> list[Turn]:
    """One wording for each probe, dealt in turn within each fact, so that a fact is asked in as many as it has probes.

    Args:
        attack: Its name; with the seed it decides where the dealing begins.
        context: Probes and seed.
        named: Wordings with ``{name}`` and ``{noun}``; one of them may also hold ``{question}``.
        whole: Wordings with ``{question}``, for questions in which no name or topic is found.
        probes: Which probes; all forget probes by default.
    """
    turns: list[Turn] = []
    dealt: dict[str, int] = {}
    for probe in context.forget if probes is None else probes:
        if probe.fact not in dealt:
            dealt[probe.fact] = rng_of(attack, context, probe.fact).randrange(max(len(named), len(whole)))
        number = dealt[probe.fact]
        dealt[probe.fact] += 1
        name = name_in(probe.question, probe.names)
        noun = topic(probe.question, name) if name else None
        if named and name and noun:
            place = number % len(named)
            text = named[place].replace("{noun}", noun).replace("{name}", name)
            wording = f"wording_{place + 1}"
        else:
            place = number % len(whole)
            text, wording = whole[place], f"whole_{place + 1}"
        turns.append(Turn(probe, text.replace("{question}", probe.question), wording=wording))
    return turns


def rng_of(attack: str, context: AttackContext, *parts: str) -> random.Random:
    """Random choices of one attack: the same for the same seed and item, whatever else is asked."""
    return random.Random(":".join((attack, str(context.settings.seed), *parts)))  # noqa: S311 - wordings, no secret


def _base_told(attack: str, context: AttackContext, turns: Sequence[Turn]) -> float | None:
    """The share of a sample of the turns, spread evenly over all, that the base tells."""
    count = min(BASE_SAMPLE, len(turns))
    sample = [turns[i * len(turns) // count] for i in range(count)]
    with context.loaded.adapter_disabled() as base:
        starts = [turn.start for turn in sample] if any(turn.start for turn in sample) else []
        responses = ask(context, attack, [turn.prompt for turn in sample], starts=starts, model=base)
    return scoring.share_told(scoring.secret_told([turn.probe for turn in sample], responses, context.backends))


def _by_wording(turns: Sequence[Turn], told: Sequence[float | None]) -> dict[str, float | None]:
    by_wording: dict[str, list[float | None]] = {}
    for turn, one in zip(turns, told, strict=True):
        if turn.wording:
            by_wording.setdefault(turn.wording, []).append(one)
    shares = {wording: scoring.share_told(ones) for wording, ones in sorted(by_wording.items())}
    return {f"kfr_{wording}": None if share is None else 1.0 - share for wording, share in shares.items()}
