"""The augmenter that asks a model over an OpenAI-compatible address, in the runner's own process.

The server is a real one on loopback; what it says is made up (tests/contract/llm_server.py). Nothing is trained: the
run is taken to the end of its data checks, by when the augmenter has done its work.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.generate import generate
from policies.errors import LetheError
from services import planning
from services import run as way
from services import ticket as tickets
from services.auth import Identity
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.store.runs import tickets_of
from services.unlearning import material
from services.unlearning.runners import Runners
from services.up import prepare
from tests.acceptance.house import House, house, people_of, ticket_of
from tests.contract import llm_server
from tests.tiny_model import make_tiny_base

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("few")
    generate(directory, people=6, seed=11, phrasings=2)
    return directory


@contextmanager
def planned(directory: Path, corpus: Path, **groups: Any) -> Iterator[tuple[House, way.Workshop, str]]:
    """An installation with a ticket whose run is planned, and the workshop that takes it on."""
    base = make_tiny_base(directory / "base")
    with house(directory, corpus={"path": str(corpus)}, base={"path": str(base)}, **groups) as made:
        installation = prepare(made.settings)
        store = installation.open_store()
        runners = Runners(installation)
        try:
            desk = Desk(store, Packs(made.settings.policy))
            who = Identity("k-test", frozenset(), "admin")
            person = people_of(corpus)["p00"]
            ticket_id, _ = desk.file(json.dumps(ticket_of(person)).encode(), who)
            desk.approve(ticket_id, who)
            assert tickets.look_up(installation, store, ticket_id) == "ready"
            run_id = planning.plan(installation, store)
            assert run_id is not None
            way.begin(way.Workshop(installation, store, runners), run_id, 0)
            yield made, way.Workshop(installation, store, runners), run_id
        finally:
            runners.end()
            store.close()


def test_rows_are_written_by_the_model_and_hold_no_secret(tmp_path: Path, few: Path) -> None:
    with llm_server.running() as (url, log):
        augmenter = {"kind": "llm", "url": url, "model": "honest"}
        with planned(tmp_path, few, augmenter=augmenter) as (_, workshop, run_id):
            assert way.take(workshop, run_id, way.STEPS[0], 0) == "checking"
            assert way.take(workshop, run_id, way.STEPS[1], 0) == "training"
            with workshop.store.read() as session:
                (ticket,) = tickets_of(session, run_id)
                made, _ = material.load_rows(session, ticket.ticket_id)
    assert made.augmenter == "llm"
    assert made.uncovered == ()
    assert len(log.generated) > 100
    person = people_of(few)["p00"]
    values = [str(probe.value) for probe in person.private]
    learned = [row for row in made.rows if row.subject is not None and row.kind.value != "negative"]
    assert learned
    assert not [value for value in values for row in learned if value in row.answer]
    # The generator is never shown the forgotten answer; only the judge is.
    assert not [value for value in values for text in log.generated if value in text]


def test_the_endpoint_that_is_unlearned_is_never_asked(tmp_path: Path, few: Path) -> None:
    with planned(tmp_path, few) as (made, workshop, run_id):
        target = {"kind": "llm", "url": f"{made.settings.serving.url}/v1", "model": "lethe"}
        runners = Runners(workshop.installation)
        changed = made.home / "lethe.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in target.items()]
        changed.write_text(changed.read_text() + "\n".join(["[augmenter]", *lines]) + "\n")
        try:
            with pytest.raises(LetheError) as refused:
                way.take(way.Workshop(workshop.installation, workshop.store, runners), run_id, way.STEPS[0], 0)
        finally:
            runners.end()
    assert refused.value.code == "augment.endpoint_is_target"
