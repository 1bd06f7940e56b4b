"""From checked rows to an adapter: the loop that every method shares."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.encode import Encoded
from pipelines.model import LoadedModel, strip_adapter
from pipelines.progress import Reporter, StepProgress
from pipelines.rows import RowKind, Secret, TrainRow
from pipelines.unlearn import adapters, checkpoints
from pipelines.unlearn.door import assert_no_secret
from pipelines.unlearn.forward import score
from pipelines.unlearn.losses import Kept, Lowered, Raised
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Method, Stream, method
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows, sort_rows, steps_for, stream_of
from policies.errors import LetheError

_NEVER_WORSE = {"augmented", "retain"}  # loss terms in nats per token
_VERSIONS = ("torch", "transformers", "peft")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run made, for its report; no personal data.

    Attributes:
        adapter: Directory of the adapter.
        method: Which one.
        warm: Whether it went on from a trained adapter.
        steps: Steps of the whole run.
        resumed_at: Step of the checkpoint that it went on from; 0 for none.
        seconds: Wall time of this attempt.
        tokens_per_second: Useful (answer) tokens learned per second.
        rows: Rows by kind, as far as the method used them.
        negative_rows: Raw forgotten answers among them; only losses that lower their likelihood saw them.
        checked_rows: Rows that the door looked at.
        truncated: Rows that were cut to the maximum length.
        reference_bytes: Size of the reference cache at the end.
        reference_recomputed: How often a row did not fit in it.
        settings: As used.
        curve: The reports of the run: step and loss terms.
        versions: Of the libraries.
    """

    adapter: str
    method: str
    warm: bool
    steps: int
    resumed_at: int
    seconds: float
    tokens_per_second: float
    rows: Mapping[str, int]
    negative_rows: int
    checked_rows: int
    truncated: int
    reference_bytes: int
    reference_recomputed: int
    settings: Mapping[str, Any]
    curve: tuple[Mapping[str, float], ...]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)


