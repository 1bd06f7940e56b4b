"""Promote, roll back, re-check: never back into remembering. Replicas are fakes that follow by the real rules."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient
from typer.testing import CliRunner

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import after_swap, auth, control, jobs, publication, release_ops, sealed_items, suppression
from services.client import ServiceClient
from services.commands import release as release_command
from services.commands import ticket as ticket_command
from services.installation import Installation
from services.intake.app import create_app
from services.release_ops import Plan
from services.reports.write import read_report
from services.settings import load_settings
from services.store import suppressions
from services.store.releases import get_desired, get_release, list_releases, propose
from services.store.tables import AuditEntryRow
from services.store.tickets import get_ticket
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import BASE, RELEASE_0, Inside, Place, people_of

WHY = "answers got worse after the last run"


@pytest.fixture(scope="module")
def erased_home(template: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where two people were erased, one run each: three releases; copied for every test."""
    home = tmp_path_factory.mktemp("erased") / "home"
    shutil.copytree(template, home)
    with opened(home, corpus) as place:
        for number in (0, 1):
            run_id = place.released(number)
            publication.swap(place.installation, place.store, run_id, 0)
            asker = FakeGateway(place.installation, generation=number + 1).asker()
            assert after_swap.probe(place.installation, place.store, run_id, 0, asker=asker) == "reporting"
            publication.close(place.installation, place.store, run_id, 0)
        place.store.scrub()
    return home


@contextmanager
def opened(home: Path, corpus: Path) -> Iterator[Place]:
    installation = Installation(load_settings(home, corpus={"path": str(corpus)}))
    place = Place(installation, installation.open_store(), people_of(corpus))
    place.serve("r-1", rules=10**6)
    yield place
    place.fleet.close()
    place.store.close()


@pytest.fixture
def erased(erased_home: Path, corpus: Path, tmp_path: Path) -> Iterator[Place]:
    """The newest of three releases is live at generation 2."""
    shutil.copytree(erased_home, tmp_path / "home")
    with opened(tmp_path / "home", corpus) as place:
        wait_until(lambda: any(r.served == desired(place) and r.settled for r in place.fleet.replicas.values()))
        yield place


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def at_work(erased: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The intake's jobs, carried out at once in this process."""
    gateway = FakeGateway(erased.installation)
    monkeypatch.setattr(control, "_desk", [(erased.installation, erased.store)])
    monkeypatch.setattr(jobs, "current", lambda: jobs.Job(workflow_id="w", run_id="r", attempt=0))
    monkeypatch.setattr(after_swap, "_asker", lambda _: gateway.asker())
    erased.gateway = gateway  # type: ignore[attr-defined]
    return erased


def releases(place: Place) -> list[str]:
    with place.store.read() as session:
        return [one.digest for one in list_releases(session, BASE)]


def tickets(place: Place) -> list[str]:
    with place.store.read() as session:
        return list(get_desired(session, BASE).watermark)


def desired(place: Place) -> tuple[int, str]:
    with place.store.read() as session:
        state = get_desired(session, BASE)
        return state.generation, state.release_digest


def plan(place: Place, kind: release_ops.Kind, target: str | None, *, suppress: bool = False) -> Plan:
    with place.store.read() as session:
        return release_ops.plan(session, kind, target, suppress=suppress)


def order(place: Place, found: Plan, *, suppress: bool = False) -> str:
    with place.store.write() as session:
        return release_ops.order(session, found, actor="key:k", why=WHY, suppress=suppress)


def entries(place: Place, kind: str) -> list[dict[str, Any]]:
    with place.store.read() as session:
        rows = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == kind).order_by(AuditEntryRow.seq))
        return [json.loads(row.payload) for row in rows]


def carry_out_all(place: Place) -> list[tuple[str, str]]:
    """Every open order, oldest first, and what they order in turn."""
    done: list[tuple[str, str]] = []
    while True:
        with place.store.read() as session:
            found = release_ops.open_orders(session)
        if not found:
            return done
        place.gateway.generation = desired(place)[0]  # type: ignore[attr-defined]
        done.append((found[0].kind, control.release_order(found[0].order_id)))


