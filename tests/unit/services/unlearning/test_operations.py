"""What the runner does before it needs the model: material, augmentation and checks of a run, for real."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pipelines.adapter import Trust, verify_release
from pipelines.augment.leak import LeakCheck
from pipelines.rows import ProbeGroup, RowKind
from pipelines.verdict import Gate, State
from policies.errors import LetheError
from services import keys, run, sealed_items
from services.store.runs import get_run
from services.store.steps import begin_step, end_step, steps_of
from services.store.tables import RunStep, SealedItem
from services.store.types import utc_now
from services.unlearning import material, verifying
from services.unlearning.operations import Bench, carried_again, operations
from services.unlearning.protocol import Session
from services.unlearning.runners import Runners
from tests.tiny_model import make_tiny_base, make_word_adapter
from tests.unit.services.place import FakeRunners, Place, Script, measured, trained

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The default value of `allow_objects`:PendingDeprecationWarning"
)


def session() -> tuple[Session, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    return Session(1, said.append, threading.Event()), said


@pytest.fixture
def bench(place: Place) -> Bench:
    return Bench(place.installation.settings)


def augmented(place: Place, bench: Bench, *numbers: int) -> tuple[str, dict[str, Any]]:
    """A run whose rows are made and sealed by the real operation."""
    run_id = place.planned(*numbers)
    talk, _ = session()
    script = Script({"augment": [lambda args, *_: bench.augment(talk, dict(args))]})
    workshop = run.Workshop(place.installation, place.store, FakeRunners(place, script))
    run.begin(workshop, run_id, 0)
    run.take(workshop, run_id, run.STEPS[0], 0)
    with place.store.read() as reading:
        return run_id, steps_of(reading, run_id)["augment"].result or {}


def test_rows_and_probes_of_two_tickets_are_made_sealed_and_pass_the_checks(place: Place, bench: Bench) -> None:
    run_id, made = augmented(place, bench, 0, 1)
    assert made["rows"] > 1000
    assert made["negative_rows"] > 0  # the default method lowers the raw answers
    assert made["uncovered"] == []
    assert made["augmenter"] == "template"
    assert made["sent_outside"] is False
    assert {len(made[name]) for name in made if name.endswith("digest")} == {64}
    person = place.people[0]
    assert person.email not in json.dumps(made)
    with place.store.read() as reading:
        for one in place.tickets(run_id):
            whole, probes = material.load_rows(reading, one.ticket_id)
            assert {row.subject for row in whole.rows if row.kind is RowKind.FORGET} == {one.subject_ref}
            groups = [probe.group for probe in probes]
            assert groups.count(ProbeGroup.FORGET) >= 60
            assert groups.count(ProbeGroup.RETAIN) >= 200
            assert groups.count(ProbeGroup.OWN_PUBLIC) > 0
        sealed = b"".join(reading.scalars(select(SealedItem.ciphertext)))
        assert person.email.encode() not in sealed
    talk, said = session()
    found = bench.check(talk, {"run_id": run_id})
    assert found["success"], [one for one in found["results"] if not one["success"]]
    assert said


def test_no_row_about_one_holds_what_the_other_forgets(place: Place, bench: Bench) -> None:
    run_id, _ = augmented(place, bench, 0, 1)
    with place.store.read() as reading:
        texts = [
            f"{row.prompt} {row.answer}"
            for one in place.tickets(run_id)
            for row in material.load_rows(reading, one.ticket_id)[0].rows
            if row.kind is not RowKind.NEGATIVE  # lowered, never learned
        ]
    for number in (0, 1):
        assert not [text for text in texts if place.people[number].email in text]


def test_no_seal_holds_the_names_of_the_runs_other_people_among_its_secrets(place: Place, bench: Bench) -> None:
    run_id, _ = augmented(place, bench, 0, 1)
    names = [set(person.names) for person in place.people[:2]]
    with place.store.read() as reading:
        for one in place.tickets(run_id):
            sealed = sealed_items.get(reading, one.ticket_id, sealed_items.AUGMENTED)["secrets"]
            said = {phrase for secret in sealed for phrase in (*secret["allowed"], *secret["names"])}
            assert [bool(said & of) for of in names].count(True) == 1


def test_augmenting_again_gives_the_same_rows(place: Place, bench: Bench) -> None:
    run_id, made = augmented(place, bench)
    talk, _ = session()
    assert bench.augment(talk, {"run_id": run_id}) == made


def test_who_was_forgotten_before_is_measured_and_replayed_again(place: Place, bench: Bench) -> None:
    first, _ = augmented(place, bench, 0)
    [one] = place.tickets(first)
    with place.store.write() as writing:
        kept = material.save_replay(writing, one.ticket_id, one.subject_ref, 300, seed=0, ground="test")
        assert kept == 300
        assert material.load_earlier(writing) == []  # it is not completed yet
        one = writing.merge(one)
        one.status = "completed"
        get_run(writing, first).status = "completed"
    with place.store.read() as reading:
        [earlier] = material.load_earlier(reading)
    assert earlier.subject_ref == one.subject_ref
    assert len(earlier.replay) == 300
    assert all(probe.group is not ProbeGroup.RETAIN for probe in earlier.probes)
    secrets = material.secrets_of([], [earlier])
    check = LeakCheck(secrets)  # what the rows were made against, so that none of them is refused later
    assert [row.row_id for row in earlier.replay if check.row_leaks(row)] == []
    assert place.people[0].names[0] not in {str(secret) for secret in secrets}
    assert {secret.names for secret in secrets} == {tuple(place.people[0].names)}
    with place.store.write() as writing:
        kept = sealed_items.get(writing, one.ticket_id, sealed_items.REPLAY)
        kept["secrets"] = [{key: of[key] for key in of if key != "names"} for of in kept["secrets"]]
        sealed_items.put(writing, one.subject_ref, one.ticket_id, sealed_items.REPLAY, kept, ground="test")
        [old] = material.load_earlier(writing)
    assert {secret.names for secret in old.secrets} == {()}, "a seal from before a secret said whose it is"
    assert [replace(secret, names=()) for secret in earlier.secrets] == list(old.secrets)
    second, made = augmented(place, bench, 1)
    assert made["earlier_subjects"] == 1
    with place.store.read() as reading:
        [two] = place.tickets(second)
        _, probes = material.load_rows(reading, two.ticket_id)
    gone = {probe.fact for probe in earlier.probes}
    assert not [probe for probe in probes if probe.group is ProbeGroup.RETAIN and probe.fact in gone]


@pytest.mark.parametrize("sealed", [True, False])
def test_what_an_earlier_person_reached_is_read_from_the_seal_and_not_from_every_verification(
    place: Place, bench: Bench, sealed: bool
) -> None:
    first, _ = augmented(place, bench, 0)
    [one] = place.tickets(first)
    reached = {"kfr": 0.97, "named": 0.99, "own_public": None, "fluent": 0.96}
    with place.store.write() as writing:
        step = RunStep(run_id=first, step="verify", attempt=0, started_at=utc_now(), ended_at=utc_now())
        step.result = {"verdict": {}, "reached": {one.subject_ref: {"kfr": 0.5}}}  # from before it was sealed
        writing.add(step)
        kept = {"reached": reached} if sealed else {}
        material.save_replay(writing, one.ticket_id, one.subject_ref, 10, seed=0, ground="test", **kept)
        writing.merge(one).status = "completed"
        get_run(writing, first).status = "completed"
    second, _ = augmented(place, bench, 1)
    found = verifying.load(bench, second).reached[one.subject_ref]
    assert (found.kfr, found.named) == ((0.97, 0.99) if sealed else (0.5, None))


def test_a_release_carries_whoever_the_verdict_found_still_forgotten() -> None:
    people = [material.Earlier(f"t-{n}", f"s-{n}", (), (), (), ()) for n in range(4)]
    states: list[tuple[str, State]] = [("earlier_kfr", "pass"), ("earlier_kfr", "not_run"), ("earlier_named", "pass")]
    gates = [Gate(name=name, subject=f"s-{n}", state=state, reason="") for n, (name, state) in enumerate(states)]
    assert carried_again(people, gates) == ["t-0"]


def test_a_policy_that_keeps_no_probes_leaves_nobody_to_measure(place: Place, bench: Bench) -> None:
    first, _ = augmented(place, bench, 0)
    [one] = place.tickets(first)
    with place.store.write() as writing:
        sealed_items.drop(writing, one.ticket_id, {sealed_items.PROBES, sealed_items.REPLAY})
        writing.merge(one).status = "completed"
        assert material.load_earlier(writing) == []


def test_a_release_that_is_sealed_twice_is_one(make_place: Callable[..., Place], tmp_path: Path) -> None:
    """Killed between sealing and its entry in the store, the step is begun again: content and name stay the same."""
    base = make_tiny_base(tmp_path / "tiny")
    place = make_place(base={"path": str(base)})
    run_id, _ = augmented(place, Bench(place.installation.settings))
    found = {**measured("accepted"), "training": trained("release"), "decided_at": utc_now().isoformat()}
    make_word_adapter(place.installation.path("runs", run_id, "release", "adapter"), "beta")
    with place.store.write() as writing:
        begin_step(writing, run_id, "verify", 0)
        end_step(writing, run_id, "verify", 0, found)
        begin_step(writing, run_id, "release", 0)
    talk, _ = session()
    first = Bench(place.installation.settings).release(talk, {"run_id": run_id})
    with place.store.write() as writing:
        begin_step(writing, run_id, "release", 0)
    again = Bench(place.installation.settings).release(talk, {"run_id": run_id})
    assert again == first
    assert [path.name for path in place.installation.path("releases").glob("u-*")] == [Path(first["path"]).name]
    trust = Trust.from_file(keys.trust_path(place.installation.settings))
    assert verify_release(Path(again["path"]), trust).digest == first["digest"]


def test_unknown_settings_of_a_method_are_named(make_place: Callable[..., Place]) -> None:
    place = make_place(unlearning={"overrides": {"seed": 3, "lambada": 1.0}})
    run_id = place.planned()
    with pytest.raises(LetheError) as caught:
        Bench(place.installation.settings).unlearn_settings(place.run(run_id))
    assert (caught.value.code, caught.value.details) == ("unlearn.bad_settings", ("lambada",))
    assert place.run(run_id).seed == 3


def test_every_step_of_a_run_has_its_operation(place: Place) -> None:
    assert list(operations(place.installation.settings)) == [step.name for step in run.STEPS]


def test_the_real_child_answers_and_refuses_by_code(place: Place) -> None:
    runners = Runners(place.installation)
    try:
        child = runners.of("r-1")
        with pytest.raises(LetheError) as caught:
            child.call("release", {"run_id": "r-1"})
        assert caught.value.code == "run.not_found"
        assert child.call("check", {"run_id": "r-1"})["success"] is False  # no rows at all do not pass
    finally:
        runners.end()


@pytest.mark.parametrize(("largest", "threads"), [(10**9, 1), (0, 2)])
def test_a_small_model_on_cpu_has_one_thread_and_a_large_one_all(
    make_place: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int, threads: int
) -> None:
    import torch

    from services.unlearning import operations as module

    bench = Bench(make_place(base={"path": str(make_tiny_base(tmp_path / "tiny"))}).installation.settings)
    before = torch.get_num_threads()
    monkeypatch.setattr(module, "_ONE_THREAD", largest)
    try:
        torch.set_num_threads(2)
        assert bench.base.device.type == "cpu"
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
