"""A prepared release gets a share of the traffic before anybody commits to it: figures of it, and what they decide.

Canary: the requests of some API keys are answered by it. Shadow: it answers copies of some requests, unseen, beside the
live release. Nothing that was said is kept: seconds for each token, errors, and how many words both answers share.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from policies.errors import LetheError
from services.serving.alias import Served
from services.store import dialect
from services.store.releases import get_desired, live_replicas

if TYPE_CHECKING:
    from services.settings import ServingSettings
    from services.store.engine import Store

_KEPT = 512  # the newest timings of each side: a trial is minutes, not days


@dataclass(slots=True)
class _Side:
    """What is known of one release."""

    requests: int = 0
    errors: int = 0
    seconds_per_token: list[float] = field(default_factory=list)

    def note(self, seconds: float, tokens: int, *, failed: bool) -> None:
        self.requests += 1
        self.errors += failed
        if not failed and tokens:
            self.seconds_per_token = [*self.seconds_per_token[-_KEPT + 1 :], seconds / tokens]

    def figures(self) -> dict[str, Any]:
        times = self.seconds_per_token
        return {
            "requests": self.requests,
            "errors": self.errors,
            "seconds_per_token": round(median(times), 6) if times else None,
        }


class TrialFigures:
    """One replica's figures of one trial; another trial begins with none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Served | None = None
        self._live, self._tried = _Side(), _Side()
        self._overlaps: list[float] = []

    def note(self, on_trial: Served, *, tried: bool, seconds: float, tokens: int, failed: bool) -> None:
        """Count an answer while something is on trial: of it, or of the live release beside it."""
        with self._lock:
            self._begin(on_trial)
            (self._tried if tried else self._live).note(seconds, tokens, failed=failed)

    def compare(self, on_trial: Served, live: str, tried: str) -> None:
        """Note how alike two answers to one request are; the answers are not kept."""
        with self._lock:
            self._begin(on_trial)
            self._overlaps = [*self._overlaps[-_KEPT + 1 :], overlap(live, tried)]

    def figures(self, on_trial: Served | None) -> dict[str, Any] | None:
        """For the replica's row: of what is on trial now, None where there is nothing."""
        with self._lock:
            if on_trial is None:
                return None
            self._begin(on_trial)
            mean = sum(self._overlaps) / len(self._overlaps) if self._overlaps else None
            return {
                "generation": on_trial.generation,
                "live": self._live.figures(),
                "tried": self._tried.figures(),
                "compared": len(self._overlaps),
                "overlap": None if mean is None else round(mean, 4),
            }

    def _begin(self, on_trial: Served) -> None:
        """By identity: a generation that was given up is proposed again under the same number."""
        if on_trial is not self._of:
            self._of = on_trial
            self._live, self._tried, self._overlaps = _Side(), _Side(), []


def overlap(one: str, other: str) -> float:
    """How many words two answers share, of all that either has; 1 for two empty ones."""
    left, right = (set(text.casefold().split()) for text in (one, other))
    return len(left & right) / len(left | right) if left | right else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a trial came to, over all replicas; for the report.

    Attributes:
        passed: None: it runs, or there was too little traffic to say anything.
        requests: That the release on trial answered.
        error_share: Of them; ``live_error_share`` of the live release's.
        latency_ratio: Seconds per token over the live release's, the worst replica's.
        overlap: Mean share of words with the live answers.
        why: What was missed.
    """

    passed: bool | None
    requests: int = 0
    error_share: float | None = None
    live_error_share: float | None = None
    latency_ratio: float | None = None
    overlap: float | None = None
    why: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the run's step."""
        return {**asdict(self), "why": list(self.why)}


def decide(rows: Sequence[Mapping[str, Any]], settings: "ServingSettings", *, over: bool) -> Result:
    """Hold the figures of all replicas against the settings.

    A miss aborts as soon as there is enough traffic to call it one; what is good is only said at the end. A trial
    without traffic decides nothing, and lets the release pass: the verdict has accepted it.

    Args:
        rows: ``TrialFigures.figures`` of every replica.
        settings: The limits.
        over: Whether the time of the trial is up.
    """
    tried, live = [row["tried"] for row in rows], [row["live"] for row in rows]
    requests = sum(side["requests"] for side in tried)
    errors, live_errors = _share(tried), _share(live)
    ratios = [
        row["tried"]["seconds_per_token"] / row["live"]["seconds_per_token"]
        for row in rows
        if row["tried"]["seconds_per_token"] and row["live"]["seconds_per_token"]
    ]
    compared = sum(row["compared"] for row in rows)
    alike = sum(row["overlap"] * row["compared"] for row in rows if row["overlap"] is not None)
    found = Result(
        passed=None,
        requests=requests,
        error_share=errors,
        live_error_share=live_errors,
        latency_ratio=round(max(ratios), 4) if ratios else None,
        overlap=round(alike / compared, 4) if compared else None,
    )
    why = _missed(found, settings) if requests >= settings.trial_requests_min else ()
    passed = False if why else True if over else None
    return Result(**{**asdict(found), "passed": passed, "why": why})


def _missed(found: Result, settings: "ServingSettings") -> tuple[str, ...]:
    why = []
    if (found.error_share or 0.0) - (found.live_error_share or 0.0) > settings.trial_error_max:
        why.append("errors")
    if found.latency_ratio is not None and found.latency_ratio > settings.trial_latency_ratio_max:
        why.append("latency")
    if found.overlap is not None and found.overlap < settings.trial_utility_min:
        why.append("utility")
    return tuple(why)


def _share(sides: Sequence[Mapping[str, Any]]) -> float | None:
    requests = sum(side["requests"] for side in sides)
    return round(sum(side["errors"] for side in sides) / requests, 4) if requests else None


class Judge:
    """Says for the coordinator of a swap whether what is on trial may be committed; ``result`` is for the report."""

    def __init__(self, store: "Store", settings: "ServingSettings") -> None:
        self._store, self._settings = store, settings
        self.result: Result | None = None

    def __call__(self, base_digest: str, generation: int) -> bool | None:
        """None while the trial runs; then whether it passed. The time counts from the last replica that prepared."""
        with self._store.read() as session:
            state = get_desired(session, base_digest)
            rows, now = live_replicas(session, base_digest), dialect.clock(session)
        if state.proposed_generation != generation:
            raise LetheError("swap.superseded", "Another release is on trial by now.")
        began = [row.prepared_at for row in rows if row.prepared_generation == generation and row.prepared_at]
        over = bool(began) and (now - max(began)).total_seconds() >= self._settings.trial_s
        figures = [row.trial for row in rows if row.trial is not None and row.trial["generation"] == generation]
        self.result = decide(figures, self._settings, over=over)
        return self.result.passed


def longest_s(settings: "ServingSettings") -> float:
    """How long a trial lasts; 0 where none is wanted."""
    return settings.trial_s if settings.canary_share > 0 or settings.shadow_share > 0 else 0.0


def judge(store: "Store", settings: "ServingSettings") -> Judge | None:
    """The judge of the installation; None where no trial is wanted."""
    return Judge(store, settings) if longest_s(settings) else None
