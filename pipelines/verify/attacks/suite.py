"""All attacks of some tiers, one after another: what is finished stays finished, and nothing passes unseen.

The files and the result hold ids and figures only.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.adapter.content import CONFIG, WEIGHTS, file_digest
from pipelines.directory_key import directory_key
from pipelines.rows import Probe
from pipelines.source_digest import source_digest
from pipelines.verify.attacks import registry, scoring
from pipelines.verify.attacks.asking import ask, stop_if_cancelled
from pipelines.verify.attacks.port import Attack, AttackContext, AttackResult, AttackSettings, Tier
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError

CANCELLED = "unlearn.cancelled"


class AttackSuite(BaseModel):
    """What every attack came to.

    Attributes:
        results: In the order in which they ran, the cheapest first.
        tiers: Which were chosen.
        seconds: Wall time of all results, those of an earlier attempt included.
        not_run: Why, by name, for every attack that did not run: not chosen, or nothing to run it on.
        left_out: Attacks of the chosen tiers that were not asked for: a tier with any is not a whole one.
        settings: Budgets.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["lethe.attacks/1"] = "lethe.attacks/1"
    results: tuple[AttackResult, ...] = ()
    tiers: tuple[Tier, ...] = ()
    seconds: float = 0.0
    not_run: dict[str, str] = {}
    left_out: tuple[str, ...] = ()
    settings: AttackSettings = AttackSettings()

    def named(self, name: str) -> AttackResult | None:
        """One result by its name, variant included."""
        return next((result for result in self.results if result.name == name), None)


class _Finished(BaseModel):
    """One attack's file."""

    model_config = ConfigDict(frozen=True)

    format: Literal["lethe.attack/1"] = "lethe.attack/1"
    attack: str
    key: str
    results: tuple[AttackResult, ...]


def run_attacks(
    context: AttackContext,
    *,
    tiers: frozenset[Tier],
    only: Sequence[str] = (),
    out_dir: Path | None = None,
    key: str = "",
) -> AttackSuite:
    """Run the attacks of some tiers, or go on where an earlier attempt stopped.

    KFR without an attack is measured first where the context does not have it. An attack that raises a ``LetheError``
    becomes ``undecided`` with the error's code and is tried again by the next attempt.

    Args:
        context: What is attacked.
        tiers: Which tiers.
        only: Names of attacks; all where it is empty.
        out_dir: Where the result of each finished attack is written at once, and read back from.
        key: Whatever else a result depends on (digest of the corpus); adapter, settings, probes, rows and code are in
            it already.

    Raises:
        LetheError: ``verify.unknown_attack``; ``unlearn.cancelled``.
    """
    for name in only:
        registry.attack_named(name)
    chosen = [one for one in registry.attacks(tiers) if not only or one.name in only]
    left_out = {
        one.name: f"tier {one.tier} was not chosen" if one.tier not in tiers else "it was not among those asked for"
        for one in registry.attacks()
        if one.name not in {other.name for other in chosen}
    }
    digest = ""
    if out_dir:
        out_dir.mkdir(parents=True, exist_ok=True)
        digest = _key(context, key, directory_key(out_dir / ".key"))
    found: list[AttackResult] = []
    for number, attack in enumerate(chosen):
        stop_if_cancelled(context)
        kept = _kept(out_dir, attack.name, digest)
        if kept is None:
            context = _with_before(context)
            kept, whole = _run(attack, context)
            if out_dir and whole:
                _write(_file(out_dir, attack.name), _Finished(attack=attack.name, key=digest, results=kept))
        found.extend(kept)
        if context.progress:
            context.progress("attacks", number + 1, len(chosen))
    return AttackSuite(
        results=tuple(found),
        tiers=tuple(sorted(tiers)),
        seconds=sum(result.seconds for result in found),
        left_out=tuple(one.name for one in registry.attacks(tiers) if one.name in left_out),
        not_run=left_out | {one.name: one.note or "" for one in found if one.state == "not_run"},
        settings=context.settings,
    )


def _run(attack: Attack, context: AttackContext) -> tuple[tuple[AttackResult, ...], bool]:
    """The attack's results, and whether it came to its end."""
    made: list[AttackResult] = []
    began = time.monotonic()
    try:
        for result in attack.run(context):
            now = time.monotonic()
            made.append(result if result.seconds else result.model_copy(update={"seconds": now - began}))
            began = now
    except LetheError as error:
        if error.code == CANCELLED:
            raise
        failed = AttackResult(
            name=attack.name,
            tier=attack.tier,
            measure=made[-1].measure if made else None,
            state="undecided",
            note=error.code,
            source=attack.source,
            seconds=time.monotonic() - began,
        )
        return (*made, failed), False
    return tuple(made), True


def _with_before(context: AttackContext) -> AttackContext:
    if context.forgotten or not context.forget:
        return context
    try:
        return scoring.with_before(context, ask(context, "before", [probe.question for probe in context.forget]))
    except LetheError as error:
        if error.code == CANCELLED:
            raise
        return context  # the attacks will say so themselves, each as undecided


def _key(context: AttackContext, key: str, secret: bytes) -> str:
    """A keyed digest of everything that a result depends on, texts included: a plain one could be guessed."""
    about: dict[str, Any] = {
        "key": key,
        "code": source_digest(),
        "base": context.loaded.digest,
        "dtype": str(context.loaded.dtype),
        "device": context.loaded.device.type,
        "adapter": _adapter_digest(context.adapter),
        "earlier": [_adapter_digest(one) for one in context.earlier],
        "control": context.control.digest if context.control else None,
        "settings": context.settings.model_dump(mode="json"),
        "backends": context.backends.names(),
        "forget": _asked(context.forget),
        "retain": _asked(context.retain),
        "holdout": _asked(context.holdout),
        "secrets": [[one.fact, one.value, *one.answers] for one in context.secrets],
        "benign": [[row.row_id, row.prompt, row.answer] for row in context.benign],
        "forgotten": dict(context.forgotten),
    }
    return keyed_digest(secret, canonical_json(about))


def _asked(probes: Sequence[Probe]) -> list[Any]:
    return [[one.probe_id, one.question, one.answer, one.value, one.fact, one.phrasing, one.names] for one in probes]


def _adapter_digest(directory: Path) -> dict[str, str]:
    return {name: file_digest(directory / name) for name in (CONFIG, WEIGHTS) if (directory / name).is_file()}


def _file(out_dir: Path, attack: str) -> Path:
    return out_dir / f"{attack}.json"


def _kept(out_dir: Path | None, attack: str, key: str) -> tuple[AttackResult, ...] | None:
    """What an earlier attempt finished under the same key; a file that cannot be read counts for nothing."""
    if out_dir is None:
        return None
    try:
        found = _Finished.model_validate_json(_file(out_dir, attack).read_bytes())
    except (OSError, ValidationError):
        return None
    return found.results if found.key == key and found.attack == attack else None


def _write(path: Path, finished: _Finished) -> None:
    """Under its name in one step: a file that is there is whole."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(finished.model_dump(mode="json"), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
