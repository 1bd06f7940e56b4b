"""A stream of requests: people forgotten one after another on one base, and everyone asked again after each.

Three ways: one cumulative adapter (warm start, bounded replay, compaction from the base now and then), one adapter a
request added up, and everybody together from the base at chosen points. Every finished part is kept, so that a study
that was stopped goes on; a training that was stopped goes on from its checkpoint.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.augment.replay import HELD, REPLAY_BUDGET
from pipelines.augment.settings import AugmentSettings
from pipelines.model import with_adapter
from pipelines.progress import Reporter
from pipelines.rows import RowKind, TrainRow
from pipelines.studies.erasure import score
from pipelines.studies.follow import Follow, ProbeAmounts
from pipelines.studies.ledger import Ledger
from pipelines.studies.summed import COMBINATIONS, Combination, with_summed
from pipelines.studies.world import Case, World, earlier_secrets, prepare, run_rows
from pipelines.unlearn.registry import row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from policies.errors import LetheError

Way = Literal["ours", "summed", "restart"]
WAYS: tuple[Way, ...] = get_args(Way)
DROP_MAX = 0.05
KRR_MIN = 0.95
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What a stream study does.

    Attributes:
        erasures: People forgotten, one after another, the first of the corpus first.
        rest_people: The last so many of the corpus are never forgotten; what stays is measured on them.
        ways: ``ours``, ``summed`` and ``restart``; ``ours`` is always run.
        replay: Replay rows of everyone before together.
        compact_every: After so many erasures the adapter is trained anew from the base; 0: never.
        retry_misses: Whether an adapter after which somebody comes back or the rest is not kept is trained anew from
            the base as well, as the product does with a rejected warm start.
        points: Erasures after which ``restart`` and ``summed`` are measured; those beyond the last are passed over,
            the last one is always among them.
        combination: How PEFT adds adapters up.
        probes: How many probes.
        training: Of the trainer.
        amounts: Of rows; kinds that the method needs are switched on.
    """

    erasures: int = 30
    rest_people: int = 6
    ways: tuple[Way, ...] = WAYS
    replay: int = REPLAY_BUDGET
    compact_every: int = 10
    retry_misses: bool = True
    points: tuple[int, ...] = (1, 3, 10, 20, 30)
    combination: Combination = "cat"
    probes: ProbeAmounts = field(default_factory=ProbeAmounts)
    training: UnlearnSettings = field(default_factory=UnlearnSettings)
    amounts: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        faults = [
            *(["erasures and rest_people must be at least 1"] if min(self.erasures, self.rest_people) < 1 else []),
            *(["replay and compact_every must not be negative"] if min(self.replay, self.compact_every) < 0 else []),
            *(f"{way} is no way; there are {', '.join(WAYS)}" for way in self.ways if way not in WAYS),
            *([f"combination must be one of {', '.join(COMBINATIONS)}"] * (self.combination not in COMBINATIONS)),
        ]
        if faults:
            raise LetheError("study.bad_settings", "The study cannot be run like that.", tuple(faults))

    def measured_at(self) -> tuple[int, ...]:
        """The points that are reached, and the end."""
        return tuple(sorted({point for point in self.points if 1 <= point < self.erasures} | {self.erasures}))

    def compacted_at(self, number: int) -> bool:
        """Whether the adapter is trained anew from the base after this erasure."""
        return bool(self.compact_every) and number % self.compact_every == 0