def test_a_rollback_that_would_remember_somebody_is_refused_and_names_the_tickets(erased: Place) -> None:
    zero, one, two = releases(erased)
    found = plan(erased, "rollback", None)
    assert (found.live, found.target, found.generation) == (two, one, 3)
    assert found.uncovered == found.to_suppress == (sorted(set(tickets(erased)))[-1],) or len(found.uncovered) == 1
    assert found.refused == "release.not_coverable"
    with pytest.raises(LetheError) as caught:
        order(erased, found)
    assert caught.value.details == found.uncovered
    assert desired(erased) == (2, two)
    assert zero == RELEASE_0


def test_with_suppression_for_the_difference_it_goes_back_under_a_higher_generation(at_work: Place) -> None:
    _, one, two = releases(at_work)
    found = plan(at_work, "rollback", one, suppress=True)
    assert found.refused is None
    order(at_work, found, suppress=True)
    assert plan(at_work, "rollback", one, suppress=True).refused == "release.busy"
    done = carry_out_all(at_work)
    assert [kind for kind, _ in done] == ["rollback", "recheck"]
    assert desired(at_work) == (3, one)
    with at_work.store.read() as session:
        [row] = suppressions.active(session, base_digest=BASE)
    assert (row.ticket_id, row.reason) == (found.uncovered[0], "rollback")
    report = read_report(at_work.installation.path("reports", row.ticket_id, "report.json"))
    told = {item["path"]: item.get("value") for item in report["points"][9]["items"]}
    assert (told["suppression.state"], told["suppression.reasons"]) == ("confirmed", ["approved", "rollback"])
    [entry] = entries(at_work, "release.rolled_back")
    assert (entry["actor"], entry["generation"], entry["suppress"]) == ("key:k", 3, True)
    assert WHY not in json.dumps(entries(at_work, "release.ordered"))
    assert len(entry["why"]) == 64  # a keyed digest: it can be confirmed later
    # Forward again: who is covered is asked about, and then suppressed no longer.
    order(at_work, plan(at_work, "promote", two))
    assert carry_out_all(at_work) == [("promote", "done"), ("recheck", "done")]
    assert desired(at_work) == (4, two)
    with at_work.store.read() as session:
        assert suppressions.active(session, base_digest=BASE) == []
        assert sealed_items.tickets_with(session, sealed_items.SUPPRESSION)


def test_a_run_after_a_rollback_is_swapped_and_not_asked_about_whom_its_release_does_not_cover(at_work: Place) -> None:
    _, one, _ = releases(at_work)
    found = plan(at_work, "rollback", one, suppress=True)
    order(at_work, found, suppress=True)
    carry_out_all(at_work)
    at_work.filed = 2  # by the place that was copied
    run_id = at_work.released(2)  # from the older release: it does not know the second ticket
    assert publication.swap(at_work.installation, at_work.store, run_id, 0) == "swapping"
    gateway = FakeGateway(at_work.installation, generation=4, tells=set(found.uncovered))
    asker = gateway.asker()
    assert after_swap.probe(at_work.installation, at_work.store, run_id, 0, asker=asker) == "reporting"
    with at_work.store.read() as session:
        assert [row.ticket_id for row in suppressions.active(session, base_digest=BASE)] == list(found.uncovered)
    assert found.uncovered[0] in tickets(at_work)  # the watermark never falls


def test_whose_rule_was_not_kept_cannot_be_suppressed_and_refuses_the_move(erased: Place) -> None:
    with erased.store.write() as session:
        for ticket_id in tickets(erased):
            sealed_items.drop(session, ticket_id, [sealed_items.SUPPRESSION])
    found = plan(erased, "rollback", RELEASE_0, suppress=True)
    assert sorted(found.not_coverable) == sorted(tickets(erased))
    assert found.refused == "release.not_coverable"


@pytest.mark.parametrize(
    ("kind", "target", "code"),
    [("promote", -1, "release.live"), ("rollback", -1, "release.live")],
)
def test_a_move_that_makes_no_sense_is_refused(erased: Place, kind: Any, target: int, code: str) -> None:
    assert plan(erased, kind, releases(erased)[target]).refused == code
    with pytest.raises(LetheError, match=r"release\.not_found"):
        plan(erased, kind, "u-ffff")


def test_a_rollback_does_not_go_to_a_newer_release(at_work: Place) -> None:
    _, one, two = releases(at_work)
    order(at_work, plan(at_work, "rollback", one, suppress=True), suppress=True)
    carry_out_all(at_work)
    assert plan(at_work, "rollback", two).refused == "release.newer"


