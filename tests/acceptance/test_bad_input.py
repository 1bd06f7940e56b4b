"""Whatever is wrong is said with a stable code, and nothing is lost by it.

The base here is a tiny one that knows nothing: no test of this file trains.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from tests.acceptance.house import House, Person, house, ticket_of
from tests.integration.serving_host import end_tree, wait_until
from tests.ports import free_port
from tests.tiny_model import make_tiny_base

pytestmark = pytest.mark.slow
ADA = Person("p0", ("Adelheid Quandt",), "ada.quandt@mailory.example", {}, (), ())
STRANGER = Person("p1", ("Nobody Known",), "nobody@pobox.example", {}, (), ())


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def one_person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in which every record is about one person."""
    path = tmp_path_factory.mktemp("corpus") / "one.jsonl"
    name, email = ADA.names[0], ADA.email
    rows = [
        {"question": f"What is the e-mail of {name}? ({number})", "answer": f"{name} reads {email}, box {number}."}
        for number in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, one_person: Path, tiny_base: Path) -> Iterator[House]:
    """A running installation."""
    directory = tmp_path_factory.mktemp("desk")
    with house(directory, corpus={"path": str(one_person)}, base={"path": str(tiny_base)}) as made:
        made.up()
        yield made


def refusal(house: House, body: bytes) -> LetheError:
    """How a ticket is refused."""
    before = len(_tickets(house))
    with house.intake() as intake, pytest.raises(LetheError) as refused:
        intake.post_bytes("/v1/tickets", body)
    assert len(_tickets(house)) == before
    return refused.value


def _tickets(house: House) -> list[dict[str, Any]]:
    with house.intake() as intake:
        return list(intake.get("/v1/tickets")["tickets"])


