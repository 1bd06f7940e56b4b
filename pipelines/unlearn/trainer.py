"""From checked rows to an adapter: the loop that every method shares."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from pipelines.descent import cosine
from pipelines.model import LoadedModel
from pipelines.progress import Reporter, StepProgress
from pipelines.ranks import Ranks
from pipelines.rows import RowKind, Secret, TrainRow
from pipelines.shared import shared
from pipelines.unlearn import adapters, checkpoints
from pipelines.unlearn.door import assert_no_secret
from pipelines.unlearn.drawn import DrawnStep
from pipelines.unlearn.pairing import Pairs, pair
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Method, Stream, method
from pipelines.unlearn.rehearsal import Rehearsal
from pipelines.unlearn.result import TrainResult
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.stopping import AskExposure, AtCheckpoint, Looks
from pipelines.unlearn.streams import Rows, sort_rows, steps_for, stream_of
from pipelines.unlearn.trainable import trainable
from pipelines.unlearn.watch import Watch
from policies.errors import LetheError

__all__ = ["TrainResult", "unlearn"]

_VERSIONS = ("torch", "transformers", "peft")


@shared("progress", "should_cancel", "exposure", "checkpoint")
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
    exposure: AskExposure | None = None,
    checkpoint: AtCheckpoint | None = None,
) -> TrainResult:
    """Train an adapter that forgets; it comes to lie in ``out_dir/adapter``, and the base is bare again afterwards.

    A checkpoint of the same job in ``out_dir`` is gone on from. Where several processes hold the base, each takes a
    part of every batch; the steps are those of one process, and rank 0 alone writes.

    Args:
        loaded: The base, without an adapter.
        rows: Augmented, retain, generic and replay rows; negative and refusal ones where the method wants them
            (``registry.row_kinds``).
        secrets: Everything that is forgotten, of earlier people too, as far as their replay rows are among the rows.
        settings: See there.
        out_dir: Working directory of the run.
        start_from: Adapter of the last release. One with B = 0 counts as none.
        progress: Told every few steps.
        should_cancel: Asked every few steps.
        exposure: Measures the model, adapter on, every ``stop_every`` steps and after the last one, where
            ``stop_tau`` is above 0; the run stops at the first that is ``equivalent``.
        checkpoint: Called at the same steps with step and model, whatever ``stop_tau`` is. A run that goes on from a
            checkpoint does not call it again for the steps before.

    Raises:
        LetheError: ``unlearn.secret_in_rows``, ``unlearn.no_rows``, ``unlearn.unknown_method``,
            ``unlearn.bad_settings``, ``unlearn.diverged``, ``unlearn.cancelled``, ``unlearn.disk_full``,
            ``adapter.not_loadable``.
    """
    chosen = method(settings.method)
    checked = assert_no_secret(rows, secrets)
    warm = adapters.is_trained(start_from)
    streams, pairs = _streams(loaded, rows, chosen, settings)
    looks = Looks(settings=settings, exposure=exposure, checkpoint=checkpoint)
    if settings.shard_base and (looks.asks or checkpoint):
        fault = "shard_base leaves no process with a whole model to look at: stop_tau must be 0"
        raise LetheError("unlearn.bad_settings", "The settings of the run cannot be used.", (fault,))
    out_dir.mkdir(parents=True, exist_ok=True)
    with trainable(loaded, settings, start_from if warm else None) as learning:
        run = _Run(
            loaded=learning,
            ranks=loaded.ranks,
            method=chosen,
            streams=streams,
            pairs=pairs,
            settings=settings,
            warm=warm,
            out_dir=out_dir,
            job=checkpoints.fingerprint(loaded.digest, rows, settings, start_from if warm else None, asks=looks.asks),
            looks=looks,
        )
        run.train(progress, should_cancel)
        if loaded.ranks.number == 0:
            adapters.save(learning.model, out_dir / "adapter", loaded.digest)
            checkpoints.drop(out_dir)
        return run.result(rows, checked)


def _streams(
    loaded: LoadedModel, rows: Sequence[TrainRow], chosen: Method, settings: UnlearnSettings
) -> tuple[dict[Stream, Rows], Pairs | None]:
    found = sort_rows(
        rows,
        loaded.tokenizer,
        batch_tokens=settings.batch_tokens,
        max_length=settings.max_length,
        replay_share=settings.replay_share,
        seed=settings.seed,
    )
    missing = tuple(stream.value for stream in chosen.streams if stream not in found)
    if missing:
        raise LetheError("unlearn.no_rows", f"The method {settings.method} has no rows to learn from.", missing)
    streams = {stream: found[stream] for stream in chosen.streams}
    if chosen.chosen is None:
        return streams, None
    pairs = pair(streams[Stream.NEGATIVE], streams[chosen.chosen])
    if not pairs.partners:
        raise LetheError("unlearn.no_rows", "No forgotten answer has another answer to its own question.")
    return {**streams, Stream.NEGATIVE: pairs.rejected}, pairs


@dataclass(slots=True, kw_only=True)
class _Run:
    """State of one run; see ``unlearn`` for the arguments."""

    loaded: LoadedModel
    ranks: Ranks
    method: Method
    streams: dict[Stream, Rows]
    pairs: Pairs | None
    settings: UnlearnSettings
    warm: bool
    out_dir: Path
    job: str
    looks: Looks
    steps: int = 0
    passes: float = 0.0
    done: int = 0
    resumed_at: int = 0
    tokens: int = 0
    used: set[Stream] = field(default_factory=set)
    seconds: float = 0.0
    curve: list[Mapping[str, float]] = field(default_factory=list)
    reference: Reference = field(init=False)
    rehearsal: Rehearsal | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        settings = self.settings
        self.reference = Reference(
            self.loaded,
            settings.reference_top_k,
            settings.reference_bytes,
            autocast=settings.autocast,
            everywhere=settings.kl_mask == "all_real_tokens",
            ranks=self.ranks,
        )
        if self.method.rehearses:
            self.rehearsal = Rehearsal(self.loaded, self.streams[Stream.NEGATIVE], settings, self.ranks)
        self.passes = (settings.warm_passes if self.warm else settings.passes) * self.method.passes
        counted = self.streams[self.method.streams[0]]
        # A method of its own pace (gradient ascent) has its own floor.
        minimum = max(1, math.ceil(settings.min_steps / self.method.passes))
        self.steps = steps_for(counted, self.passes, minimum, settings.max_steps)

    def train(self, progress: Reporter | None, should_cancel: Callable[[], bool] | None) -> None:
        """Run every step that is not done yet, unless the exposure says that it is enough."""
        settings, model = self.settings, self.loaded.model
        trained = adapters.tensors(model)
        peak = settings.warm_learning_rate if self.warm else settings.learning_rate
        rising = 0 if self.warm else math.ceil(self.steps * settings.warmup)  # only a cold start has to climb
        optimizer = torch.optim.AdamW(trained.values(), lr=peak, weight_decay=0.0)
        plans = {stream: rows.plan(self.steps) for stream, rows in self.streams.items()}
        partners = list(self.pairs.plan(plans[Stream.NEGATIVE])) if self.pairs else []
        watch = Watch(settings)
        self._resume(optimizer)
        self.ranks.equal(list(trained.values()))
        model.train()
        began, recent = time.monotonic(), list[Mapping[str, float]]()
        for step in range(self.resumed_at, self.steps):
            if step % settings.cancel_every == 0 and self.ranks.first(should_cancel and should_cancel()):
                raise LetheError("unlearn.cancelled", f"The run was cancelled at step {step} of {self.steps}.")
            for group in optimizer.param_groups:
                group["lr"] = peak * cosine(step, self.steps, rising)
            batch = self._draw({stream: plan[step] for stream, plan in plans.items()}, partners[step : step + 1], step)
            terms = self.method.terms(batch, settings)
            sum(terms.values(), torch.zeros((), device=self.loaded.device)).backward()  # type: ignore[no-untyped-call]
            self.ranks.add([tensor.grad for tensor in trained.values() if tensor.grad is not None])
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), settings.clip)
            values = self.ranks.totals({name: float(term.detach()) for name, term in terms.items()})
            watch.look(step, values, float(norm))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.tokens += batch.tokens
            self.used |= batch.used
            recent.append(values)
            self.seconds = time.monotonic() - began - self.looks.seconds
            self.done = step + 1
            last = self.done == self.steps
            reached = self.ranks.first(self.ranks.number == 0 and self.looks.reached(self.done, last, self.loaded))
            if self.done % settings.report_every == 0 or last or reached:
                self._report(recent, progress)
                recent = []
            if reached:
                break
            if self.done % settings.checkpoint_every == 0 and not last and self.ranks.number == 0:
                log = {"curve": self.curve, "exposure": self.looks.seen}
                played = self.rehearsal.state() if self.rehearsal else None
                checkpoints.save(self.out_dir, self.job, self.done, trained, optimizer, log, played)
        model.eval()

    def result(self, rows: Sequence[TrainRow], checked: int) -> TrainResult:
        """What the run made."""
        used = Counter(row.kind.value for row in rows if stream_of(row) in self.used)
        unpaired = self.pairs.unpaired if self.pairs else 0
        used[RowKind.NEGATIVE.value] -= unpaired  # a method with pairs takes forgotten answers only in pairs
        return TrainResult(
            adapter=str(self.out_dir / "adapter"),
            method=self.settings.method,
            warm=self.warm,
            passes=round(self.passes, 4),
            steps=self.done,
            planned_steps=self.steps,
            resumed_at=self.resumed_at,
            seconds=round(self.seconds, 2),
            look_seconds=round(self.looks.seconds, 2),
            tokens_per_second=round(self.tokens / max(self.seconds, 1e-9), 1),
            rows={kind: count for kind, count in sorted(used.items()) if count},
            negative_rows=used[RowKind.NEGATIVE.value],
            unpaired=unpaired,
            checked_rows=checked,
            truncated=sum(row.truncated for stream in self.streams.values() for row in stream.encoded),
            reference_bytes=self.reference.bytes,
            reference_recomputed=self.reference.recomputed,
            settings=asdict(self.settings),
            curve=tuple(self.curve),
            exposure=tuple(self.looks.seen),
            exposure_state=self.looks.state,
            stopped=self.looks.stopped,
            processes=self.ranks.count,
            versions={name: version(name) for name in _VERSIONS},
        )

    def _draw(self, drawn: Mapping[Stream, list[int]], partners: list[list[int]], number: int) -> DrawnStep:
        stream = self.method.chosen
        return DrawnStep(
            loaded=self.loaded,
            streams=self.streams,
            reference=self.reference,
            settings=self.settings,
            drawn=drawn,
            chosen=(stream, partners[0]) if stream is not None else None,
            rehearsal=self.rehearsal,
            number=number,
            ranks=self.ranks,
        )

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        state = self.ranks.first(checkpoints.load(self.out_dir, self.job) if self.ranks.number == 0 else None)
        if state is None:
            return
        adapters.restore(self.loaded.model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        if self.rehearsal and state["rehearsal"]:
            self.rehearsal.restore(state["rehearsal"])
        torch.set_rng_state(state["random"])
        self.resumed_at = self.done = int(state["step"])
        self.curve.extend(state["log"]["curve"])
        self.looks.seen.extend(state["log"]["exposure"])

    def _report(self, recent: Sequence[Mapping[str, float]], progress: Reporter | None) -> None:
        losses = {name: sum(values[name] for values in recent) / len(recent) for name in recent[0]}
        self.curve.append({"step": self.done, **losses})
        if progress:
            passed = self.done - self.resumed_at
            progress(
                StepProgress(
                    step=self.done,
                    steps=self.steps,
                    losses=losses,
                    tokens_per_second=self.tokens / max(self.seconds, 1e-9),
                    eta_seconds=self.seconds / max(passed, 1) * (self.steps - self.done),
                )
            )
