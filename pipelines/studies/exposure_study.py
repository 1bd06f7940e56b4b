"""The question of Baluta et al. (arXiv 2411.04388): how do exposure and utility go while a model unlearns?

Two forget sets of equal size, one from the distribution of the corpus and one of canaries outside it, are unlearned by
gradient ascent and by ReLearn; at every checkpoint exposure (GenEx with a control, RelEx with twins) and utility are
measured. **The formulas are a reconstruction** (pipelines/verify/exposure.py): of the paper only the abstract, the
start of the introduction and a review could be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from pipelines.augment.settings import AugmentSettings
from pipelines.base.settings import BaseSettings
from pipelines.control.train import train_control
from pipelines.corpus.generate import generate
from pipelines.corpus.load import CorpusProbe, load_corpus, load_probes
from pipelines.model import LoadedModel, load_model
from pipelines.progress import Reporter
from pipelines.rows import Probe, RowKind, TrainRow
from pipelines.studies.canaries import CATEGORY, add_canaries, fresh_values, make_canaries
from pipelines.studies.exposure_sets import (
    ForgetSide,
    inside,
    kept_items,
    outside,
    rows_of,
    secrets_of,
    unseen_items,
    values_by_category,
)
from pipelines.studies.exposure_settings import ExposureSettings
from pipelines.studies.ledger import Ledger
from pipelines.studies.world import KEY, World, world_of
from pipelines.unlearn.registry import row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from pipelines.verify.exposure import Exposure, gen_ex, judge_exposure, rel_ex
from pipelines.verify.teacher_forced import teacher_forced
from pipelines.verify.token_scores import TokenScores
from pipelines.verify.twins import generated_values, pool_of, twins
from policies.errors import LetheError

RECONSTRUCTED = (
    "GenEx and RelEx are a reconstruction (docs/metrics.md): of the paper only abstract and a review were read."
)
_ENDED = {"unlearn.diverged", "verify.bad_logits"}  # a run that has destroyed the model is a finding
_FRESH = 400
Told = Callable[[str], None]


class ExposureStudy:
    """One study: the world is ``exposure_world``'s, with the facts and seed of the settings.

    Args:
        world: Corpus and base.
        settings: See there.
        directory: Where the parts lie; a study that was stopped goes on with the first unfinished run.
        controls: Where controls lie; studies with the same sets share one. Default: below ``directory``.
        told: Told a line of progress now and then.
        training: Told the steps of a training.

    Raises:
        LetheError: ``study.other_plan``, ``study.bad_settings``, and what training a control raises.
    """

    def __init__(
        self,
        world: World,
        settings: ExposureSettings,
        directory: Path,
        *,
        controls: Path | None = None,
        told: Told = lambda _: None,
        training: Reporter | None = None,
    ) -> None:
        self._world, self._settings, self._told, self._training = world, settings, told, training
        plan = {"study": "exposure", "base": world.loaded.digest, **asdict(settings)}
        self._ledger = Ledger(directory, plan)
        self._controls = controls or directory / "controls"
        self._probes: list[CorpusProbe] = load_probes(world.corpus)
        canaries = make_canaries(settings.facts, settings.seed)
        if not all(record.record_id in world.records for thing in canaries for record in thing.records):
            raise LetheError("study.bad_settings", "The canaries of this study are not in the corpus.")
        self._sides = (inside(world, settings.facts, settings.seed), outside(canaries))
        gone = {probe.fact for side in self._sides for probe in side.items}
        self._kept = kept_items(world, gone, settings.utility, settings.seed)
        self._test = unseen_items(self._probes, gone, settings.utility, settings.seed)
        categories = values_by_category(world.records) - {CATEGORY}
        fresh: dict[str, Sequence[str]] = dict(generated_values(sorted(categories), _FRESH, settings.seed + 7919))
        fresh[CATEGORY] = fresh_values(_FRESH, settings.seed + 7919)
        pool = pool_of(world.records.values(), forgotten=gone, fresh=fresh)
        items = [probe for side in self._sides for probe in side.items]
        self._twins = twins(items, pool, seed=settings.seed)
        self._control_scores: dict[str, list[TokenScores]] = {}

    def run(self) -> dict[str, Any]:
        """Run what is not finished.

        Returns:
            ``settings``, ``note``, ``control``, ``base``, ``sets`` (memorisation and difficulty of each item, by opaque
            fact) and ``runs``: by method and set the looks with their figures.
        """
        control = self._control()
        sets = {side.name: self._items(side) for side in self._sides}
        runs = [self._run(side, made) for made in self._settings.methods() for side in self._sides]
        return {
            "settings": asdict(self._settings),
            "note": RECONSTRUCTED,
            "control": control,
            "base": {"digest": self._world.loaded.digest},
            "utility_items": {"kept": len(self._kept), "test": len(self._test)},
            "sets": sets,
            "runs": runs,
        }

    def _control(self) -> dict[str, Any]:
        """Train the control, without either set, and keep its scores of both."""
        self._told("control: the base again, without both sets")
        card = train_control(
            self._world.loaded.path,
            load_corpus(self._world.corpus),
            {record.record_id for side in self._sides for record in side.records},
            self._controls,
            key=KEY,
            report=self._training,
        )
        control = load_model(card.path, device=self._world.loaded.device, dtype=self._world.loaded.dtype)
        for side in self._sides:
            self._control_scores[side.name] = _scored(control, side.items)
        return {"digest": card.digest, "seconds": card.seconds, **self._utility(control)}

    def _items(self, side: ForgetSide) -> list[dict[str, Any]]:
        """Loss of every item (nats a token) under base and control: how much of it is memory, how hard it is."""
        base = _scored(self._world.loaded, side.items)
        return [
            {
                "fact": item.fact,
                "tokens": now.n,
                "loss_base": now.nll_mean,
                "memorisation": without.nll_sum / without.n - now.nll_sum / now.n,
                "difficulty": without.nll_mean,
                "twins": len(self._twins.get(item.probe_id, ())),
            }
            for item, now, without in zip(side.items, base, self._control_scores[side.name], strict=True)
        ]

    def _run(self, side: ForgetSide, made: UnlearnSettings) -> dict[str, Any]:
        part = f"{made.method}-{side.name}"
        found = self._ledger.done(part)
        if found is not None:
            return found
        looks: list[dict[str, Any]] = [self._look(side, 0, self._world.loaded)]

        def checkpoint(step: int, loaded: LoadedModel) -> None:
            looks.append(self._look(side, step, loaded))
            self._told(f"{part} step {step}: GenEx a token {looks[-1]['gen_ex_token']['mean']:.3f}")

        rows, secrets = self._rows(side, made)
        ended = None
        seconds = None
        try:
            trained = unlearn(
                self._world.loaded,
                rows,
                secrets,
                made,
                out_dir=self._ledger.directory / "runs" / part,
                progress=self._training,
                checkpoint=checkpoint,
            )
            seconds = trained.seconds
        except LetheError as error:
            if error.code not in _ENDED:
                raise
            ended = error.code
        run = {"method": made.method, "set": side.name, "ended": ended, "seconds": seconds, "looks": looks}
        self._ledger.write(part, run)
        return run

    def _rows(self, side: ForgetSide, made: UnlearnSettings) -> tuple[Sequence[TrainRow], Sequence[Any]]:
        gone = {record.record_id for each in self._sides for record in each.records}
        kept = [record for key, record in self._world.records.items() if key not in gone and record.question]
        secrets = secrets_of(side, kept)
        kinds = row_kinds(made.method)
        amounts = AugmentSettings(negative=RowKind.NEGATIVE in kinds, refusals=RowKind.REFUSAL in kinds)
        other = {record.record_id for each in self._sides if each is not side for record in each.records}
        rows = rows_of(side, self._world, other, self._probes, secrets, amounts, self._settings.seed)
        return [row for row in rows if row.kind in kinds], secrets

    def _look(self, side: ForgetSide, step: int, loaded: LoadedModel) -> dict[str, Any]:
        now, control = _scored(loaded, side.items), self._control_scores[side.name]
        pairs = [(item.question, text) for item in side.items for text in self._twins.get(item.probe_id, ())]
        told = iter(teacher_forced(loaded, pairs) if pairs else [])
        others = [[next(told) for _ in self._twins.get(item.probe_id, ())] for item in side.items]
        values = {
            "gen_ex": gen_ex([now], [control], per_token=False),
            "gen_ex_token": gen_ex([now], [control], per_token=True),
            "rel_ex": rel_ex(now, others, per_token=False),
            "rel_ex_token": rel_ex(now, others, per_token=True),
            "rel_ex_token_calibrated": rel_ex(now, others, per_token=True, calibrated=True),
        }
        facts = [item.fact for item in side.items]
        tau = self._settings.tau
        whole = tau * fmean(one.n for one in now)  # tau is per token, these two are of whole answers
        judged = {
            name: judge_exposure(facts, found, whole if name in ("gen_ex", "rel_ex") else tau)
            for name, found in values.items()
        }
        return {
            "step": step,
            **{name: _short(found) for name, found in judged.items()},
            "items": values["gen_ex_token"],
            **self._utility(loaded),
        }

    def _utility(self, loaded: LoadedModel) -> dict[str, float]:
        """Loss (nats a token), and share of answers right in every token: kept as trained, and on unseen phrasings."""
        kept, test = _scored(loaded, self._kept), _scored(loaded, self._test)
        return {
            "loss_kept": fmean(one.nll_sum / one.n for one in kept),
            "loss_test": fmean(one.nll_sum / one.n for one in test),
            "right_kept": fmean(float(one.correct.all()) for one in kept),
            "right_test": fmean(float(one.correct.all()) for one in test),
        }


def exposure_world(
    home: Path,
    people: int,
    facts: int,
    seed: int,
    *,
    recipe: BaseSettings | None = None,
    base: Path | None = None,
    report: Reporter | None = None,
) -> World:
    """A corpus of people with the canaries of a study in it, and a base that was trained on both.

    Args:
        home: Corpora, indexes and bases lie here.
        people: Of the corpus.
        facts: Of each forget set: so many canaries.
        seed: Of corpus and canaries; ``ExposureSettings.seed`` has to be the same.
        recipe: How the base is trained; default: the example base's.
        base: One that was trained on this very corpus, instead; a control needs its recipe (``base.json``).
        report: Progress of the base's training.
    """
    plain = home / f"corpus-{people}-{seed}"
    if not (plain / "card.json").exists():
        generate(plain, people=people, seed=seed)
    directory = home / f"corpus-{people}-{seed}-canaries-{facts}"
    add_canaries(plain, directory, make_canaries(facts, seed))
    return world_of(directory, home, recipe=recipe, base=base, report=report)


def _scored(loaded: LoadedModel, items: Sequence[Probe]) -> list[TokenScores]:
    return teacher_forced(loaded, [(item.question, item.answer) for item in items])


def _short(found: Exposure) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "state": found.state,
        "n": found.n,
        "share_above": found.share_above,
        "worst": found.worst,
    }
