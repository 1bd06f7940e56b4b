"""What the runner does, one function an operation: augment, check, train, verify, release.

This module runs in the child only. Every operation can be repeated: it reads what the ones before left (sealed in the
store, checkpoints below runs/<run>), and writes under names that do not change.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session as DbSession

from pipelines.augment.augmented import AugmentedSet, merge
from pipelines.augment.leak import LeakCheck
from pipelines.augment.port import Augmenter
from pipelines.augment.replay import REPLAY_KEPT
from pipelines.augment.settings import AugmentSettings
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.load import load_probes
from pipelines.model import LoadedModel
from pipelines.rows import Probe, RowKind, Secret
from pipelines.spread.choose import spread_over
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError
from services import keys
from services.corpus_index import index_path
from services.installation import open_installation
from services.sealing import ring_of
from services.serving.base import base_directory
from services.settings import Settings
from services.store.releases import get_release
from services.store.runs import get_run, tickets_of
from services.store.steps import steps_of
from services.store.tables import Release, Run, RunStep
from services.unlearning import material, stopping, verifying
from services.unlearning.protocol import Operation, Session
from services.unlearning.replaying import replayed

if TYPE_CHECKING:
    from pipelines.adapter import Card
    from pipelines.unlearn.settings import UnlearnSettings
    from pipelines.verdict import Gate

Result = dict[str, Any]

_ONE_THREAD = 5_000_000  # weights: so small a model trains slower on two threads than on one (docs/unlearning.md)
_RESEED = 1000  # between the tries of one run; the ticket's next runs count up by one (``planning.plan``)


def operations(settings: Settings) -> Mapping[str, Operation]:
    """The runner's operations by name."""
    bench = Bench(settings)
    return {
        "augment": bench.augment,
        "check": bench.check,
        "train": bench.train,
        "verify": bench.verify,
        "release": bench.release,
    }


