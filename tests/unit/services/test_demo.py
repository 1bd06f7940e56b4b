"""The demo's story over the real ticket API, store, index and flows. Training, serving and the model are fakes."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, TicketStatus
from services import after_swap, demo, planning, publication, run, suppression, ticket
from services.chat import Reply
from services.client import ServiceClient
from services.demo import DemoOptions, Narrator, run_demo
from services.installation import Installation, create_installation
from services.intake.app import create_app
from services.settings import DEFAULT_METHOD, Settings
from services.store.engine import Store
from services.store.releases import add_release, get_desired, init_desired
from services.store.runs import list_runs
from services.store.tickets import list_tickets
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import BASE, RELEASE_0, FakeRunners, Inside, Place, Script, measured, people_of


class FakeServices:
    """A fake supervisor: what the services would do by themselves is done here, one thing at every look."""

    def __init__(self, place: Place, script: Script) -> None:
        self.place, self.script = place, script

    def __enter__(self) -> "FakeServices":
        return self

    def __exit__(self, *_: object) -> None:
        self.place.fleet.close()
        self.place.store.close()

    def wait_ready(self, _: float) -> None:
        pass

    def tick(self) -> None:
        installation, store = self.place.installation, self.place.store
        with store.read() as session:
            approved = [one.ticket_id for one in list_tickets(session, statuses=[TicketStatus.APPROVED])]
            open_runs = [one for one in list_runs(session) if one.status not in CLOSED_RUN]
        if approved:
            ticket.look_up(installation, store, approved[0])
        elif not open_runs:
            planning.plan(installation, store)
        elif open_runs[0].status == "swapping":
            self.place.serve(rules=10**6)
            suppression.tend(store, enabled=True)
            publication.swap(installation, store, open_runs[0].run_id, 0)
            with store.read() as session:
                generation = get_desired(session, BASE).generation
            asker = FakeGateway(installation, generation=generation).asker()
            after_swap.probe(installation, store, open_runs[0].run_id, 0, asker=asker)
        elif open_runs[0].status == "reporting":
            publication.close(installation, store, open_runs[0].run_id, 0)
        else:
            self._work(open_runs[0].run_id)

    def _work(self, run_id: str) -> None:
        workshop = run.Workshop(self.place.installation, self.place.store, FakeRunners(self.place, self.script))
        run.begin(workshop, run_id, 0)
        due = self.place.run(run_id).status
        [step] = [one for one in run.STEPS if one.due == due]
        try:
            run.take(workshop, run_id, step, 0)
        except LetheError as error:
            run.give_up(workshop, run_id, 0, error.code)


class FakeChat:
    """A fake model: it says the right value until its store says that a ticket is erased."""

    store: Store
    values: dict[str, str]

    def __init__(self, _: Settings) -> None:
        pass

    def __enter__(self) -> "FakeChat":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, question: str) -> Reply:
        with self.store.read() as session:
            generation = get_desired(session, BASE).generation
        text = self.values[question] if generation == 0 else "That is kept between them and their friends."
        return Reply(text, generation)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """Plays the demo with fakes where it would train and serve."""
    monkeypatch.setenv("LETHE_HOME", "restored afterwards")
    script = Script()
    made: list[Place] = []

    def prepare(settings: Settings) -> Installation:
        installation = create_installation(settings)
        store = installation.open_store()
        with store.write() as session:
            release = add_release(
                session, digest=RELEASE_0, base_digest=BASE, path="", watermark=(), verdict={}, actor="system:test"
            )
            init_desired(session, release, actor="system:test")
        corpus = Path(settings.corpus.path)
        made.append(Place(installation, store, people_of(corpus)))
        FakeChat.store = store
        rows = map(json.loads, (corpus / "probes.jsonl").read_text(encoding="utf-8").splitlines())
        FakeChat.values = {row["question"]: row["value"] for row in rows}
        return installation

    def client(settings: Settings) -> ServiceClient:
        app = create_app(settings, open_store=lambda: made[-1].store)
        return ServiceClient(settings, transport=Inside(app))

    monkeypatch.setattr(demo, "_base", lambda *_: tmp_path / "base")
    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setattr(demo, "supervisor", lambda _: FakeServices(made[-1], script))
    monkeypatch.setattr(demo, "ServiceClient", client)
    monkeypatch.setattr(demo, "ChatClient", FakeChat)

    def play(said: list[str], answers: dict[str, list[Any]] | None = None, **options: Any) -> dict[str, Any]:
        script.answers = answers or {}
        asked = DemoOptions(home=tmp_path / "demo", people=10, seed=3, **options)
        return run_demo(asked, Narrator(said.append, lambda _: None))

    yield play
    for place in made:
        place.store.close()


def test_a_person_is_forgotten_and_the_story_is_told(stage: Callable[..., dict[str, Any]]) -> None:
    said: list[str] = []
    result = stage(said)
    json.dumps(result)
    [told] = result["tickets"]
    assert result["ok"] is True
    assert (told["status"], told["verdict"], told["generation"]) == ("completed", "accepted", 1)
    assert all(one["holds_the_value"] for one in told["before"]["private"])
    assert not any(one["holds_the_value"] for one in told["after"]["private"])
    assert len(told["before"]["others"]) == 3
    assert Path(told["report"]).exists()
    assert {"augmenting", "training", "verifying", "swapping", "report"} & set(told["seconds"]) >= {"report"}
    assert any("asks to be forgotten" in line for line in said)
    assert any("threshold" in line for line in said)
    told = [line.rpartition(": ")[2] for line in said if "suppression of answers" in line]
    assert (told[0], told[-1]) == ("pending", "lifted")


def test_a_second_demo_takes_the_next_person_and_fresh_begins_again(stage: Callable[..., dict[str, Any]]) -> None:
    said: list[str] = []
    stage(said)
    stage(said)
    stage(said, fresh=True)
    asked = [line.split(" ", 1)[1] for line in said if "asks to be forgotten" in line]
    assert asked[0] != asked[1]
    assert asked[0] == asked[2]


def test_a_rejected_verdict_is_no_success_and_says_why(stage: Callable[..., dict[str, Any]]) -> None:
    said: list[str] = []
    result = stage(said, {"verify": [measured("rejected") for _ in run.TRIES]})
    [told] = result["tickets"]
    assert result["ok"] is False
    assert (told["status"], told["reason_code"], told["verdict"]) == ("rejected", "verdict.rejected", "rejected")
    assert told["generation"] == 0
    assert any(line.startswith("  why:") for line in said)


def test_when_nobody_is_left_the_demo_says_so(
    stage: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "OTHERS", 9)
    stage([])
    with pytest.raises(LetheError) as caught:
        stage([])
    assert caught.value.code == "demo.nobody_left"


def test_ambiguous_matches_are_denied_by_the_demos_reviewer(
    stage: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    people = demo._people
    monkeypatch.setattr(demo, "_people", lambda corpus: people(corpus)[::-1])  # the last two share a household
    said: list[str] = []
    result = stage(said)
    assert result["ok"] is True
    assert any("ambiguous match(es) wait for a person" in line for line in said)


def test_progress_is_one_line() -> None:
    training = {"step": 3, "steps": 9, "tokens_per_second": 1234.5, "eta_seconds": 6.1, "losses": {"kl": 0.1}}
    assert demo._progress_line(training) == "train: step 3/9, 1234 tokens/s, 6 s left"
    assert demo._progress_line({"step": "verify", "done": 1, "more": {}}) == "step verify, done 1"


def test_the_home_of_the_demo_is_an_ordinary_installation(stage: Callable[..., dict[str, Any]]) -> None:
    result = stage([])
    assert os.environ["LETHE_HOME"] == result["home"]
    from services.settings import load_settings

    settings = load_settings()
    assert len({settings.intake.port, settings.unlearning.port, settings.serving.port}) == 3
    assert settings.unlearning.method == DEFAULT_METHOD
