"""A pack that asks for tier 2: control, attacks, verdict and report of one ticket's run, with nothing replaced.

The budgets of the attacks are small and the adapter is trained for a few steps only, so that the walk takes a minute or
two: what is looked at is what ran, what did not and why, and where it is told, not whether the adapter withstands.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.base.settings import BaseSettings
from pipelines.base.train import train_base
from pipelines.corpus.generate import generate
from pipelines.verify.attacks import registry
from pipelines.verify.attacks.port import AttackSettings
from policies.pack import PACKS
from services import planning
from services import run as way
from services import ticket as tickets
from services.auth import Identity
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.reports.schema import REPORT_SCHEMA
from services.reports.write import read_report
from services.store.steps import steps_of
from services.unlearning import attacking
from services.unlearning.operations import Bench, operations
from services.unlearning.protocol import Session
from services.up import prepare
from tests.acceptance.conftest import CACHE
from tests.acceptance.house import house, people_of, ticket_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore:The default value of `allow_objects`:PendingDeprecationWarning"
    ),
]

# It need not know its corpus well: nothing is decided by what it says.
RECIPE = BaseSettings(hidden=64, heads=2, intermediate=128, epochs=3, min_combination=0, min_frame=0)
BUDGET = {"samples": 4, "probes_per_fact": 1, "relearn_steps": (2,), "max_new_tokens": 16}
CHEAP = {"min_steps": 4, "max_steps": 4}


class InThisProcess:
    """The runner's operations, called here: the budget of the attacks is no setting of an installation."""

    def __init__(self, bench: Bench) -> None:
        self._operations = operations(bench.settings)
        self.stages: list[str] = []

    def of(self, _run_id: str) -> "InThisProcess":
        return self

    def call(self, op: str, args: Mapping[str, Any], **_: Any) -> Any:
        talk = Session(1, lambda said: self.stages.append(said["data"].get("stage", "")), threading.Event())
        return json.loads(json.dumps(self._operations[op](talk, dict(args))))

    def end(self) -> None:
        """Nothing is held."""