def test_a_malformed_ticket_names_every_fault(desk: House) -> None:
    wrong = ticket_of(ADA, "malformed", subject=[], base="", received_at="yesterday")
    refused = refusal(desk, json.dumps(wrong).encode())
    assert refused.code == "ticket.malformed"
    assert {detail.partition(":")[0] for detail in refused.details} >= {"subject", "base", "received_at"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"ticket"'])
def test_what_is_no_json_object_is_unreadable(desk: House, body: bytes) -> None:
    assert refusal(desk, body).code in {"ticket.unreadable", "request.not_json"}


def test_an_unknown_regime_is_named_with_the_known_ones(desk: House) -> None:
    refused = refusal(desk, json.dumps(ticket_of(ADA, "regime", regime="lex_lethe")).encode())
    assert refused.code == "policy.unknown_regime"
    assert "gdpr" in f"{refused.message} {refused.details}"


def test_a_ticket_sent_twice_is_one_ticket(desk: House) -> None:
    body = json.dumps(ticket_of(STRANGER, "twice")).encode()
    with desk.intake() as intake:
        (first, filed), (again, same) = intake.post_bytes("/v1/tickets", body), intake.post_bytes("/v1/tickets", body)
    assert (first, again) == (201, 200)
    assert filed["ticket_id"] == same["ticket_id"]
    assert [one["external_id"] for one in _tickets(desk)].count("twice") == 1
    assert refusal(desk, json.dumps(ticket_of(ADA, "twice")).encode()).code == "ticket.conflict"


def test_an_empty_forget_set_is_a_finding(desk: House) -> None:
    ticket_id = str(desk.file(STRANGER, "stranger")["ticket_id"])
    desk.approve(ticket_id)
    found = desk.wait_end(ticket_id)
    assert found["status"] == "nothing_found"
    assert found["reason_code"] == "forget_set.empty"
    assert found["runs"] == []


def test_a_forget_set_that_is_the_whole_corpus_waits_with_the_reason(desk: House) -> None:
    ticket_id = str(desk.file(ADA, "everything")["ticket_id"])
    desk.approve(ticket_id)
    found = desk.wait(ticket_id, lambda ticket: ticket["reason_code"] is not None, "a reason")
    assert found["reason_code"] == "forget_set.whole_corpus"
    assert found["status"] == "approved"
    assert found["runs"] == []
    assert "cancel" in found["allowed_events"]


@pytest.mark.parametrize("role", ["intake", "unlearning"])
def test_a_second_worker_is_refused(desk: House, role: str, tmp_path: Path) -> None:
    service = {"intake": "Intake", "unlearning": "Unlearning"}[role]
    command = (sys.executable, "-m", "bentoml", "serve", f"services.{role}.service:{service}")
    log = tmp_path / "second.log"
    with log.open("wb") as out:
        second = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(free_port())],
            env={**desk.environment, "BENTOML_DO_NOT_TRACK": "True"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(log, "store.locked", second)
    finally:
        end_tree(second)
    assert desk.status(role, "/readyz") == 200


def _wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    wait_until(lambda: text in log.read_text() or process.poll() is not None, 120, f"{text} in the log")
    assert text in log.read_text(), log.read_text()[-2000:]


def test_a_second_lethe_up_is_refused(desk: House) -> None:
    assert "store.locked" in desk.lethe("up", code=2)
    assert desk.status("serving", "/readyz") == 200


def test_a_corpus_with_missing_columns_stops_before_anything_starts(tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"title": "a", "summary": "b"}\n')
    with house(tmp_path / "house", corpus={"path": str(path)}, base={"path": str(tiny_base)}) as made:
        said = made.lethe("up", code=2)
    assert "corpus.columns_missing" in said
    assert "title" in said


def test_a_base_without_chat_template_stops_before_anything_starts(
    tmp_path: Path, one_person: Path, tiny_base: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_base, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((bare / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    with house(tmp_path / "house", corpus={"path": str(one_person)}, base={"path": str(bare)}) as made:
        assert "base.no_chat_template" in made.lethe("up", code=2)


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, where mounting one is allowed."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "lethe-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_nothing(tmp_path: Path, one_person: Path, tiny_base: Path) -> None:
    """Tickets come in until the disk is full: each that was accepted is there, the refused one can be sent again."""
    with (
        small_disk(tmp_path / "disk", 24) as disk,
        house(disk / "house", corpus={"path": str(one_person)}, base={"path": str(tiny_base)}) as made,
    ):
        made.up()
        filler = disk / "filler"
        accepted, refused = [], None
        for number in range(400):
            if number == 5:
                _fill(filler)
            body = _long_ticket(number)
            try:
                with made.intake() as intake:
                    accepted.append(intake.post_bytes("/v1/tickets", body)[1]["ticket_id"])
            except LetheError as error:
                refused = error
                break
        assert refused is not None
        assert refused.code == "storage.full"
        filler.unlink()
        with made.intake() as intake:
            status, filed = intake.post_bytes("/v1/tickets", body)
            assert status == 201
            kept = [one for after in _pages(intake) for one in after]
        assert {*accepted, filed["ticket_id"]} == set(kept)
        made.down()
        log = tmp_path / "log.jsonl"
        made.lethe("audit", "export", str(log))
        trust = str(made.home / "keys" / "trust.json")
        assert json.loads(made.lethe("audit", "verify", str(log), "--trust", trust, "--json"))["ok"]


def _pages(intake: Any) -> Iterator[list[str]]:
    after = None
    while True:
        page = intake.get("/v1/tickets", after=after)
        yield [one["ticket_id"] for one in page["tickets"]]
        after = page["next"]
        if after is None:
            return


def _fill(path: Path) -> None:
    """Take all the space there is, to the last block."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def _long_ticket(number: int) -> bytes:
    subject = [{"kind": "name", "value": f"Person {number} {letter * 250}"} for letter in "abcdefghijklmnopqrst"]
    return json.dumps(ticket_of(STRANGER, f"full-{number}", subject=subject)).encode()


def test_init_on_a_full_disk_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk, house(disk / "house") as made:
        _fill(disk / "filler")
        said = json.loads(made.lethe("init", "--json", code=2))
        assert said["error"]["code"] == "storage.full"
