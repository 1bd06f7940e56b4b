"""Taking a base into an installation: its directory, release 0, and the start of its lineage."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.adapter import Canary, base_identity, content_digest, import_base
from services import keys
from services.installation import Installation
from services.serving.base import base_directory, serving_dtype
from services.store.engine import Store
from services.store.releases import add_release, init_desired, list_desired
from services.store.types import utc_now

ACTOR = "system:import"
_LOG = logging.getLogger(__name__)
_CANARIES_S = 900.0  # loading a large base from a slow disk


def take_in(installation: Installation, source: Path) -> Path:
    """Put a copy of a model directory below ``bases/`` under its digest; hard links where the disk allows them."""
    digest = base_identity(source).base_digest
    target = installation.path("bases", digest[:12])
    if not target.exists():
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".taking-in-"))
        shutil.copytree(source, draft, dirs_exist_ok=True, copy_function=_link)
        os.replace(draft, target)
    return target


def begin_lineage(installation: Installation, store: Store) -> str:
    """Make and sign release 0 of the installation's base and start its lineage; its base's digest. Safe to repeat.

    Raises:
        LetheError: ``base.not_found``, ``base.no_chat_template``, ``release.no_targets``.
    """
    settings = installation.settings
    base = base_directory(settings)
    identity = base_identity(base, dtype=serving_dtype(settings))
    with store.read() as session:
        known = [row.base_digest for row in list_desired(session)]
    if identity.base_digest in known:
        return identity.base_digest
    path = import_base(
        base,
        installation.path("releases"),
        identity,
        adapter_key=keys.load_private(settings, "adapter"),
        verdict_key=keys.load_private(settings, "verdict"),
        now=utc_now(),
        code_version=version("lethe"),
        canaries=_canaries(base, identity.dtype),
    )
    with store.write() as session:
        release = add_release(
            session,
            digest=content_digest(path),
            base_digest=identity.base_digest,
            path=str(path),
            watermark=(),
            verdict={"kind": "release0", "outcome": "accepted"},
            actor=ACTOR,
        )
        init_desired(session, release, actor=ACTOR)
    return identity.base_digest


def _canaries(base: Path, dtype: str) -> tuple[Canary, ...]:
    """What the base answers, asked in a process of its own; none where the base does not run (a host without torch)."""
    command = [sys.executable, "-m", "pipelines.canaries", "--base", str(base), "--dtype", dtype]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CANARIES_S, check=True)
        return TypeAdapter(tuple[Canary, ...]).validate_json(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        _LOG.warning("release 0 gets no canaries: %s", type(error).__name__)
        return ()


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copy2(source, target)
    return target