def test_a_reason_is_sealed_and_can_be_read_by_whoever_has_the_keys(erased: Place) -> None:
    _, one, _ = releases(erased)
    order_id = order(erased, plan(erased, "rollback", one, suppress=True), suppress=True)
    with erased.store.read() as session:
        row = release_ops.get_order(session, order_id)
        assert release_ops.why_of(session, row) == WHY
        assert row.why is not None
        assert WHY.encode() not in row.why


def test_a_move_that_the_fleet_refuses_is_closed_with_the_reason_and_the_old_release_goes_on(at_work: Place) -> None:
    _, one, two = releases(at_work)
    at_work.fleet.replicas["r-1"].refuses = "release.signature"
    order(at_work, plan(at_work, "rollback", one, suppress=True), suppress=True)
    assert carry_out_all(at_work) == [("rollback", "failed"), ("recheck", "done")]
    assert desired(at_work) == (2, two)
    [entry] = entries(at_work, "release.order_failed")
    assert entry["reason_code"] == "swap.refused"
    with at_work.store.read() as session:
        assert suppressions.active(session, base_digest=BASE) == []  # nobody stays suppressed for nothing


def test_a_store_that_is_away_for_a_moment_ends_no_order(at_work: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, _ = releases(at_work)
    order_id = order(at_work, plan(at_work, "rollback", one, suppress=True), suppress=True)

    def busy(*_: object, **__: object) -> None:
        raise LetheError("store.busy", "Another process holds the store.")

    with monkeypatch.context() as patch:
        patch.setattr(release_ops, "swap_to", busy)
        with pytest.raises(LetheError, match=r"store\.busy"):
            control.release_order(order_id)
    assert control.release_order(order_id) == "done"


def test_a_move_forward_that_fails_orders_no_re_check_that_would_order_it_again(at_work: Place) -> None:
    with at_work.store.write() as session:
        release_ops._insert(session, "forward", BASE, releases(at_work)[1], suppress=False, actor="t")
    assert carry_out_all(at_work) == [("forward", "failed")]


def test_a_proposal_that_nobody_carries_out_blocks_no_order(at_work: Place) -> None:
    zero, one, _ = releases(at_work)
    with at_work.store.write() as session:
        everybody = get_desired(session, BASE).watermark
        propose(session, BASE, expected_generation=2, release_digest=zero, prepare_s=0, actor="t", suppressed=everybody)
    assert plan(at_work, "rollback", one, suppress=True).refused is None


def test_an_order_is_carried_out_once_however_often_its_job_is_resumed(at_work: Place) -> None:
    _, one, _ = releases(at_work)
    order_id = order(at_work, plan(at_work, "rollback", one, suppress=True), suppress=True)
    assert release_ops.suppress_uncovered(at_work.store, order_id) == "open"  # killed here, and again from the start
    assert control.release_order(order_id) == "done"
    assert control.release_order(order_id) == "done"
    assert desired(at_work) == (3, one)
    assert len(entries(at_work, "release.rolled_back")) == 1


def test_forward_goes_to_the_newest_that_covers_every_completed_ticket_and_that_no_probes_refuted(
    at_work: Place,
) -> None:
    _, one, _ = releases(at_work)
    at_work.gateway.generation = 2  # type: ignore[attr-defined]
    with at_work.store.write() as session:
        assert release_ops.order_forward(session, BASE, actor="t") is None  # nothing else covers both
        carried = set(get_release(session, one).watermark)
        newest = sorted(set(get_desired(session, BASE).watermark) - carried)
        suppression.suppress_again(session, newest[0], suppression.PROBE_FAILED, actor="t")
        assert release_ops.order_forward(session, BASE, actor="t") is None  # completed: suppressed is not enough
        get_ticket(session, newest[0]).status = TicketStatus.FAILED  # as after probes that failed
        order_id = release_ops.order_forward(session, BASE, actor="t")
        assert order_id is not None
        assert release_ops.get_order(session, order_id).release_digest == one
        assert release_ops.order_forward(session, BASE, actor="t") is None  # one is enough


# -- over HTTP and on the command line ------------------------------------------------------------------------------


def key(place: Place, *scopes: str) -> dict[str, str]:
    with place.store.write() as session:
        made = auth.create_key(session, name="t", scopes=scopes, actor="t")
    return {"Authorization": f"Bearer {made.token}"}


@pytest.fixture
def api(at_work: Place) -> TestClient:
    app = create_app(at_work.installation.settings, open_store=lambda: at_work.store)
    return TestClient(app, raise_server_exceptions=False)


def test_a_move_needs_the_scope_ops_run_and_a_reason(at_work: Place, api: TestClient) -> None:
    path, body = "/v1/releases/rollback", {"why": WHY, "suppress": True}
    assert api.post(path, json=body).status_code == 401
    assert api.post(path, json=body, headers=key(at_work, "ops:read")).status_code == 403
    runs = key(at_work, "ops:run", "ops:read")
    assert api.post(path, json={"suppress": True}, headers=runs).status_code == 422
    planned = api.post(path, json=body, headers=runs)
    assert (planned.status_code, planned.json()["order_id"], planned.json()["refused"]) == (200, None, None)
    assert api.post(path, json={"why": WHY, "apply": True}, headers=runs).status_code == 409
    ordered = api.post(path, json={**body, "apply": True}, headers=runs)
    assert ordered.status_code == 202
    at = f"/v1/releases/orders/{ordered.json()['order_id']}"
    assert api.get(at, headers=runs).json()["status"] == "open"
    carry_out_all(at_work)
    found = api.get(at, headers=runs).json()
    assert (found["status"], found["result"]["generation"], found["actor"][:4]) == ("done", 3, "key:")
    assert api.get("/v1/releases/orders/o-0", headers=runs).status_code == 404
    recheck = api.post("/v1/releases/recheck", headers=runs)
    assert (recheck.status_code, recheck.json()["kind"]) == (202, "recheck")
    promote = api.post(f"/v1/releases/{releases(at_work)[2][-6:]}x/promote", json={"why": WHY}, headers=runs)
    assert promote.status_code == 404


@pytest.fixture
def cli(at_work: Place, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``lethe release`` against the app in this process; waiting for an order carries it out."""
    settings = at_work.installation.settings
    app = create_app(settings, open_store=lambda: at_work.store)
    monkeypatch.setenv("LETHE_HOME", str(settings.home))
    monkeypatch.setattr(ticket_command, "client", lambda: ServiceClient(settings, transport=Inside(app)))

    def carried_out(intake: ServiceClient, order_id: str) -> Any:
        carry_out_all(at_work)
        return intake.get(f"/v1/releases/orders/{order_id}")

    monkeypatch.setattr(release_command, "_wait", carried_out)

    def call(*args: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(release_command.app, [*args, "--json"])
        return done.exit_code, json.loads(done.stdout)

    return call


def test_the_command_line_plans_first_and_does_it_with_yes(at_work: Place, cli: Any) -> None:
    _, one, two = releases(at_work)
    code, told = cli("rollback", "--why", WHY)
    assert (code, told["plan"]["refused"], told["order"]) == (1, "release.not_coverable", None)
    code, told = cli("rollback", "--why", WHY, "--suppress")
    assert (code, told["plan"]["target"], told["order"]) == (0, one, None)
    assert desired(at_work) == (2, two)
    code, told = cli("rollback", "--why", WHY, "--suppress", "--yes")
    assert (code, told["order"]["status"]) == (0, "done")
    code, told = cli("promote", f"u-{two[:64]}", "--why", WHY, "--yes")
    assert (code, told["order"]["result"]["generation"]) == (0, 4)
    code, told = cli("recheck")
    assert (code, told["result"]) == (0, {"outcome": "pass"})


def test_the_list_says_what_is_live_and_what_covers_whom_and_show_what_replicas_said(
    at_work: Place, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, one, two = releases(at_work)
    _, told = cli("list")
    by = {entry["digest"]: entry for entry in told["releases"]}
    assert (by[two]["generation"], by[two]["coverable"], by[two]["missing"]) == (2, True, 0)
    assert (by[one]["generation"], by[one]["coverable"], by[one]["missing"]) == (None, False, 1)
    assert by[zero]["missing"] == 2
    [replica] = told["replicas"]
    assert (replica["replica"], replica["generation"], replica["state"]) == ("r-1", 2, "ready")
    assert replica["acked_at"]
    _, told = cli("show", f"u-{two}")
    assert {row["outcome"] for row in told["rechecks"]} == {"pass"}
    assert [row["replica"] for row in told["replicas"]] == ["r-1"]
    for args in (["list"], ["show", two], ["rollback", "--why", WHY]):
        done = CliRunner().invoke(release_command.app, args)
        assert done.stdout
        assert "Mara" not in done.stdout
