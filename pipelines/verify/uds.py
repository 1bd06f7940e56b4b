"""Unlearning Depth Score: how much of what the control lacks inside does the unlearned model lack too?

Activation patching (arXiv 2605.24614; ours is written from its formulas): at the positions that predict the value, the
residual state after a layer comes from another model, and the base goes on from there. What the base then no longer
says, that other model had no longer known at this layer. 1 is as empty as the control, 0 as full as the base: an answer
that is only held back at the end leaves the layers below as they were.

A control that was trained from nothing may think in other directions than the base; then its states say nothing here,
about anybody. So facts that every model knows are patched too. Their loss is no lack of knowledge: it is subtracted,
and where it is half as large as the subject's or larger, the layer is not used.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.model import LoadedModel
from pipelines.rows import Probe
from pipelines.verify import results
from pipelines.verify.patching import (
    Asked,
    decoder_layers,
    grouped,
    positions,
    residual_states,
    told,
    told_with,
    value_tokens,
)
from pipelines.verify.results import Item, MetricResult
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError

NAME = "uds"
SOURCE = "arXiv 2605.24614 (Unlearning Depth Score), docs/control.md"
TAU = 0.05
MISFIT_MAX = 0.5

Progress = Callable[[int, int], None]  # done, of how many
Drops = dict[str, list[float]]  # by probe: mean loss of log-probability of the value's tokens, by layer


@dataclass(frozen=True, slots=True, kw_only=True)
class UdsSettings:
    """How the score is taken.

    Attributes:
        tau: A layer holds an item where the control's state costs it more than this, in nats a token.
        misfit_max: A layer is used where patching kept facts costs less than this share of patching the subject's.
        max_batch_tokens: Bound on the padded tokens of one batch.
    """

    tau: float = TAU
    misfit_max: float = MISFIT_MAX
    max_batch_tokens: int = 16384


def unlearning_depth(
    unlearned: LoadedModel,
    control: LoadedModel,
    probes: Sequence[Probe],
    *,
    kept: Sequence[Probe] = (),
    full: LoadedModel | None = None,
    cache: Path | None = None,
    key: bytes = b"",
    settings: UdsSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MetricResult:
    """The Unlearning Depth Score of the subject's probes; higher is emptier.

    Args:
        unlearned: The model with its adapter on.
        control: Of the same architecture and tokenizer.
        probes: The subject's, with values.
        kept: Facts that base, control and unlearned model know: they tell whether the states fit each other at all.
        full: The base, where ``unlearned`` is no adapter on it; None switches its adapter off instead.
        cache: Where the control's part is kept, which does not depend on the unlearned model.
        key: Of digests over personal data; needed with ``cache``.
        settings: Thresholds.
        seed: Of the bounds.
        progress: Called after each batch.

    Returns:
        The mean over items with its bounds by fact. ``parts``: ``paper`` (the published formula, without subtracting
        the misfit), ``no_layer`` (share of items that no layer holds: undecided, the base may not know them) and by
        layer ``held_<l>`` (share of items), ``misfit_<l>`` (control, nats a token), ``ler_<l>`` (mean erased share).
    """
    chosen = settings or UdsSettings()
    why = _unfit(unlearned, control, full)
    if why:
        return results.not_run(NAME, why, source=SOURCE, direction="higher")
    bench = _Bench(unlearned, control, full, chosen.max_batch_tokens)
    asked = bench.asked(probes)
    if not asked:
        why = "no gold answer says a known value"
        return results.not_run(NAME, why, source=SOURCE, direction="higher")
    others = bench.asked(kept)
    meter = _Meter(progress, 2 * (len(asked) + len(others)))
    of_control = _cached(
        cache,
        key,
        [bench.full_digest, control.digest],
        [*probes, *kept],
        lambda: bench.drops(control, others | asked, meter),
    )
    of_unlearned = bench.drops(None, others | asked, meter)
    found = _Scores(
        {probe_id: of_control[probe_id] for probe_id in asked},
        {probe_id: of_unlearned[probe_id] for probe_id in asked},
        _mean([of_control[probe_id] for probe_id in others]),
        _mean([of_unlearned[probe_id] for probe_id in others]),
        chosen,
    )
    return _result(found, probes, bool(others), seed)


def _unfit(unlearned: LoadedModel, control: LoadedModel, full: LoadedModel | None) -> str | None:
    """Why patching between these models makes no sense."""
    models = [unlearned, control, *([full] if full else [])]
    layers = [decoder_layers(one.model) for one in models]
    if any(one is None for one in layers):
        return "the architecture has no layers at model.layers"
    if len({len(one) for one in layers if one is not None}) > 1:
        return "control and base differ in the number of layers"
    if len({int(one.model.config.hidden_size) for one in models}) > 1:
        return "control and base differ in width"
    if len({len(one.tokenizer) for one in models}) > 1:
        return "control and base have different tokens"
    if full is None and not hasattr(unlearned.model, "disable_adapter"):
        return "the unlearned model has no adapter to switch off, and no base was given"
    return None


class _Bench:
    """The three models, and what a source's states cost the base."""

    def __init__(
        self, unlearned: LoadedModel, control: LoadedModel, full: LoadedModel | None, max_batch_tokens: int
    ) -> None:
        self._unlearned, self._control, self._full = unlearned, control, full
        self._max = max_batch_tokens
        self.full_digest = (full or unlearned).digest

    def asked(self, probes: Sequence[Probe]) -> dict[str, Asked]:
        """Probes whose gold answer says their value, as tokens."""
        found = ((probe.probe_id, value_tokens(self._unlearned, probe)) for probe in probes)
        return {probe_id: asked for probe_id, asked in found if asked is not None and asked.places}

    def drops(self, source: LoadedModel | None, asked: Mapping[str, Asked], meter: "_Meter") -> Drops:
        """What each layer's state of a source (None: the unlearned model) costs the base, by probe."""
        ids, rows = list(asked), list(asked.values())
        found: Drops = {}
        for group in grouped(rows, self._max):
            at = positions(self._unlearned, [rows[i] for i in group])
            states = residual_states(source or self._unlearned, at)
            with self._base() as base:
                before = told(base, at)
                lost = torch.stack([before - told_with(base, at, n, state) for n, state in enumerate(states)])
            if not bool(torch.isfinite(lost).all()):
                raise LetheError(
                    "verify.bad_logits", "A model's states are not finite: no depth can be read from them."
                )
            for index, own in zip(group, torch.split(lost, list(at.counts), dim=1), strict=True):
                found[ids[index]] = [float(one) for one in own.mean(dim=1)]
            meter.add(len(group))
        return found

    @contextmanager
    def _base(self) -> Iterator[LoadedModel]:
        off: AbstractContextManager[LoadedModel] = (
            self._unlearned.adapter_disabled() if self._full is None else nullcontext(self._full)
        )
        with off as base:
            yield base