class Bench:
    """The runner's state: the base is loaded once, the material of a run is opened when it is needed.

    Args:
        settings: Of the installation.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.installation = open_installation(settings)
        self.store = self.installation.open_store()

    @cached_property
    def base(self) -> LoadedModel:
        """The base model, frozen and shared by every operation."""
        import torch

        from pipelines.leader import led
        from pipelines.model import load_model

        dtype = None if self.settings.base.dtype == "auto" else getattr(torch, self.settings.base.dtype)
        loaded = load_model(base_directory(self.settings), device=self.settings.unlearning.device or None, dtype=dtype)
        if loaded.device.type == "cpu" and sum(weight.numel() for weight in loaded.model.parameters()) < _ONE_THREAD:
            torch.set_num_threads(1)
        return led(loaded, self.settings.unlearning.processes)

    def augmenter(self, run_id: str) -> Augmenter:
        """Who writes the vague answers: templates, or the organisation's own model."""
        from pipelines.augment.template import TemplateAugmenter

        given = self.settings.augmenter
        if given.kind == "template":
            return TemplateAugmenter()
        from pipelines.augment.llm import LlmAugmenter
        from pipelines.augment.llm_client import LlmSettings

        serving = self.settings.serving
        return LlmAugmenter(
            LlmSettings(
                url=given.url,
                model=given.model,
                cache_dir=self.run_directory(run_id) / "llm",
                cache_key=self.digest_key,
                targets=tuple((f"{serving.url}/v1", name) for name in serving.model_names),
                api_key=given.api_key.get_secret_value() or None,
                allow_external=given.allow_external,
                timeout_s=given.timeout_s,
            )
        )

    @property
    def digest_key(self) -> bytes:
        """Key of digests over personal data."""
        with self.store.read() as session:
            return ring_of(session).digest

    @property
    def _cluster(self) -> str:
        """Where rows are made; a model's answers come over the network anyway, and its keys stay here."""
        return self.settings.ray.address if self.settings.augmenter.kind == "template" else ""

    def augment_settings(self, method: str) -> AugmentSettings:
        """Amounts of rows; raw answers and refusals only for a method that learns from them."""
        from pipelines.unlearn.registry import row_kinds

        kinds = row_kinds(method)
        return AugmentSettings(negative=RowKind.NEGATIVE in kinds, refusals=RowKind.REFUSAL in kinds)

    def unlearn_settings(self, run: Run) -> "UnlearnSettings":
        """The trainer's settings: its defaults, the installation's overrides, the run's method and seed.

        Raises:
            LetheError: ``unlearn.bad_settings``.
        """
        from pipelines.unlearn.settings import UnlearnSettings

        given: dict[str, Any] = {**self.settings.unlearning.overrides, "method": run.method, "seed": run.seed}
        unknown = sorted(set(given) - {field.name for field in fields(UnlearnSettings)})
        if unknown:
            raise LetheError("unlearn.bad_settings", "The settings of the run cannot be used.", tuple(unknown))
        return UnlearnSettings(**given)

    def run_directory(self, run_id: str) -> Path:
        """Checkpoints and the unsealed adapter of a run; deleted when the run is closed."""
        path = self.installation.path("runs", run_id)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def augment(self, session: Session, args: Mapping[str, Any]) -> Result:
        """Make and seal rows and probes of every ticket of the run."""
        from pipelines.augment.augment import augment
        from pipelines.augment.probes import excluded_questions

        run_id = str(args["run_id"])
        corpus_probes = load_probes(Path(self.settings.corpus.path))
        with SubjectIndex(index_path(self.installation)) as index, self.store.read() as reading:
            run = get_run(reading, run_id)
            subjects = material.load_subjects(reading, run_id, index)
            earlier = material.load_earlier(reading)
            claimed = {one.ticket_id: material.claim_probes(reading, one) for one in subjects}
        secrets = material.secrets_of(subjects, earlier)
        gone = frozenset(probe.fact for person in earlier for probe in person.probes)
        augmenter = self.augmenter(run_id)
        probes: list[tuple[Probe, ...]] = []
        orders = []
        for subject in subjects:
            others = gone.union(*(s.forget_facts for s in subjects if s is not subject))
            made = material.make_probes(subject, corpus_probes, secrets, others, run.seed)
            probes.append((*made, *claimed[subject.ticket_id]))
            orders.append(
                functools.partial(
                    augment,
                    subject.forget,
                    subject=subject.subject_ref,
                    names=subject.names,
                    neighbours=subject.neighbours,
                    retain=(*subject.own_public, *subject.retain),
                    generic=subject.generic,
                    probes_excluded=excluded_questions((*probes[-1], *corpus_probes)),
                    augmenter=augmenter,
                    settings=self.augment_settings(run.method),
                    seed=run.seed,
                    secrets=secrets,
                )
            )
        sets = []
        with spread_over(self._cluster) as spread:
            session.progress({"done": 0, "total": len(subjects)})
            for subject, own, augmented in zip(subjects, probes, spread.over(orders, operator.call), strict=True):
                with self.store.write() as writing:
                    material.save_subject(writing, subject, augmented, own, secrets, ground=material.GROUND)
                sets.append(augmented)
                session.progress({"done": len(sets), "total": len(subjects)})
        whole = merge(sets)
        return {
            **_set_digests(subjects, self.digest_key),
            "digest": whole.digest(self.digest_key),
            "rows": len(whole.rows),
            "stats": whole.stats(),
            "uncovered": list(whole.uncovered),
            "unwatched": list(whole.unwatched),
            "rounds": whole.rounds,
            "dropped": whole.dropped,
            "generic_ratio": whole.generic_ratio,
            "negative_rows": sum(row.kind is RowKind.NEGATIVE for row in whole.rows),
            "augmenter": whole.augmenter,
            "sent_outside": self.settings.augmenter.kind == "llm" and self.settings.augmenter.allow_external,
            "corpus_digest": index.corpus_digest,
            "probes": sum(map(len, probes)),
            "claims": sum(map(len, claimed.values())),  # things that people saw the model say, among the probes
            "earlier_subjects": len(earlier),
        }

    def check(self, session: Session, args: Mapping[str, Any]) -> Result:
        """Hold the augmented set against the data checks."""
        from pipelines.checks.suite import check

        whole, secrets, names = self.rows_of(str(args["run_id"]))
        session.progress({"done": 0, "total": 1})
        return check(whole, secrets, names).as_json()

    def train(self, session: Session, args: Mapping[str, Any]) -> Result:
        """Train an adapter from the last release, or from the base; goes on from its last checkpoint.

        ``again`` is how often a training from there was rejected in this run: each has a seed of its own.
        """
        from pipelines.unlearn.trainer import unlearn

        run_id, start, again = str(args["run_id"]), str(args["start"]), int(args["again"])
        directory = f"{start}-{again}" if again else start
        whole, secrets, names = self.rows_of(run_id)
        with self.store.read() as reading:
            run = get_run(reading, run_id)
            earlier = material.load_earlier(reading)
            parent = get_release(reading, run.parent_digest) if run.parent_digest else None
            held = verifying.hold(_last_reached(reading, parent))
        replay = replayed(
            earlier,
            LeakCheck(secrets),
            new=whole.rows,
            names=names,
            held=held,
            from_base=start == "base",
            seed=run.seed,
        )
        settings = self.unlearn_settings(run)
        settings = replace(settings, seed=settings.seed + again * _RESEED)
        result = unlearn(
            self.base,
            (*whole.rows, *replay.rows),
            secrets,
            settings,
            start_from=Path(parent.path) if start == "release" and parent is not None else None,
            out_dir=self.run_directory(run_id) / directory,
            progress=lambda step: session.progress(asdict(step)),
            should_cancel=session.should_cancel,
            exposure=stopping.exposure_of(self, session, run_id, settings),
        )
        found = result.to_json()
        return {
            **{name: value for name, value in found.items() if name not in {"adapter", "curve"}},
            "replay_rows": replay.replay,
            "replay_left_out": replay.left_out,
            "start": "release" if result.warm else "base",
            "directory": directory,
            "seed": settings.seed,
            "base_digest": self.base.digest,
            "parent": run.parent_digest,
            "dtype": str(self.base.dtype).removeprefix("torch."),
            "device": str(self.base.device),
            "code_version": version("lethe"),
            "container_digest": self.settings.deployment.image_digest or None,
            "curve": _curve(result.curve),
        }

    def verify(self, session: Session, args: Mapping[str, Any]) -> Result:
        """Measure the adapter on everyone's probes, attack it, and decide."""
        return verifying.verify(self, session, str(args["run_id"]), str(args["directory"]))

    def release(self, session: Session, args: Mapping[str, Any]) -> Result:
        """Seal and sign the adapter, and seal what later trainings replay."""
        from pipelines.adapter import SignedVerdict, base_identity, content_digest, seal_release
        from pipelines.canaries import record_canaries
        from pipelines.model import with_adapter
        from pipelines.verdict import Verdict

        run_id = str(args["run_id"])
        with self.store.read() as reading:
            run = get_run(reading, run_id)
            tickets = tickets_of(reading, run_id)
            rows = steps_of(reading, run_id)
            steps = {name: step.result or {} for name, step in rows.items()}
            parent = get_release(reading, run.parent_digest) if run.parent_digest else None
            earlier = material.load_earlier(reading)
        decided, made = steps["verify"], steps["augment"]
        trained = decided["training"]
        found = Verdict.model_validate(decided["verdict"], strict=False)
        again = carried_again(earlier, found.gates)
        watermark = tuple(sorted({*(t.ticket_id for t in tickets), *(parent.watermark if parent else ()), *again}))
        identity = base_identity(Path(self.base.path), dtype=trained["dtype"])
        adapter = self.run_directory(run_id) / decided["directory"] / "adapter"
        with with_adapter(self.base, adapter) as loaded:
            canaries = record_canaries(loaded)
        adapter_key = keys.load_private(self.settings, "adapter")
        verdict_key = keys.load_private(self.settings, "verdict")
        card = _card(
            run,
            trained,
            made,
            watermark=watermark,
            canaries=canaries,
            created_at=_sealed_at(self.settings, adapter_key.id, rows["release"]),
            **asdict(identity),
        )
        pack = {ticket.ticket_id: str(ticket.pack_digest) for ticket in tickets}
        signed = SignedVerdict.of(found, pack=pack, decided_at=datetime.fromisoformat(decided["decided_at"]))
        path = seal_release(
            adapter,
            self.installation.path("releases"),
            card=card,
            verdict=signed,
            adapter_key=adapter_key,
            verdict_key=verdict_key,
        )
        with self.store.write() as writing:
            for ticket in tickets:
                ref = ticket.subject_ref
                reached = decided["reached"].get(ref)
                material.save_replay(
                    writing, ticket.ticket_id, ref, REPLAY_KEPT, seed=run.seed, ground=material.GROUND, reached=reached
                )
        return {
            "digest": content_digest(path),
            "path": str(path),
            "base_digest": self.base.digest,
            "parent": run.parent_digest,
            "watermark": list(watermark),
            "signer": adapter_key.id,
            "verdict_signer": verdict_key.id,
            "verdict": {"outcome": found.outcome, "digest": found.digest},
        }

    def rows_of(self, run_id: str) -> tuple[AugmentedSet, tuple[Secret, ...], dict[str, tuple[str, ...]]]:
        """The run's rows, the secrets that none of them may hold, and every subject's names."""
        with SubjectIndex(index_path(self.installation)) as index, self.store.read() as reading:
            subjects = material.load_subjects(reading, run_id, index)
            earlier = material.load_earlier(reading)
            sets = [material.load_rows(reading, subject.ticket_id)[0] for subject in subjects]
        names = {subject.subject_ref: subject.names for subject in subjects}
        return merge(sets), material.secrets_of(subjects, earlier), names


