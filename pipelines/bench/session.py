"""One open benchmark: bases and controls, erasures and attacks, each a unit that is worked out once."""

import gc
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.augment.template import TemplateAugmenter
from pipelines.bench import as_published, attacking, candidates
from pipelines.bench.bases import Kind, base_records, generic_records, make_base, without
from pipelines.bench.judging import judge, twins_of
from pipelines.bench.material import Material, bench_amounts, make_material
from pipelines.bench.people import People, find_people
from pipelines.bench.probes import check_questions, make_probes
from pipelines.bench.settings import BenchSettings
from pipelines.bench.sources import Dataset
from pipelines.bench.units import Told, Units
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.progress import Reporter
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from pipelines.verify.attacks.port import AttackResult, AttackSettings
from pipelines.verify.backends import Backends
from policies.errors import LetheError

_GUESS = {"base": 150.0, "row": 15.0, "trial": 45.0, "final": 90.0, "attack": 150.0, "ablation": 45.0}


@dataclass(frozen=True, slots=True)
class Models:
    """Base and control of one seed, loaded, with the figures of both on the whole set and on the slice."""

    kind: Kind
    seed: int
    base: LoadedModel
    control: LoadedModel
    rows: dict[str, dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Session:
    """What every unit of a run shares; ``open`` makes it."""

    settings: BenchSettings
    data: Dataset
    people: People
    material: Material
    slice: Material
    twins: Mapping[str, tuple[str, ...]]
    methods: tuple[str, ...]
    units: Units
    out: Path
    backends: Backends
    training: Reporter | None
    prepared: float

    @classmethod
    def open(
        cls,
        data: Dataset,
        settings: BenchSettings,
        out: Path,
        tell: Callable[[Told], None] | None,
        training: Reporter | None,
    ) -> "Session":
        """Find the people, make probes and rows, plan the units."""
        began = time.monotonic()
        people = find_people(data)
        if settings.people is not None:
            people = people.only(subject.ref for subject in people.subjects[: settings.people])
        if not people.records["forget_train"]:
            raise LetheError("bench.no_people", "Nothing of these people is erased.")
        methods = candidates.competitors(settings.methods)
        material = material_of(people, data, settings)
        sliced = material
        erased = [s.ref for s in people.subjects if people.of("forget_train", s.ref)]
        if settings.slice_people < len(erased):
            step = len(erased) / settings.slice_people
            chosen = [erased[int(n * step)] for n in range(settings.slice_people)]
            sliced = material_of(people.erasing(chosen), data, settings)
        return cls(
            settings=settings,
            data=data,
            people=people,
            material=material,
            slice=sliced,
            twins=twins_of(people, material.probes),
            methods=methods,
            units=Units(out, _planned(settings, methods), _GUESS, tell, device_type(settings.device)),
            out=out,
            backends=Backends(),
            training=training,
            prepared=time.monotonic() - began,
        )

    def base(self, kind: Kind, seed: int, *, control: bool = False) -> Path:
        """A base or its control, trained once."""
        name = f"{'control' if control else 'base'}-{kind}-{seed}"
        where = self.out / "bases" / name
        recipe = self.settings.recipe
        rows = base_records(self.people, kind, recipe, seed)
        check_questions(self.material.probes, [row.question or "" for row in rows], "base")
        gone = {r.record_id for part in ("forget_train", "forget_val") for r in self.people.records[part]}
        learnt = without(rows, gone) if control else rows
        inputs = {
            "recipe": recipe.to_json(),
            "seed": seed,
            "rows": self.units.digest([[r.record_id, r.question, r.answer] for r in learnt]),
            "vocabulary": self.units.digest([r.text for r in rows]),
        }

        def work() -> dict[str, Any]:
            shutil.rmtree(where, ignore_errors=True)
            return make_base(
                learnt,
                rows,
                kind,
                recipe,
                seed=seed,
                out=where,
                device=self.settings.device,
                report=self.training,
            )

        made = self.units.run("base", name, inputs, work, still_there=lambda _: (where / "config.json").is_file())
        if "failed" in made:
            raise LetheError(made["failed"], "A base of the benchmark could not be made.")
        return where

    @contextmanager
    def models(self, kind: Kind, seed: int) -> Iterator["Models"]:
        """Base and control of a seed, loaded, with the figures of both."""
        paths = [self.base(kind, seed, control=control) for control in (False, True)]
        base, control = (load_model(path, device=self.settings.device) for path in paths)
        yield Models(kind, seed, base, control, self._rows(kind, seed, base, control))
        del base, control
        gc.collect()

    def _rows(self, kind: Kind, seed: int, base: LoadedModel, control: LoadedModel) -> dict[str, dict[str, Any]]:
        """The rows of base and control on the whole set and on the slice."""
        found: dict[str, dict[str, Any]] = {}
        for place, material in (("whole", self.material), ("slice", self.slice)):
            if place == "slice" and (self.slice is self.material or (kind, seed) != self.searched()):
                found["slice"] = found["whole"]
                continue
            inputs = {"material": self.fingerprint(material), "base": base.digest, "control": control.digest}

            def work(material: Material = material) -> dict[str, Any]:
                made = judge(base, material.probes, backends=self.backends, control=control, twins=self.twins)
                theirs = judge(control, material.probes, backends=self.backends, twins=self.twins, base=made.figures)
                return {"base": made.to_json(), "control": theirs.to_json()}

            found[place] = self.units.run("row", f"rows-{kind}-{seed}-{place}", inputs, work)
        return found

    def fingerprint(self, material: Material) -> str:
        """A keyed digest of everything that a model learns from or is asked."""
        return self.units.digest(
            {
                "rows": [[row.row_id, row.kind.value, row.prompt, row.answer] for row in material.rows],
                "kept": [[row.row_id, row.prompt, row.answer] for row in material.kept],
                "probes": [[probe.probe_id, probe.question, probe.answer] for probe in material.probes.probes],
            }
        )

    def searched(self) -> tuple[Kind, int]:
        """Base and seed that the search and the ablations run on."""
        return self.settings.kinds[0], self.settings.seeds[0]

    def erased(
        self,
        kind: str,
        unit: str,
        name: str,
        settings: UnlearnSettings,
        material: Material,
        models: "Models",
        place: str,
    ) -> dict[str, Any]:
        """One erasure, judged: figures, subjects, steps, seconds; or ``failed`` with a code."""
        where = self.out / "adapters" / unit
        inputs = {
            "base": models.base.digest,
            "control": models.control.digest,
            "method": name,
            "settings": asdict(settings),
            "material": self.fingerprint(material),
        }

        def work() -> dict[str, Any]:
            shutil.rmtree(where, ignore_errors=True)
            trained = self._train(name, settings, material, models.base, where)
            with with_adapter(models.base, where / "adapter") as adapted:
                judged = judge(
                    adapted,
                    material.probes,
                    backends=self.backends,
                    control=models.control,
                    twins=self.twins,
                    base=models.rows[place]["base"]["figures"],
                )
            if kind != "final":
                shutil.rmtree(where, ignore_errors=True)
            return {
                **judged.to_json(),
                "judge_seconds": round(judged.seconds, 1),
                "steps": trained["steps"],
                "seconds": trained["seconds"],
                "tokens_per_second": trained["tokens_per_second"],
            }

        there = where / "adapter" / "adapter_model.safetensors"
        return self.units.run(kind, unit, inputs, work, still_there=lambda _: kind != "final" or there.is_file())

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

    def attack(
        self, name: str, models: "Models", loaded: LoadedModel, adapter: Path, control: Sequence[AttackResult]
    ) -> list[AttackResult]:
        """Every attack on one model as one unit; a control meets those that its scores are taken off for."""
        of_control = name == "control"
        only = self.settings.attacks or (attacking.ON_CONTROL if of_control else ())
        if of_control:
            only = tuple(one for one in only if one in attacking.ON_CONTROL)
        unit = f"attack-{models.kind}-{models.seed}-{name}"
        budgets = AttackSettings(samples=self.settings.samples, probes_per_fact=1)
        weights = adapter / ("config.json" if of_control else "adapter_model.safetensors")
        inputs = {
            "adapter": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "base": loaded.digest,
            "attacks": list(only),
            "settings": budgets.model_dump(mode="json"),
            "per_subject": self.settings.attack_per_subject,
            "material": self.fingerprint(self.material),
            "control": [models.control.digest, *(one.name for one in control)],
        }

        def work() -> dict[str, Any]:
            found = attacking.attack_model(
                loaded,
                adapter,
                self.material,
                settings=budgets,
                backends=self.backends,
                per_subject=self.settings.attack_per_subject,
                control=control,
                only=only,
                out_dir=self.out / "attacks" / unit,
            )
            return {"results": [one.model_dump(mode="json") for one in found]}

        if of_control and not only:
            return []
        return attacking.from_json(self.units.run("attack", unit, inputs, work).get("results", ()))


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


def _planned(settings: BenchSettings, methods: tuple[str, ...]) -> Counter[str]:
    runs = len(settings.seeds) + len(settings.kinds) - 1
    attacked = min(settings.attack_seeds, len(settings.seeds))
    planned = Counter({"base": 2 * runs, "row": runs, "final": runs * len(methods)})
    planned["attack"] = attacked * (len(methods) + 1)
    planned["trial"] = len(methods) * len(candidates.trials(settings.trials)) if settings.trials else 0
    planned["ablation"] = len(candidates.ABLATIONS) + 1 if settings.ablations else 0
    return planned
