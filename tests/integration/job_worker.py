"""A worker process for tests: ``python -m tests.integration.job_worker HOME ROLE``; prints READY once it takes jobs.

Its workflow ``slow`` notes every run of a step in a file, and waits in ``train`` until it is allowed to go on.
"""

import sys
import time
from pathlib import Path

from services import jobs
from services.jobs.worker import Role
from services.settings import Settings, load_settings
from services.store.engine import Store, open_store
from services.store.runs import fenced, write_progress


def note(home: Path, text: str) -> None:
    with (home / "notes").open("a") as file:
        file.write(text + "\n")


def notes(home: Path) -> list[str]:
    path = home / "notes"
    return path.read_text().split() if path.exists() else []


def quick_settings(home: Path) -> Settings:
    return load_settings(home, jobs={"heartbeat_s": 0.2, "lease_s": 5.0})


def register(home: Path, store: Store) -> None:
    def augment() -> str:
        note(home, "augment")
        return "rows-1"

    def train() -> dict[str, object]:
        attempt = jobs.current().attempt
        note(home, f"train-{attempt}")
        while not (home / "go").exists():
            with store.write() as session:
                write_progress(session, jobs.current().run_id, jobs.current().attempt, {"step": 1})
            time.sleep(0.05)
        return {"release": "u-1"}

    def finish(release: str) -> str:
        job = jobs.current()
        with store.write() as session:
            fenced(session, job.run_id, job.attempt)
            note(home, f"finish-{release}")
        return release

    @jobs.workflow("slow")
    def slow(run_id: str) -> dict[str, object]:
        jobs.step("augment", augment)
        trained = jobs.step("train", train)
        return {"run": run_id, "release": jobs.step("finish", finish, str(trained["release"]))}


def main(home: Path, role: Role) -> None:
    settings = quick_settings(home)
    store = open_store(settings.store_url)
    register(home, store)
    jobs.launch(settings, role, store)
    print("READY", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "unlearning" if sys.argv[2] == "unlearning" else "intake")