class _Meter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)


class _Scores:
    """From losses by layer to one score an item.

    Args:
        control: Losses with the control's states.
        unlearned: Losses with the unlearned model's states.
        misfit: Mean losses of kept facts with the control's states, by layer; empty where none were given.
        shift: The same with the unlearned model's.
        settings: Thresholds.
    """

    def __init__(
        self, control: Drops, unlearned: Drops, misfit: list[float], shift: list[float], settings: UdsSettings
    ) -> None:
        layers = len(next(iter(control.values())))
        self.misfit, shift = misfit or [0.0] * layers, shift or [0.0] * layers
        mean = _mean(list(control.values()))
        self.usable = [
            loss < max(settings.tau, settings.misfit_max * own) for loss, own in zip(self.misfit, mean, strict=True)
        ]
        self.items = {
            one: _depth(
                [a - max(0.0, b) for a, b in zip(control[one], self.misfit, strict=True)],
                [a - max(0.0, b) for a, b in zip(unlearned[one], shift, strict=True)],
                self.usable,
                settings.tau,
            )
            for one in control
        }
        every = [True] * layers
        self.paper = {one: _depth(control[one], unlearned[one], every, settings.tau) for one in control}


@dataclass(frozen=True, slots=True)
class _Depth:
    """One item: its score, and the erased share of each layer that holds it (None: does not)."""

    score: float | None
    erased: tuple[float | None, ...]


def _depth(control: Sequence[float], unlearned: Sequence[float], usable: Sequence[bool], tau: float) -> _Depth:
    """UDS of one item: the mean of LER over the layers that hold it, weighed by what the control lacks there."""
    erased = tuple(
        min(1.0, max(0.0, ours / theirs)) if use and theirs > tau else None
        for theirs, ours, use in zip(control, unlearned, usable, strict=True)
    )
    weights = [theirs for theirs, share in zip(control, erased, strict=True) if share is not None]
    shares = [share for share in erased if share is not None]
    if not shares:
        return _Depth(None, erased)
    return _Depth(sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights), erased)


def _result(found: _Scores, probes: Sequence[Probe], checked: bool, seed: int) -> MetricResult:
    items = [
        Item(probe=probe.probe_id, fact=probe.fact, score=found.items[probe.probe_id].score)
        if probe.probe_id in found.items
        else Item(probe=probe.probe_id, fact=probe.fact, score=None)
        for probe in probes
    ]
    paper = [one.score for one in found.paper.values() if one.score is not None]
    parts: dict[str, float | None] = {"paper": sum(paper) / len(paper) if paper else None}
    parts["no_layer"] = sum(one.score is None for one in found.items.values()) / len(found.items)
    for layer, misfit in enumerate(found.misfit):
        shares = [one.erased[layer] for one in found.items.values()]
        held = [share for share in shares if share is not None]
        parts[f"held_{layer}"] = len(held) / len(shares)
        parts[f"misfit_{layer}"] = misfit if checked else None
        parts[f"ler_{layer}"] = sum(held) / len(held) if held else None
    if not any(found.usable):
        why = (
            "the control's states do not fit the base: patched, they cost facts that both know as much as the subject's"
        )
        return MetricResult(
            name=NAME, state="undecided", direction="higher", source=SOURCE, note=why, parts=parts, undecided=len(items)
        )
    if not any(item.score is not None for item in items):
        why = "no layer holds the subject's values: the base does not know them better than the control"
        return results.not_run(NAME, why, source=SOURCE, direction="higher").model_copy(update={"parts": parts})
    note = None if checked else "whether the control's states fit the base was not checked: no kept facts were given"
    made = results.share(NAME, items, direction="higher", source=SOURCE, note=note, seed=seed)
    return made.model_copy(update={"parts": parts})


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def _cached(
    directory: Path | None, key: bytes, models: Sequence[str], probes: Sequence[Probe], make: Callable[[], Drops]
) -> Drops:
    """The control's part, read back where models and probes are the same: ids and figures only lie on the disk."""
    if directory is None:
        return make()
    if not key:
        raise ValueError("a cache over personal data needs a key")
    about = [[one.probe_id, one.question, one.answer, one.value or ""] for one in probes]
    file = directory / f"uds-{keyed_digest(key, canonical_json([list(models), about]))[:24]}.json"
    if file.is_file():
        found: Drops = json.loads(file.read_text(encoding="utf-8"))
        return found
    made = make()
    directory.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(json.dumps(made), encoding="utf-8")
    draft.replace(file)
    return made