def unlearn(
    loaded: LoadedModel,
    rows: Sequence[TrainRow],
    secrets: Sequence[Secret],
    settings: UnlearnSettings,
    *,
    out_dir: Path,
    start_from: Path | None = None,
    progress: Reporter | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train an adapter that forgets; it comes to lie in ``out_dir/adapter``, and the base is bare again afterwards.

    A checkpoint of the same job in ``out_dir`` is gone on from.

    Args:
        loaded: The base, without an adapter.
        rows: Augmented, retain, generic and replay rows; negative ones where the method wants them.
        secrets: Everything that is forgotten, of earlier people too, as far as their replay rows are among the rows.
        settings: See there.
        out_dir: Working directory of the run.
        start_from: Adapter of the last release. One with B = 0 counts as none.
        progress: Told every few steps.
        should_cancel: Asked every few steps.

    Raises:
        LetheError: ``unlearn.secret_in_rows``, ``unlearn.no_rows``, ``unlearn.unknown_method``,
            ``unlearn.diverged``, ``unlearn.cancelled``, ``unlearn.disk_full``, ``adapter.not_loadable``.
    """
    chosen = method(settings.method)
    checked = assert_no_secret(rows, secrets)
    warm = adapters.is_trained(start_from)
    streams = _streams(loaded, rows, chosen, settings)
    out_dir.mkdir(parents=True, exist_ok=True)
    model = adapters.attach(loaded, settings, start_from if warm else None)
    try:
        run = _Run(
            loaded=replace(loaded, model=model),
            method=chosen,
            streams=streams,
            settings=settings,
            warm=warm,
            out_dir=out_dir,
            job=_fingerprint(loaded.digest, rows, settings, start_from if warm else None),
        )
        run.train(progress, should_cancel)
        adapters.save(model, out_dir / "adapter", loaded.digest)
        checkpoints.drop(out_dir)
        return run.result(rows, checked)
    finally:
        model.unload()
        strip_adapter(loaded.model)
        loaded.model.eval()


def _streams(
    loaded: LoadedModel, rows: Sequence[TrainRow], chosen: Method, settings: UnlearnSettings
) -> dict[Stream, Rows]:
    streams = sort_rows(
        rows,
        loaded.tokenizer,
        batch_tokens=settings.batch_tokens,
        max_length=settings.max_length,
        replay_share=settings.replay_share,
        seed=settings.seed,
    )
    missing = tuple(stream.value for stream in chosen.streams if stream not in streams)
    if missing:
        raise LetheError("unlearn.no_rows", f"The method {settings.method} has no rows to learn from.", missing)
    return {stream: streams[stream] for stream in chosen.streams}


@dataclass(slots=True, kw_only=True)
class _Run:
    """State of one run; see ``unlearn`` for the arguments."""

    loaded: LoadedModel
    method: Method
    streams: dict[Stream, Rows]
    settings: UnlearnSettings
    warm: bool
    out_dir: Path
    job: str
    steps: int = 0
    resumed_at: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[Mapping[str, float]] = field(default_factory=list)
    reference: Reference = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.reference = Reference(
            self.loaded, settings.reference_top_k, settings.reference_bytes, autocast=settings.autocast
        )
        passes = (settings.warm_passes if self.warm else settings.passes) * self.method.passes
        counted = self.streams[self.method.streams[0]]
        # A method of its own pace (gradient ascent) has its own floor.
        minimum = max(1, math.ceil(settings.min_steps / self.method.passes))
        self.steps = steps_for(counted, passes, minimum, settings.max_steps)

    def train(self, progress: Reporter | None, should_cancel: Callable[[], bool] | None) -> None:
        """Run every step that is not done yet."""
        settings, model = self.settings, self.loaded.model
        trained = adapters.tensors(model)
        peak = settings.warm_learning_rate if self.warm else settings.learning_rate
        optimizer = torch.optim.AdamW(trained.values(), lr=peak, weight_decay=0.0)
        plans = {stream: rows.plan(self.steps) for stream, rows in self.streams.items()}
        watch = Watch(settings)
        self._resume(optimizer)
        model.train()
        began, recent = time.monotonic(), Counter[str]()
        for step in range(self.resumed_at, self.steps):
            if should_cancel and step % settings.cancel_every == 0 and should_cancel():
                raise LetheError("unlearn.cancelled", f"The run was cancelled at step {step} of {self.steps}.")
            for group in optimizer.param_groups:
                group["lr"] = peak * self._pace(step)
            batch = _Batches(self, {stream: plan[step] for stream, plan in plans.items()})
            terms = self.method.terms(batch, settings)
            sum(terms.values(), torch.zeros((), device=self.loaded.device)).backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), settings.clip)
            values = {name: float(term.detach()) for name, term in terms.items()}
            watch.look(step, values, float(norm))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.tokens += batch.tokens
            recent.update(values)
            self.seconds = time.monotonic() - began
            done = step + 1
            if done % settings.report_every == 0 or done == self.steps:
                self._report(done, recent, progress)
                recent = Counter()
            if done % settings.checkpoint_every == 0 and done < self.steps:
                checkpoints.save(self.out_dir, self.job, done, trained, optimizer)
        model.eval()

    def result(self, rows: Sequence[TrainRow], checked: int) -> TrainResult:
        """What the run made."""
        used = Counter(row.kind.value for row in rows if stream_of(row) in self.streams)
        return TrainResult(
            adapter=str(self.out_dir / "adapter"),
            method=self.settings.method,
            warm=self.warm,
            steps=self.steps,
            resumed_at=self.resumed_at,
            seconds=round(self.seconds, 2),
            tokens_per_second=round(self.tokens / max(self.seconds, 1e-9), 1),
            rows=dict(sorted(used.items())),
            negative_rows=used[RowKind.NEGATIVE.value],
            checked_rows=checked,
            truncated=sum(row.truncated for stream in self.streams.values() for row in stream.encoded),
            reference_bytes=self.reference.bytes,
            reference_recomputed=self.reference.recomputed,
            settings=asdict(self.settings),
            curve=tuple(self.curve),
            versions={name: version(name) for name in _VERSIONS},
        )

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        state = checkpoints.load(self.out_dir, self.job)
        if state is None:
            return
        adapters.restore(self.loaded.model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.resumed_at = int(state["step"])

    def _pace(self, step: int) -> float:
        """Share of the peak learning rate: a cosine, which only a cold start has to climb to."""
        rising = 0 if self.warm else math.ceil(self.steps * self.settings.warmup)
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))

    def _report(self, done: int, recent: Mapping[str, float], progress: Reporter | None) -> None:
        count = done % self.settings.report_every or self.settings.report_every
        losses = {name: total / count for name, total in recent.items()}
        self.curve.append({"step": done, **losses})
        if progress:
            passed = done - self.resumed_at
            progress(
                StepProgress(
                    step=done,
                    steps=self.steps,
                    losses=losses,
                    tokens_per_second=self.tokens / max(self.seconds, 1e-9),
                    eta_seconds=self.seconds / max(passed, 1) * (self.steps - done),
                )
            )


class _Batches:
    """The batches of one step, run when a method asks for them (registry.Step)."""

    def __init__(self, run: _Run, chosen: Mapping[Stream, list[int]]) -> None:
        self._run = run
        self._chosen = chosen
        self.tokens = 0

    def augmented(self) -> Raised:
        """Rows with vague answers."""
        _, rows = self._rows(Stream.AUGMENTED)
        return Raised(self._score(rows))

    def retain(self) -> Kept:
        """Rows that stay."""
        keys, rows = self._rows(Stream.RETAIN)
        reference = self._run.reference.distributions(keys, rows)
        return Kept(self._score(rows), reference)

    def negative(self) -> Lowered:
        """Rows whose likelihood falls."""
        keys, rows = self._rows(Stream.NEGATIVE)
        reference: Tensor = self._run.reference.nll(keys, rows)
        return Lowered(self._score(rows), reference)

    def _rows(self, stream: Stream) -> tuple[list[int], list[Encoded]]:
        keys = self._chosen[stream]
        rows = [self._run.streams[stream].encoded[key] for key in keys]
        self.tokens += sum(row.answer_tokens for row in rows)
        return keys, rows

    def _score(self, rows: Sequence[Encoded]) -> Any:
        loaded = self._run.loaded
        return score(loaded.model, rows, loaded.pad_id, loaded.device, autocast=self._run.settings.autocast)


class Watch:
    """Stops a run that cannot come to anything."""

    def __init__(self, settings: UnlearnSettings) -> None:
        self._settings = settings
        self._first: dict[str, float] = {}
        self._above: Counter[str] = Counter()

    def look(self, step: int, terms: Mapping[str, float], norm: float) -> None:
        """Look at the terms of a step.

        Raises:
            LetheError: ``unlearn.diverged``: a loss or gradient is no number, or the loss on rows that are learned
                or kept stays far above where it began.
        """
        if not all(math.isfinite(value) for value in (*terms.values(), norm)):
            raise LetheError("unlearn.diverged", f"A loss or gradient is no number at step {step}.")
        for name in _NEVER_WORSE & terms.keys():
            first = self._first.setdefault(name, terms[name])
            self._above[name] = self._above[name] + 1 if terms[name] > first + self._settings.diverged_margin else 0
            if self._above[name] >= self._settings.diverged_patience:
                raise LetheError("unlearn.diverged", f"The loss has stayed far above its beginning up to step {step}.")


def _fingerprint(base: str, rows: Sequence[TrainRow], settings: UnlearnSettings, start_from: Path | None) -> str:
    """Tells one job from another by ids only: a digest of contents could be confirmed by guessing them."""
    job = {
        "base": base,
        "rows": [row.row_id for row in rows],
        "settings": asdict(settings),
        "start": start_from.name if start_from else None,
    }
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