def demanding(directory: Path) -> Path:
    """The GDPR's pack, but with every attack and a control."""
    text = (PACKS / "gdpr.yaml").read_text(encoding="utf-8")
    for old, new in (("attack_tier_min: 0", "attack_tier_min: 2"), ("control: optional", "control: required")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    directory.mkdir()
    (directory / "gdpr.yaml").write_text(text, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Two tickets in one run, with a control trained by hand: what the run found, and each ticket's report."""
    directory = tmp_path_factory.mktemp("tiers")
    corpus = directory / "corpus"
    generate(corpus, people=6, seed=4, phrasings=2)
    base = Path(train_base(corpus, CACHE / "bases", RECIPE).path)
    groups: dict[str, Any] = {
        "corpus": {"path": str(corpus)},
        "base": {"path": str(base)},
        "policy": {"pack_path": str(demanding(directory / "packs"))},
        "unlearning": {"overrides": CHEAP},
    }
    with house(directory / "place", **groups) as made, pytest.MonkeyPatch.context() as patched:
        patched.setattr(attacking, "AttackSettings", partial(AttackSettings, **BUDGET))
        patched.setattr(attacking, "HOLDOUT_PEOPLE", 4)  # some 300 questions: enough for an AUC, too few for a rate
        installation = prepare(made.settings)
        store = installation.open_store()
        desk, who = Desk(store, Packs(made.settings.policy)), Identity("k-test", frozenset(), "admin")
        filed = []
        for name in ("p00", "p01"):
            ticket_id, _ = desk.file(json.dumps(ticket_of(people_of(corpus)[name])).encode(), who)
            desk.approve(ticket_id, who)
            assert tickets.look_up(installation, store, ticket_id) == "ready"
            filed.append(ticket_id)
        control = json.loads(made.lethe("control", "train", "--ticket", filed[0], "--ticket", filed[1], "--json"))
        run_id = planning.plan(installation, store)
        assert run_id is not None
        runners = InThisProcess(Bench(made.settings))
        shop = way.Workshop(installation, store, runners)  # type: ignore[arg-type]
        way.begin(shop, run_id, 0)
        found = carried_out(shop, run_id)
        files = [installation.path("reports", ticket_id, "report.json") for ticket_id in filed]
        yield {
            "control": control,
            "found": found,
            "stages": runners.stages,
            "reports": [read_report(file) for file in files],
            "pages": [file.with_suffix(".html").read_text(encoding="utf-8") for file in files],
        }
        store.close()


def carried_out(shop: way.Workshop, run_id: str) -> dict[str, Any]:
    """The run's steps to its end, as the durable job does them; what its verification found."""
    try:
        for step in way.STEPS:
            way.take(shop, run_id, step, 0)
    except way.Refused as refusal:
        way.give_up(shop, run_id, 0, refusal.code)
    with shop.store.read() as session:
        return dict(steps_of(session, run_id)["verify"].result or {})


def test_every_attack_of_the_three_tiers_ran_beside_the_control_or_says_why_not(told: dict[str, Any]) -> None:
    suite = told["found"]["attacks"]
    assert suite["tiers"] == [0, 1, 2]
    assert {one["name"].split(":")[0] for one in suite["results"]} == {one.name for one in registry.attacks()}
    for one in suite["results"]:
        assert one["state"] == "measured" or one["note"], one["name"]
    measured = {one["name"].split(":")[0]: one for one in suite["results"] if one["state"] == "measured"}
    assert {"paraphrase", "completion", "leak_at_k", "any_of_k", "relearn_leaked", "rtt", "membership"} <= set(measured)
    assert all(measured[name]["control"] is not None for name in ("leak_at_k", "any_of_k", "relearn_leaked", "rtt"))
    assert "languages" in suite["not_run"]
    assert "interference" in suite["not_run"]
    assert any(stage.startswith("attack rtt") for stage in told["stages"])
    assert "true positive rate: too few" in measured["membership"]["note"]


def test_the_control_that_was_trained_by_hand_is_the_one(told: dict[str, Any]) -> None:
    control = told["found"]["control"]
    assert (control["state"], control["digest"]) == ("measured", told["control"]["digest"])
    assert control["source"] == "trained"
    assert not [stage for stage in told["stages"] if stage == "control training"], "nothing was trained twice"


def test_the_verdict_names_every_attack_by_subject_and_what_decides_nothing(told: dict[str, Any]) -> None:
    verdict = told["found"]["verdict"]
    gates = {(gate["name"], gate["subject"]): gate for gate in verdict["gates"]}
    subjects = set(told["found"]["reached"])
    assert len(subjects) == 2
    for name in ("attack:completion", "attack:leak_at_k", "attack:relearn_leaked:2", "attack:rtt"):
        assert {gates[name, subject]["required"] for subject in subjects} == {True}
    assert gates["attack_tier", None]["state"] == "pass"
    assert any("attacks of tier 0, 1, 2 were carried out in" in finding for finding in verdict["findings"])
    for name in ("Forget quality", "privleak", "UDS"):
        assert sum(finding.startswith(name) for finding in verdict["findings"]) == 2


@pytest.mark.parametrize("number", [0, 1])
def test_each_report_lists_what_ran_and_what_not_with_times_and_the_worst(
    told: dict[str, Any], number: int, look: Callable[[dict[str, Any], str], Any]
) -> None:
    report, page = told["reports"][number], told["pages"][number]
    jsonschema.validate(report, REPORT_SCHEMA, jsonschema.Draft202012Validator)
    attacks = report["attacks"]
    assert attacks["seconds"] > 0
    assert all(one["seconds"] >= 0 for one in attacks["tried"])
    assert {one["tier"] for one in attacks["tried"] if one["state"] == "measured"} == {0, 1, 2}
    assert any("languages" in why for why in attacks["not_run"])
    assert attacks["worst"]
    leak = next(one for one in attacks["tried"] if one["name"] == "leak_at_k")
    assert leak["control"] is not None
    assert leak["worst"] is not None
    assert "its bound 0.15" in leak["limit"]
    assert look(report, "measuring.control")["digest"] == told["control"]["digest"]
    beside = {one["figure"].split(":")[0]: one for one in look(report, "measuring.beside_control")}
    assert len(beside) == 3
    assert all(one["state"] == "measured" or one["note"] for one in beside.values())
    assert "Beside the control" in page
    assert "leak at k" in page
    other = told["reports"][1 - number]["subject_ref"]
    assert other not in json.dumps(attacks)


@pytest.fixture
def look() -> Callable[[dict[str, Any], str], Any]:
    """The value of an item of point 8."""

    def found(report: dict[str, Any], path: str) -> Any:
        return next(item["value"] for item in report["points"][7]["items"] if item["path"] == path)

    return found
