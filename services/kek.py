"""Replaces the key that wraps the subjects' keys: every subject's key is wrapped anew, nothing else is encrypted again.

The new key is written first, the rows change in one transaction, then the new file takes the old one's name. A crash
leaves the new file beside the old one, and doing it again finishes. Backups of the store from before need the old key.
"""

import os
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from policies.errors import LetheError
from services import audit, keys, release_ops, sealing
from services.installation import Installation
from services.settings import Settings
from services.store.leases import live_leases
from services.store.tables import SubjectKey


def next_path(settings: Settings) -> Path:
    """Where the new key lies until it is in force."""
    return settings.kek_path.with_name(f"{settings.kek_path.name}.next")


def rotate_kek(installation: Installation, *, actor: str) -> tuple[str, str, int]:
    """Wrap every subject's key with a new key; ids of the old and the new one, and how many were wrapped.

    Raises:
        LetheError: ``keys.services_running``: a process that holds the old key would write with it;
            ``keys.copied``, ``seal.corrupt``, ``installation.incomplete``.
    """
    settings = installation.settings
    keys.must_be_kept(settings)
    old = sealing.load_key_ring(settings)
    store = installation.open_store()
    try:
        with store.write() as session:
            if live := live_leases(session):
                names = tuple(sorted({lease.role for lease in live}))
                raise LetheError("keys.services_running", "Services hold the key that is to be replaced.", names)
            new = replace(old, kek=sealing.create_key(next_path(settings)))
            wrapped = 0
            rows = session.scalars(select(SubjectKey).where(SubjectKey.wrapped.is_not(None)))
            for row in rows:
                if row.kek_id == new.kek_id:  # of an attempt that died before its file took the old one's name
                    continue
                sealing.rewrap(row, old, new)
                wrapped += 1
            release_ops.reseal_reasons(session, old.kek, new.kek)
            payload = {"retired": old.kek_id, "created": new.kek_id, "subjects": wrapped, "actor": actor}
            audit.append(session, kind="key.kek_rotated", payload=payload)
        os.replace(next_path(settings), settings.kek_path)
        sealing.sync(settings.kek_path.parent)
        return old.kek_id, new.kek_id, wrapped
    finally:
        store.close()
