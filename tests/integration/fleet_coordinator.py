"""One swap as a process of its own; it prints the receipt, or the code of the error, as one line of JSON.

``python -m tests.integration.fleet_coordinator HOME BASE DIGEST``. With a stall at ``prepared`` it waits once every
replica has prepared, before it commits.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from policies.errors import LetheError
from services.serving.swap import as_json, member_of, swap_to
from services.serving.wanted import proposed_of
from services.settings import load_settings
from services.store.engine import Store, open_store
from services.store.releases import get_desired, live_replicas
from tests.integration.fleet_member import POLL_S, QUICK, stall_file


def hold(home: Path, store: Store, base: str) -> None:
    file = stall_file(home, "coordinator", "prepared")
    if not file.exists():
        return
    with store.read() as session:
        proposed = proposed_of(get_desired(session, base))
        members = [member_of(row) for row in live_replicas(session, base)]
    if proposed is None or any(member.prepared != proposed for member in members):
        return
    file.with_suffix(".reached").touch()
    while file.exists():
        time.sleep(POLL_S)


def coordinate(home: Path, base: str, digest: str) -> dict[str, Any]:
    """The receipt, or the code of the error."""
    settings = load_settings(home, serving=QUICK)
    store = open_store(settings.store_url, busy_timeout_s=0.5)
    try:
        stop = partial(hold, home, store, base)
        return as_json(swap_to(store, base, digest, settings=settings, actor="system:test", stop=stop))
    except LetheError as error:
        return {"code": error.code, "details": error.details}
    finally:
        store.close()


if __name__ == "__main__":
    print(json.dumps(coordinate(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
