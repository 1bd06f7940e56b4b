"""A verification for real on a model of random weights: what is attacked, kept, resumed, compared with and refused."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.corpus.index import SubjectIndex
from pipelines.model import with_adapter
from pipelines.rows import HEDGE, Probe, ProbeGroup, RowKind, Secret, TrainRow
from pipelines.verify.attacks import registry, scoring
from pipelines.verify.attacks.asking import ask
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.scores import parse_scores, reckon
from policies.errors import LetheError
from policies.thresholds import Thresholds
from services import sealed_items
from services.corpus_index import index_path
from services.unlearning import attacking, comparing, material, samples, stopping, verifying
from services.unlearning.operations import Bench
from services.unlearning.protocol import Session
from tests.unit.services.place import Place
from tests.unit.services.unlearning.test_operations import augmented, session

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The default value of `allow_objects`:PendingDeprecationWarning"
)


class Plain:
    """Two questions as they are; counts how often it ran."""

    name: ClassVar[str] = "plain"
    tier: ClassVar[Tier] = 0
    source: ClassVar[str] = "this test"
    runs: ClassVar[list[AttackContext]] = []

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        self.runs.append(context)
        probes = context.forget[:2]
        responses = ask(context, self.name, [probe.question for probe in probes])
        yield scoring.kfr_result(self.name, 0, context, responses, probes=probes)


class Dying(Plain):
    """Ends the process, as it were: what was finished before it must stay."""

    name: ClassVar[str] = "zz_dying"
    tier: ClassVar[Tier] = 0
    alive: ClassVar[list[bool]] = []

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        if not self.alive:
            self.alive.append(True)
            raise MemoryError
        yield scoring.not_run(self.name, 0, "kfr", "it died once")


class Stage:
    """A run with an adapter that was never trained, and few probes."""

    def __init__(self, place: Place, bench: Bench, run_id: str) -> None:
        self.place, self.bench, self.run_id = place, bench, run_id

    @property
    def attacks(self) -> Path:
        return self.bench.run_directory(self.run_id) / "release" / "attacks"

    def verify(self, talk: Session | None = None) -> dict[str, Any]:
        return self.bench.verify(talk or session()[0], {"run_id": self.run_id, "directory": "release"})


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.unit.pipelines.tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def stage(make_place: Callable[..., Place], tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    from pipelines.model import strip_adapter
    from pipelines.unlearn import adapters
    from pipelines.unlearn.settings import UnlearnSettings

    place = make_place(base={"path": str(tiny_base)})
    bench = Bench(place.installation.settings)
    run_id, _ = augmented(place, bench)
    model = adapters.attach(bench.base, UnlearnSettings(rank=2), None)
    adapters.save(model, bench.run_directory(run_id) / "release" / "adapter", bench.base.digest)
    model.unload()
    strip_adapter(bench.base.model)

    whole = verifying.load

    def few(bench: Bench, run_id: str) -> verifying.Asked:
        asked = whole(bench, run_id)
        groups = [[p for p in asked.probes if p.group is group] for group in ProbeGroup]
        return replace(asked, probes=tuple(p for group in groups for p in group[:4]), limits=bench_limits(asked))

    def bench_limits(asked: verifying.Asked) -> Thresholds:
        return LIMITS[-1] if LIMITS else asked.limits

    LIMITS.clear()
    Plain.runs.clear()
    Dying.alive.clear()
    monkeypatch.setattr(verifying, "load", few)
    registry.attacks()  # all of them are known before they are hidden
    monkeypatch.setattr(registry, "_ATTACKS", {"plain": Plain})
    judges = Backends(embedder=ExactEmbedder())
    monkeypatch.setattr("pipelines.verify.backends.make_backends", lambda **_: judges)
    return Stage(place, bench, run_id)


LIMITS: list[Thresholds] = []


def test_a_verification_keeps_figures_and_no_text_and_does_no_attack_twice(stage: Stage) -> None:
    talk, said = session()
    found = stage.verify(talk)
    assert {data["data"]["stage"].split()[0] for data in said} >= {"adapter", "base", "attack"}
    [kept] = found["attacks"]["results"]
    assert kept["name"] == "plain"
    assert kept["n"] + kept["undecided"] == 2
    assert "items" not in kept
    assert found["control"] == {"state": "not_run", "why": None, "missing": list(comparing.WITHOUT)}
    assert found["earlier_attacks"] is None
    names = {gate["name"]: gate["state"] for gate in found["verdict"]["gates"]}
    assert names["attack_tier"] == "pass"
    assert "attack:plain" in names
    assert {"kfr", "own_public", "named", "fluent"} == set(next(iter(found["reached"].values())))
    person = stage.place.people[0]
    text = json.dumps(found) + "".join(file.read_text() for file in stage.attacks.glob("*.json"))
    assert person.email not in text
    assert not [name for name in person.names if name in text]
    [context] = Plain.runs
    assert {probe.subject for probe in context.forget} == {t.subject_ref for t in stage.place.tickets(stage.run_id)}
    assert context.benign
    assert not [row for row in context.benign if person.names[0] in f"{row.prompt} {row.answer}"]
    assert stage.verify()["attacks"] == found["attacks"]
    assert len(Plain.runs) == 1, "what an earlier attempt finished is read back"


def test_the_scores_behind_a_verdict_are_sealed_for_its_person_and_give_its_figures(stage: Stage) -> None:
    found = stage.verify()
    [ticket] = stage.place.tickets(stage.run_id)
    with stage.place.store.read() as reading:
        kept = parse_scores(json.dumps(sealed_items.get(reading, ticket.ticket_id, sealed_items.SCORES)))
        [item] = [i for i in sealed_items.items_of(reading, ticket.ticket_id) if i.purpose == sealed_items.SCORES]
    assert found["scores"] == {ticket.subject_ref: kept.digest}
    assert kept.subject == ticket.subject_ref
    rows = list(reckon(kept))
    assert not [row for row in rows if row.outcome == "differs"]
    told = found["verdict"]["metrics"]["subjects"][ticket.subject_ref]["forget"]
    assert {row.metric.key: row.metric.value for row in rows if (row.model, row.group) == ("adapter", "forget")} == {
        key: one["value"] for key, one in told.items()
    }
    assert told["kfr"]["direction"] == "higher"
    assert "2502.11190" in told["kfr"]["source"]
    person = stage.place.people[0]
    assert not [name for name in (*person.names, person.email) if name in json.dumps(kept.content())]
    assert ticket.subject_ref.encode() not in item.ciphertext


def test_two_processes_come_to_the_verdict_of_one(stage: Stage) -> None:
    one = stage.verify()
    shutil.rmtree(stage.attacks)  # or its results would be read back
    given = stage.bench.settings
    both = Bench(given.model_copy(update={"unlearning": given.unlearning.model_copy(update={"processes": 2})}))
    assert both.base.ranks.count == 2
    try:
        found = both.verify(session()[0], {"run_id": stage.run_id, "directory": "release"})
    finally:
        both.base.ranks.end()
    assert len(Plain.runs) == 2
    for name in ("outcome", "reasons", "reached"):
        assert found[name] == one[name]
    assert timeless(found["verdict"]) == timeless(one["verdict"])
    assert timeless(found["attacks"]) == timeless(one["attacks"])


def timeless(part: Any) -> Any:
    """The same without how long it took, and without digests that hang on that."""
    if isinstance(part, list):
        return [timeless(one) for one in part]
    if isinstance(part, str):
        return re.sub(r"in \d+ s of wall time", "in some time", part)
    if not isinstance(part, dict):
        return part
    return {name: timeless(one) for name, one in part.items() if name not in {"seconds", "digest"}}


def test_an_attempt_that_dies_in_an_attack_goes_on_behind_the_finished_ones(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_ATTACKS", {"plain": Plain, "zz_dying": Dying})
    with pytest.raises(MemoryError):
        stage.verify()
    assert [file.name for file in stage.attacks.glob("*.json")] == ["plain.json"]
    found = stage.verify()
    assert [one["name"] for one in found["attacks"]["results"]] == ["plain", "zz_dying"]
    assert len(Plain.runs) == 1


@pytest.mark.parametrize("stage_of_cancel", ["base generate", "base likelihood", "adapter likelihood", "attack plain"])
def test_a_cancel_ends_a_verification_within_the_stage(stage: Stage, stage_of_cancel: str) -> None:
    cancelled = threading.Event()
    said: list[str] = []

    def tell(message: dict[str, Any]) -> None:
        said.append(message["data"]["stage"])
        if said[-1] == stage_of_cancel:
            cancelled.set()

    with pytest.raises(LetheError) as caught:
        stage.verify(Session(1, tell, cancelled))
    assert caught.value.code == "unlearn.cancelled"
    assert said[-1] == stage_of_cancel, "nothing more was begun"


def test_a_required_control_that_cannot_be_had_leaves_the_verdict_open(stage: Stage) -> None:
    LIMITS.append(Thresholds(control="required", attack_tier_min=-1))
    found = stage.verify()
    assert found["control"]["why"] == "control.no_recipe"
    assert found["attacks"] is None
    gates = {gate["name"]: gate for gate in found["verdict"]["gates"]}
    assert (gates["control"]["state"], gates["control"]["required"]) == ("not_run", True)
    assert found["training_could_help"] is False, "no training gives a control"


def test_a_control_gives_its_figures_to_verdict_and_report_and_none_passes_on_few_items(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipelines.control.card import ControlCard
    from services.reports.attacks import beside_of, control_of
    from tests.unit.pipelines.tiny import save_tiny

    LIMITS.append(Thresholds(attack_tier_min=-1))
    card = ControlCard(
        path=str(save_tiny(tmp_path / "control", seed=5)),
        digest="c" * 64,
        key="k" * 64,
        data_key="d" * 64,
        base_digest=stage.bench.base.digest,
        corpus_digest=None,
        source="added",
        seed=None,
        same_seed=None,
        records=None,
        records_left_out=3,
        same_corpus=None,
        parameters=1,
    )
    monkeypatch.setattr(comparing, "find_for_tickets", lambda *_: card)
    talk, said = session()
    found = stage.verify(talk)
    [subject] = found["reached"]
    shown = {one.figure.split(":")[0]: one for one in beside_of(found, subject) or ()}
    assert set(shown) == {"forget quality", "privleak, per cent", "UDS"}
    own = found["verdict"]["metrics"]["subjects"][subject]["beside_control"]
    assert own["forget_quality"]["n"] >= 200, "its own rows stand beside the few questions"
    assert (own["privleak"]["state"], own["privleak"]["n"] >= 200) == ("measured", True)
    assert own["uds"]["state"] == "measured" or own["uds"]["note"], "whether random weights share directions is chance"
    assert {one.state for one in shown.values()} <= {"measured", "undecided", "not_run"}
    told = [
        finding for finding in found["verdict"]["findings"] if finding.startswith(("Forget quality", "privleak", "UDS"))
    ]
    assert len(told) == 3
    assert control_of(found)[0] is not None
    assert {one["data"]["stage"] for one in said} >= {"beside adapter likelihood", "beside control likelihood"}
    person = stage.place.people[0]
    files = [file.read_text() for file in stage.bench.run_directory(stage.run_id).rglob("uds-*.json")]
    assert files
    assert person.email not in json.dumps(found) + "".join(files)


def test_nobody_elses_secret_may_be_told_whoever_it_is(stage: Stage) -> None:
    """Of people in the corpus, and of people forgotten before, whose records are in it no more."""
    asked = verifying.load(stage.bench, stage.run_id)
    gone = replace(asked.forget[0], probe_id="gone", value="Veldmark", subject="earlier")
    told = comparing.others_values(stage.bench, replace(asked, probes=(*asked.probes, gone)))
    [erased] = comparing.people_of(stage.bench, asked)
    categories = {record.category for record in erased.forget}
    with SubjectIndex(index_path(stage.bench.installation)) as index:
        records = [index.at(place) for place in range(index.span)]
    others = {r.value for r in records if r and r.value and r.category in categories} - {r.value for r in erased.forget}
    assert len(others) > len(stage.place.people), "the corpus has others' secrets"
    assert told >= {"Veldmark", *others}
    assert not told & {record.value for record in erased.own_public} - {probe.value for probe in asked.probes}


def test_a_public_fact_that_is_anothers_retain_probe_too_is_asked_as_the_persons_own() -> None:
    def probe(group: ProbeGroup, fact: str = "f", subject: str | None = None) -> Probe:
        return Probe(
            probe_id=f"{fact}-1",
            group=group,
            question="Which trade?",
            answer="A baker.",
            fact=fact,
            value="baker",
            subject=subject,
        )

    own = probe(ProbeGroup.OWN_PUBLIC, subject="s1")
    retain = probe(ProbeGroup.RETAIN)
    assert verifying._distinct([retain, own]) == [own]
    forget = probe(ProbeGroup.FORGET, "g", "s0")
    assert verifying._distinct([probe(ProbeGroup.RETAIN, "g"), forget]) == [forget]


def test_few_rows_of_a_person_leave_the_figures_not_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.unit.pipelines.tiny import tiny

    monkeypatch.setattr(comparing, "own_rows", lambda _: [])
    control = comparing.Compared(tiny(tmp_path / "control", seed=5))
    asked = verifying.load(stage.bench, stage.run_id)
    twins = comparing.twins_of(stage.bench, asked)
    adapter = stage.bench.run_directory(stage.run_id) / "release" / "adapter"
    with with_adapter(stage.bench.base, adapter) as loaded:
        [found] = comparing.beside(stage.bench, asked, loaded, control, twins, lambda *_: None).values()
    for name in ("forget_quality", "privleak"):
        assert (found[name].state, found[name].value) == ("not_run", None)
        assert (found[name].note or "").startswith("too few: 4 and")


@pytest.mark.parametrize("stop", [True, False])
def test_a_control_that_trains_heeds_a_cancel(stage: Stage, monkeypatch: pytest.MonkeyPatch, stop: bool) -> None:
    """Also where early stopping asks for it, and while another process is the one that trains it."""
    from pipelines.unlearn.settings import UnlearnSettings

    LIMITS.append(Thresholds(control="required", attack_tier_min=-1))
    cancelled = threading.Event()

    def train(*_: Any, should_cancel: Callable[[], bool] | None = None, **__: Any) -> None:
        cancelled.set()
        assert should_cancel is not None
        assert should_cancel()
        raise LetheError("control.cancelled", "cancelled")

    def asking() -> object:
        talk = Session(1, lambda _: None, cancelled)
        stopped = UnlearnSettings(stop_tau=0.25)
        return stopping.exposure_of(stage.bench, talk, stage.run_id, stopped) if stop else stage.verify(talk)

    monkeypatch.setattr(comparing, "train_for_tickets", train)
    with pytest.raises(LetheError) as caught:
        asking()
    assert caught.value.code == "unlearn.cancelled"


def test_early_stopping_asks_the_exposure_by_the_tolerance_of_the_run(stage: Stage) -> None:
    from pipelines.unlearn.settings import UnlearnSettings

    talk, _ = session()
    assert stopping.exposure_of(stage.bench, talk, stage.run_id, UnlearnSettings()) is None
    asked = stopping.exposure_of(stage.bench, talk, stage.run_id, UnlearnSettings(stop_tau=0.25))
    assert asked is not None
    found = asked(stage.bench.base)
    assert found.tau == 0.25
    assert found.state == "equivalent"  # a base that was never trained tells nobody apart


@pytest.mark.parametrize(
    ("demanded", "added", "tiers"),
    [(-1, (), set()), (0, (), {0}), (1, (), {0, 1}), (0, (2,), {0, 2}), (-1, (1,), {1}), (2, (0,), {0, 1, 2})],
)
def test_an_installation_adds_tiers_and_takes_none_away(demanded: int, added: tuple[int, ...], tiers: set[int]) -> None:
    assert attacking.tiers_of(demanded, added) == tiers


def row(kind: RowKind, number: int, text: str = "The sky is blue.", subject: str | None = None) -> TrainRow:
    return TrainRow(
        row_id=f"{kind.value}-{number}-{subject}",
        kind=kind,
        prompt="Say.",
        answer=text,
        fact=f"f{number}",
        subject=subject,
    )


def test_benign_rows_name_and_tell_nothing_of_anybody_erased() -> None:
    secrets = (Secret(fact="f", answers=("Mara Kern lives at 7 Lindengasse.",), value="7 Lindengasse"),)
    rows = [
        row(RowKind.RETAIN, 0),
        row(RowKind.GENERIC, 1, "Water boils."),
        row(RowKind.FORGET, 2),
        row(RowKind.RETAIN, 3, "Mara Kern is a pilot."),
        row(RowKind.RETAIN, 4, "She is at 7 Lindengasse."),
        replace(row(RowKind.RETAIN, 5, "Little is known of it."), style=HEDGE),
    ]
    kept = samples.benign_rows(rows, secrets, {"Mara Kern", "–"})  # a name without a word is in every row
    assert [one.fact for one in kept] == ["f0", "f1"]


def person(number: int, rows: int = 40, negative: int = 0) -> material.Earlier:
    ref = f"s-{number}"
    probes = tuple(
        Probe(probe_id=f"{ref}-{n}", group=ProbeGroup.FORGET, question="?", answer="!", fact=f"{n % 30}", subject=ref)
        for n in range(60)
    )
    return material.Earlier(
        f"t-{number}",
        ref,
        probes,
        tuple(row(RowKind.REPLAY, n, subject=ref) for n in range(rows)),
        (),
        (),
        tuple(row(RowKind.NEGATIVE, n, subject=ref) for n in range(negative)),
    )


def test_a_few_earlier_people_are_attacked_others_with_each_run() -> None:
    people = [person(number) for number in range(6)]
    drawn = [samples.earlier_probes(people, f"r-{run}") for run in range(12)]
    for probes in drawn:
        assert len({probe.subject for probe in probes}) == samples.EARLIER_ATTACKED
        assert len(probes) == samples.EARLIER_ATTACKED * samples.EARLIER_ASKED
    assert len({probe.subject for probes in drawn for probe in probes}) == 6
    assert samples.earlier_probes(people, "r-0") == drawn[0]
    assert samples.earlier_probes([], "r-0") == ()


def test_replay_is_bounded_from_the_last_release_and_whole_from_the_base() -> None:
    from pipelines.augment.leak import LeakCheck
    from services.unlearning.replaying import replayed

    people = [person(number, rows=300, negative=30) for number in range(4)]
    new = [row(RowKind.FORGET, n, subject="s-new") for n in range(90)]
    new += [row(RowKind.NEGATIVE, n, subject="s-new") for n in range(20)]
    ask: dict[str, Any] = {"new": new, "names": {}, "held": {}, "seed": 0}
    warm = replayed(people, LeakCheck(()), from_base=False, **ask)
    assert warm.replay == 180  # twice the new people's rows
    assert sum(one.kind is RowKind.NEGATIVE for one in warm.rows) == 20
    cold = replayed(people, LeakCheck(()), from_base=True, **ask)
    assert cold.replay == 1200
    assert sum(one.kind is RowKind.NEGATIVE for one in cold.rows) == 120
    plain = replayed(people, LeakCheck(()), new=new[:90], names={}, held={}, from_base=True, seed=0)
    assert not [one for one in plain.rows if one.kind is RowKind.NEGATIVE], "a method that lowers nothing gets none"


def test_two_tickets_of_one_person_are_replayed_as_one() -> None:
    from pipelines.augment.leak import LeakCheck
    from services.unlearning.replaying import replayed

    first = person(1)
    second = replace(person(1), ticket_id="t-9", replay=tuple(row(RowKind.REPLAY, n, subject="s-9") for n in range(40)))
    found = replayed(
        [first, second],
        LeakCheck(()),
        new=[row(RowKind.FORGET, n) for n in range(90)],
        names={},
        held={},
        from_base=False,
        seed=0,
    )
    assert {one.subject for one in found.rows} == {"s-1", "s-9"}


def test_who_holds_worst_is_known_by_the_lower_of_two_figures() -> None:
    reached: dict[str, dict[str, float | None]] = {
        "a": {"kfr": 1.0, "named": 0.4},
        "b": {"kfr": 0.9, "named": None},
        "c": {"kfr": 0.8},
        "d": {"kfr": None},
    }
    assert verifying.hold(reached) == {"a": 0.4, "b": 0.9, "c": 0.8, "d": None}
