"""One open benchmark: bases and controls, erasures and attacks, each a unit that is worked out once."""

import gc
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipelines.augment.template import TemplateAugmenter
from pipelines.bench import as_published, attacking, candidates, figure
from pipelines.bench.bases import Kind, base_records, generic_records, make_base, without
from pipelines.bench.judging import Judged, judge, twins_of, utility_of
from pipelines.bench.material import Material, bench_amounts, make_material
from pipelines.bench.people import People, find_people
from pipelines.bench.plan import ablations
from pipelines.bench.probes import Probes, apart, check_questions, make_probes
from pipelines.bench.settings import BenchSettings
from pipelines.bench.sources import Dataset
from pipelines.bench.strength import at_equal_utility
from pipelines.bench.tasks import CONTROL, Place, Task
from pipelines.bench.units import Finished, Units
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from pipelines.verify.attacks.port import AttackSettings
from pipelines.verify.backends import Backends
from policies.errors import LetheError


@dataclass(frozen=True, slots=True)
class Models:
    """Base and control of one seed, loaded."""

    kind: Kind
    seed: int
    base: LoadedModel
    control: LoadedModel


@dataclass(slots=True, kw_only=True)
class Session:
    """What every task of a run shares; ``open`` makes it.

    Attributes:
        material: Of the final runs.
        slice: Of trials and ablations.
        judged: The probes that figures are of, by place. Where a search chooses settings the two have none in common.
    """

    settings: BenchSettings
    data: Dataset
    people: People
    material: Material
    slice: Material
    judged: Mapping[Place, Probes]
    twins: Mapping[str, tuple[str, ...]]
    methods: tuple[str, ...]
    units: Units
    out: Path
    prepared: float
    backends: Backends = field(default_factory=Backends)
    _models: Models | None = None  # of the last task: the next one mostly wants the same

    @classmethod
    def open(cls, data: Dataset, settings: BenchSettings, out: Path) -> "Session":
        """Find the people, make probes and rows."""
        began = time.monotonic()
        people = find_people(data)
        if settings.people is not None:
            people = people.only(subject.ref for subject in people.subjects[: settings.people])
        if not people.records["forget_train"]:
            raise LetheError("bench.no_people", "Nothing of these people is erased.")
        methods = candidates.competitors(settings.methods)
        material = material_of(people, data, settings)
        sliced = material
        judged: dict[Place, Probes] = {"whole": material.probes, "slice": material.probes}
        erased = [s.ref for s in people.subjects if people.of("forget_train", s.ref)]
        if settings.slice_people < len(erased):
            step = len(erased) / settings.slice_people
            chosen = [erased[int(n * step)] for n in range(settings.slice_people)]
            sliced = material_of(people.erasing(chosen), data, settings)
            searched, others = apart(material.probes, chosen)
            judged = {"whole": others if settings.trials else material.probes, "slice": searched}
        return cls(
            settings=settings,
            data=data,
            people=people,
            material=material,
            slice=sliced,
            judged=judged,
            twins=twins_of(people, material.probes),
            methods=methods,
            units=Units(out, device_type(settings.device)),
            out=out,
            prepared=time.monotonic() - began,
        )

    @property
    def device(self) -> str:
        """Where tasks compute."""
        return self.units.device

    def do(self, task: Task) -> Finished:
        """Work out one task, or read what it came to; what it needs is there."""
        if task.kind == "base":
            return self._base(task)
        if task.kind == "rows":
            return self._rows(task.base, task.seed, task.place)
        if task.kind == "attack":
            return self._attack(task)
        return self._erase(task)

    def _base(self, task: Task) -> Finished:
        """A base or its control."""
        where, recipe = self._directory(task.unit), self.settings.recipe
        rows = base_records(self.people, task.base, recipe, task.seed)
        check_questions(self.material.probes, [row.question or "" for row in rows], "base")
        gone = {r.record_id for part in ("forget_train", "forget_val") for r in self.people.records[part]}
        learnt = without(rows, gone) if task.method == CONTROL else rows
        inputs = {
            "recipe": recipe.to_json(),
            "seed": task.seed,
            "rows": self.units.digest([[r.record_id, r.question, r.answer] for r in learnt]),
            "vocabulary": self.units.digest([r.text for r in rows]),
        }

        def work() -> dict[str, Any]:
            shutil.rmtree(where, ignore_errors=True)
            return make_base(learnt, rows, task.base, recipe, seed=task.seed, out=where, device=self.settings.device)

        return self.units.run(task.unit, inputs, work, whole=lambda _: (where / "config.json").is_file())

    def _directory(self, unit: str) -> Path:
        return self.out / "bases" / unit

    def _loaded(self, kind: Kind, seed: int) -> Models:
        """Base and control of a seed."""
        if self._models is None or (self._models.kind, self._models.seed) != (kind, seed):
            self._models = None
            gc.collect()
            base, control = (
                load_model(self._directory(f"{who}-{kind}-{seed}"), device=self.settings.device)
                for who in ("base", CONTROL)
            )
            self._models = Models(kind, seed, base, control)
        return self._models

    def _rows(self, kind: Kind, seed: int, place: Place) -> Finished:
        """The figures of base and control."""
        models, material = self._loaded(kind, seed), self._asked(place)
        base, control = models.base, models.control
        asked = self.judged[place]
        inputs = {
            "material": self.fingerprint(material),
            "asked": [probe.probe_id for probe in asked.probes],
            "base": base.digest,
            "control": control.digest,
        }

        def work() -> dict[str, Any]:
            made = judge(base, asked, backends=self.backends, control=control, twins=self.twins)
            theirs = judge(control, asked, backends=self.backends, twins=self.twins, base=made.figures)
            return {"base": made.to_json(), "control": theirs.to_json()}

        return self.units.run(f"rows-{kind}-{seed}-{place}", inputs, work)

    def _asked(self, place: Place) -> Material:
        return self.slice if place == "slice" else self.material

    def fingerprint(self, material: Material) -> str:
        """A keyed digest of everything that a model learns from or is asked."""
        return self.units.digest(
            {
                "rows": [[row.row_id, row.kind.value, row.prompt, row.answer] for row in material.rows],
                "kept": [[row.row_id, row.prompt, row.answer] for row in material.kept],
                "probes": [[probe.probe_id, probe.question, probe.answer] for probe in material.probes.probes],
            }
        )

    def _erase(self, task: Task) -> Finished:
        """One erasure, judged: figures, subjects, steps, seconds."""
        material = self._asked(task.place)
        changes: dict[str, Any] = {"rate": task.rate, "passes": task.passes}
        if task.kind == "ablation":
            changes = dict(ablations()[task.number][2])
            questions = changes.pop("neighbour_questions", None)
            if questions is not None:
                material = material_of(material.people, self.data, self.settings, questions)
            if changes.pop("kept", None) == "augmented":
                material = material.keeping_augmented()
        settings = candidates.settings_of(task.method, task.seed, **changes)
        models = self._loaded(task.base, task.seed)
        where, kept = self.adapter(task.unit), task.kind == "final"
        inputs = {
            "base": models.base.digest,
            "control": models.control.digest,
            "method": task.method,
            "settings": asdict(settings),
            "material": self.fingerprint(material),
            "asked": [probe.probe_id for probe in self.judged[task.place].probes],
        }

        def work() -> dict[str, Any]:
            base = self._rows(task.base, task.seed, task.place).result["base"]["figures"]
            shutil.rmtree(where.parent, ignore_errors=True)
            trained = self._train(task.method, settings, material, models.base, where.parent)
            found = self._at_equal_utility(models, where, task.place, base)
            if not kept:
                shutil.rmtree(where.parent, ignore_errors=True)
            return {
                **found.to_json(),
                "judge_seconds": round(found.seconds, 1),
                "steps": trained["steps"],
                "seconds": trained["seconds"],
                "tokens_per_second": trained["tokens_per_second"],
            }

        def whole(found: dict[str, Any]) -> bool:
            return not kept or "failed" in found or (where / "adapter_model.safetensors").is_file()

        return self.units.run(task.unit, inputs, work, whole=whole)

    def _at_equal_utility(
        self, models: Models, adapter: Path, place: Place, base: Mapping[str, float | None]
    ) -> Judged:
        """A trained adapter, weakened in its place as far as its utility asks for, and judged."""
        probes, backends = self.judged[place], self.backends

        def judged(at: Path) -> Judged:
            with with_adapter(models.base, at) as adapted:
                return judge(adapted, probes, backends=backends, control=models.control, twins=self.twins, base=base)

        def keeps(at: Path) -> bool:
            with with_adapter(models.base, at) as adapted:
                return figure.keeps(utility_of(adapted, probes, backends=backends, base=base))

        return at_equal_utility(adapter, judged, keeps)

    def adapter(self, unit: str) -> Path:
        """Where a final run's adapter lies."""
        return self.out / "adapters" / unit / "adapter"

    def _train(
        self, name: str, settings: UnlearnSettings, material: Material, base: LoadedModel, where: Path
    ) -> dict[str, Any]:
        if name == as_published.NAME:
            erased = material.people.records["forget_train"]
            names = {subject.ref: subject.name for subject in material.people.subjects}
            about = {r.record_id: names[material.people.about[r.record_id]] for r in erased}
            rows = as_published.published_rows(erased, about, TemplateAugmenter(), settings.seed)
            kept = material.people.records["retain_train"]
            return as_published.train_as_published(base, rows, generic_records(), kept, settings, out_dir=where)
        trained = unlearn(base, material.rows_for(name), material.secrets, settings, out_dir=where)
        return {
            "steps": trained.steps,
            "seconds": trained.seconds,
            "tokens_per_second": trained.tokens_per_second,
        }

    def _attack(self, task: Task) -> Finished:
        """Every attack on one model; a control meets those that its scores are taken off for."""
        of_control = task.method == CONTROL
        models = self._loaded(task.base, task.seed)
        if of_control:
            adapter = self._directory(f"{CONTROL}-{task.base}-{task.seed}")
            return self._attacked(task.unit, models.control, adapter, attacking.on_control(self.settings.attacks))
        adapter = self.adapter(f"final-{task.base}-{task.seed}-{task.method}")
        with with_adapter(models.base, adapter) as adapted:
            return self._attacked(task.unit, adapted, adapter, self.settings.attacks)

    def _attacked(self, unit: str, loaded: LoadedModel, adapter: Path, only: Sequence[str]) -> Finished:
        budgets = AttackSettings(samples=self.settings.samples, probes_per_fact=1)
        weights = adapter / "adapter_model.safetensors"
        inputs = {
            "adapter": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
            "base": loaded.digest,
            "attacks": list(only),
            "settings": budgets.model_dump(mode="json"),
            "per_subject": self.settings.attack_per_subject,
            "material": self.fingerprint(self.material),
        }

        def work() -> dict[str, Any]:
            found = attacking.attack_model(
                loaded,
                adapter,
                self.material,
                settings=budgets,
                backends=self.backends,
                per_subject=self.settings.attack_per_subject,
                only=only,
                out_dir=self.out / "attacks" / unit,
            )
            return {"results": [one.model_dump(mode="json") for one in found]}

        return self.units.run(unit, inputs, work, whole=attacking.decided)


def device_type(device: str | None) -> str:
    """Where a run computes: the GPU where there is one and nothing else was said."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def material_of(people: People, data: Dataset, settings: BenchSettings, questions: int | None = None) -> Material:
    """Probes and rows of some people; ``questions`` overrules the neighbour questions of the settings."""
    probes = make_probes(
        people,
        forget_p=settings.forget_p,
        retain_p=settings.retain_p,
        seed=0,
        unseen_val=data.unseen_val,
        val_limit=settings.val_limit,
    )
    asked = settings.neighbour_questions if questions is None else questions
    return make_material(people, probes, amounts=bench_amounts(asked), seed=0)
