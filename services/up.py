"""What `lethe up` starts: the three BentoML services, as in Kubernetes one process tree each."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from services import jobs, lifeline
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
_SCRATCH = "lethe-up"


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
    scratch = _scratch()
    addresses: dict[str, AddressSettings] = {
        "intake": settings.intake,
        "unlearning": settings.unlearning,
        "serving": settings.serving,
    }
    programs = [_program(name, addresses[name], scratch / name) for name in SERVICES]
    code = str(Path(__file__).resolve().parents[1])
    environment = {
        "LETHE_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join([code, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_WAIT_POLICY": "PASSIVE",
    }

    def clear() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        if lock is not None:
            lock.release()

    return Supervisor(programs, installation.path("logs"), environment, on_stop=clear)


def _scratch() -> Path:
    """A directory for what BentoML maps into memory, its counters: in memory, and one for each service.

    On a full disk the first touch of a mapped page would end the process (SIGBUS), and a service that starts empties
    the directory, whoever else uses it. What a killed supervisor left is removed by the next one.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the directory below it is ours alone
    root = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for old in root.glob(f"{_SCRATCH}-*"):
        process = ":".join(old.name.removeprefix(f"{_SCRATCH}-").split("-")[:2])
        if old.stat().st_uid == os.getuid() and not lifeline.alive(process):
            shutil.rmtree(old, ignore_errors=True)
    mine = lifeline.identity(os.getpid()).replace(":", "-")
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}-{mine}-", dir=root))


def _program(name: str, address: AddressSettings, scratch: Path) -> Program:
    argv = (
        *(sys.executable, "-m", "bentoml", "serve", SERVICES[name]),
        *("--host", address.host, "--port", str(address.port)),  # BentoML's own default is every interface
        *("--timeout-graceful-shutdown", str(_GRACE_S)),  # without it, it waits for requests without limit
    )
    url = f"{address.url}/readyz"
    return Program(name=name, argv=argv, ready_url=url, environment={"BENTOML_HOME": str(scratch)})
