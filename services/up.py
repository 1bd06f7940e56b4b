"""What `lethe up` starts: the three BentoML services, as in Kubernetes one process tree each."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from services import jobs
from services.bases import begin_lineage
from services.corpus_index import open_index
from services.installation import Installation, create_installation, hold_role
from services.settings import AddressSettings, Settings
from services.supervisor import Program, Supervisor

SERVICES = {
    "intake": "services.intake.service:Intake",
    "unlearning": "services.unlearning.service:Unlearning",
    "serving": "services.serving.service:Serving",
}
_GRACE_S = 10


def prepare(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> Installation:
    """Everything that must be there before a service starts: keys, schema, subject index, release 0.

    Raises:
        LetheError: ``corpus.not_set``, ``base.not_found`` and what reading either raises.
    """
    progress("installation")
    installation = create_installation(settings, also=jobs.migrate)
    store = installation.open_store()
    try:
        progress("subject index")
        open_index(installation, store).close()
        progress("release 0")
        begin_lineage(installation, store)
    finally:
        store.close()
    return installation


def supervisor(installation: Installation) -> Supervisor:
    """The services of this host under supervision; not started yet.

    Raises:
        LetheError: ``store.locked`` where another supervisor runs in this installation: its services would answer for
            ours, which could not start.
    """
    settings = installation.settings
    lock = hold_role(settings, "supervisor")
    addresses: dict[str, AddressSettings] = {
        "intake": settings.intake,
        "unlearning": settings.unlearning,
        "serving": settings.serving,
    }
    programs = [_program(name, addresses[name]) for name in SERVICES]
    code = str(Path(__file__).resolve().parents[1])
    environment = {
        "LETHE_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join([code, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "BENTOML_HOME": str(settings.home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return Supervisor(programs, installation.path("logs"), environment, on_stop=lock.release if lock else None)


def _program(name: str, address: AddressSettings) -> Program:
    argv = (
        *(sys.executable, "-m", "bentoml", "serve", SERVICES[name]),
        *("--host", address.host, "--port", str(address.port)),  # BentoML's own default is every interface
        *("--timeout-graceful-shutdown", str(_GRACE_S)),  # without it, it waits for requests without limit
    )
    return Program(name=name, argv=argv, ready_url=f"{address.url}/readyz")