class StreamStudy:
    """One study, in a directory of its own.

    Args:
        world: Corpus and base.
        settings: See there.
        directory: Where parts, adapters and checkpoints lie.
        told: Told a line of progress now and then; it names people by opaque ids.
        training: Told the steps of a training.

    Raises:
        LetheError: ``study.other_plan``, ``study.nobody_left``, ``study.bad_settings`` (more erasures than people),
            ``unlearn.unknown_method``.
    """

    def __init__(
        self,
        world: World,
        settings: StreamSettings,
        directory: Path,
        *,
        told: Told = lambda _: None,
        training: Reporter | None = None,
    ) -> None:
        first_kept = len(world.people) - settings.rest_people
        if settings.erasures > first_kept:
            fault = f"of {len(world.people)} people {settings.rest_people} stay: at most {first_kept} erasures"
            raise LetheError("study.bad_settings", "The study cannot be run like that.", (fault,))
        kinds = row_kinds(settings.training.method)
        amounts = replace(settings.amounts, negative=RowKind.NEGATIVE in kinds, refusals=RowKind.REFUSAL in kinds)
        self._world, self._settings, self._amounts = world, settings, amounts
        self._told, self._training = told, training
        plan = {"study": "stream", "base": world.loaded.digest, "corpus": world.corpus.name, **asdict(settings)}
        del plan["erasures"], plan["ways"], plan["points"]  # a study may be taken further
        self._ledger = Ledger(directory, plan)
        self._follow = Follow(world, range(first_kept), settings.probes, settings.training.seed)
        self._gone: list[Case] = []

    def run(self) -> dict[str, Any]:
        """Run what is not finished.

        Returns:
            ``settings``, ``device``, ``base``, ``people``, ``rest_probes`` and ``erasures``: one entry each, its parts
            by name (``ours``, ``alone``, ``summed``, ``restart``). ``stream_result`` reads it.
        """
        erasures = []
        for number in range(1, self._settings.erasures + 1):
            case = prepare(self._world, number - 1, self._gone, self._amounts, self._settings.training.seed)
            parts = self._erasure(number, case)
            self._gone.append(case)
            erasures.append({"number": number, "subject": case.subject, "prepare_seconds": case.seconds, **parts})
        return {
            "settings": asdict(self._settings),
            "device": self._world.loaded.device.type,
            "base": {"digest": self._world.loaded.digest, "seconds": self._world.base_seconds},
            "people": len(self._world.people),
            "rest_probes": len(self._follow.rest),
            "erasures": erasures,
        }

    def _erasure(self, number: int, case: Case) -> dict[str, Any]:
        settings = self._settings
        measured = number in settings.measured_at()
        parts = {"ours": self._ours(number, case)}
        missed = settings.retry_misses and number > 1 and not _kept(parts["ours"]["after"], self._scores(number - 1))
        if "summed" in settings.ways:
            parts["alone"] = self._alone(number, case)
            if measured:
                parts["summed"] = self._summed(number, case)
        if missed or settings.compacted_at(number) or (measured and "restart" in settings.ways):
            parts["restart"] = self._restart(number, case, missed=missed)
        return parts

    def _ours(self, number: int, case: Case) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            rows = run_rows(
                case, self._gone, self._settings.replay, self._settings.training.seed, self._scores(number - 1)
            )
            trained = self._train("ours", number, case, rows, self._head(number - 1))
            return {"training": trained, "after": self._measure("ours", number, case)}

        return self._part("ours", number, make)

    def _alone(self, number: int, case: Case) -> dict[str, Any]:
        return self._part(
            "alone", number, lambda: {"training": self._train("alone", number, case, case.augmented.rows, None)}
        )

    def _summed(self, number: int, case: Case) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            adapters = [self._adapter("alone", one) for one in range(1, number + 1)]
            with with_summed(self._world.loaded, adapters, self._settings.combination) as adapted:
                return {"after": self._follow.measure(adapted, [*self._gone, case])}

        return self._part("summed", number, make)

    def _restart(self, number: int, case: Case, *, missed: bool) -> dict[str, Any]:
        """Everybody so far in one training from the base: the comparison, our own compaction, and the second try."""

        def make() -> dict[str, Any]:
            seed = self._settings.training.seed
            rows = run_rows(case, self._gone, self._settings.replay, seed, from_base=True)
            trained = self._train("restart", number, case, rows, None)
            after = self._measure("restart", number, case)
            than = self._scores(number - 1) if missed else _scores_of(self._done("ours", number)["after"])
            adopted = (missed or self._settings.compacted_at(number)) and _kept(after, than)
            return {"training": trained, "after": after, "adopted": adopted, "instead": missed and adopted}

        return self._part("restart", number, make)

    def _train(self, way: str, number: int, case: Case, rows: Sequence[TrainRow], start: Path | None) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            self._told(f"{way} {number}: training on {len(rows)} rows")
            began, cpu = time.monotonic(), time.process_time()
            trained = unlearn(
                self._world.loaded,
                rows,
                [*case.secrets, *earlier_secrets(self._gone, case.names)],
                self._settings.training,
                out_dir=self._run(way, number),
                start_from=start,
                progress=self._training,
            )
            return {
                "seconds": time.monotonic() - began,
                "cpu_seconds": time.process_time() - cpu,
                "steps": trained.steps,
                "resumed_at": trained.resumed_at,
                "warm": trained.warm,
                "rows": dict(trained.rows),
            }

        # The first person alone, from the base, is the same job in every way.
        return self._part(f"trained-{'ours' if number == 1 else way}", number, make)

    def _measure(self, way: str, number: int, case: Case) -> dict[str, Any]:
        self._told(f"{way} {number}: asking everyone again")
        with with_adapter(self._world.loaded, self._adapter(way, number)) as adapted:
            return self._follow.measure(adapted, [*self._gone, case])

    def _part(self, name: str, number: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        part = f"{name}-{number:03d}"
        found = self._ledger.done(part)
        if found is None:
            found = make()
            self._ledger.write(part, found)
        return found

    def _done(self, name: str, number: int) -> dict[str, Any]:
        found = self._ledger.done(f"{name}-{number:03d}")
        if found is None:
            raise LookupError(f"{name}-{number:03d}")  # parts are made in order
        return found

    def _scores(self, number: int) -> dict[str, float | None]:
        """How well everyone held after an erasure."""
        if number < 1:
            return {}
        return _scores_of(self._done(self._standing(number), number)["after"])

    def _head(self, number: int) -> Path | None:
        """The adapter that the next training starts from."""
        if number < 1:
            return None
        return self._adapter(self._standing(number), number)

    def _standing(self, number: int) -> str:
        """Which way's adapter stands after an erasure: ours, unless one from the base took its place."""
        found = self._ledger.done(f"restart-{number:03d}")
        return "restart" if found and found["adopted"] else "ours"

    def _run(self, way: str, number: int) -> Path:
        way = "ours" if number == 1 else way
        return self._ledger.directory / "runs" / f"{way}-{number:03d}"

    def _adapter(self, way: str, number: int) -> Path:
        return self._run(way, number) / "adapter"


def _scores_of(after: dict[str, Any]) -> dict[str, float | None]:
    return {subject: score(line) for subject, line in after["subjects"].items()}


def _kept(after: dict[str, Any], than: dict[str, float | None]) -> bool:
    """Whether nobody has come back, against scores of before (whoever has none was forgotten), and the rest is kept."""
    for subject, held in _scores_of(after).items():
        if held is None or held < min(HELD, than.get(subject, 1.0) or 0.0) - DROP_MAX:
            return False
    ratio = after["rest"]["ratio"]
    return ratio is not None and ratio >= KRR_MIN