def _card(
    run: Run,
    trained: Mapping[str, Any],
    made: Mapping[str, Any],
    *,
    watermark: tuple[str, ...],
    created_at: str,
    **identity: Any,
) -> "Card":
    """What is signed with the adapter: whose base, which data and training; ``identity`` holds the canaries too."""
    from pipelines.adapter import Card, watermark_digest

    return Card(
        kind="unlearning",
        **identity,
        parent=run.parent_digest,
        watermark=watermark,
        watermark_digest=watermark_digest(watermark),
        data_digests={
            "augmented": made["digest"],
            "forget": made["forget_digest"],
            "corpus": made["corpus_digest"],
        },
        method=run.method,
        settings=trained["settings"],
        seed=trained["seed"],
        versions=trained["versions"],
        code_version=trained["code_version"],
        created_at=created_at,
    )


def _sealed_at(settings: Settings, key_id: str, step: RunStep) -> str:
    """The step's first start: sealed again after a crash it is the same content, and so the same release.

    A key that was rotated in between may sign nothing from before its own time.
    """
    from pipelines.adapter import Trust

    made = Trust.from_file(keys.trust_path(settings)).find(key_id, "adapter").created_at
    return max(step.started_at, made).isoformat()


def carried_again(earlier: Sequence[material.Earlier], gates: "Sequence[Gate]") -> list[str]:
    """Tickets of people forgotten before who were trained on and measured again, and still hold.

    After a rollback the parent may lack some of them: this is how a later release covers them again.
    """
    held = {gate.subject for gate in gates if (gate.name, gate.state) == ("earlier_kfr", "pass")}
    return [person.ticket_id for person in earlier if person.subject_ref in held]


def _last_reached(session: DbSession, parent: Release | None) -> dict[str, dict[str, float | None]]:
    """What everybody forgotten so far reached when the release that the run starts from was verified."""
    if parent is None or parent.run_id is None:
        return {}
    step = steps_of(session, parent.run_id).get("verify")
    found: dict[str, dict[str, float | None]] = (step.result or {}).get("reached", {}) if step else {}
    return found


def _curve(reports: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The training curve by column: steps, and the values of every loss term at them."""
    names = [name for name in dict.fromkeys(name for report in reports for name in report) if name != "step"]
    return {
        "steps": [int(report["step"]) for report in reports],
        "terms": {name: [report.get(name) for report in reports] for name in names},
    }


def _set_digests(subjects: Sequence[material.Subject], key: bytes) -> dict[str, str]:
    """Keyed digests of what went in, over all tickets of the run."""
    parts = {"forget": "forget", "retain": "retain", "neighbour": "neighbours", "evaluation": "hold_out"}
    found = {}
    for name, field in parts.items():
        ids = sorted({record.record_id for subject in subjects for record in getattr(subject, field)})
        found[f"{name}_digest"] = keyed_digest(key, canonical_json([name, ids]))
    return found
