"""The exported log: whatever is done to the file is found, a cut tail with a checkpoint from elsewhere."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.errors import LetheError
from services import keys
from services.audit import bundle, checkpoints
from services.audit.bundle import AuditVerification, verify
from services.audit.checkpoints import SignedCheckpoint
from services.audit.entry import GENESIS, OPENED, AuditEntry, chain, timestamp

ENTRIES = 9
COVERED = (3, 6, 9)  # sizes at which a checkpoint was signed
FILE_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@dataclass(frozen=True)
class Example:
    file: Path
    trust: keys.TrustBundle
    points: tuple[SignedCheckpoint, ...]
    lines: tuple[bytes, ...]

    def verify(self, data: bytes, checkpoint: SignedCheckpoint | None = None) -> AuditVerification:
        self.file.write_bytes(data)
        return verify(self.file, self.trust, checkpoint)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    home = tmp_path_factory.mktemp("home")
    trust = keys.ensure(home)
    key = keys.load_private(home, "audit")
    parts: list[AuditEntry | SignedCheckpoint] = []
    head, at = GENESIS, timestamp(datetime.now(UTC))
    for seq in range(1, ENTRIES + 1):
        payload = {"origin": "log-1"} if seq == 1 else {"ticket": f"t-{seq}", "share": seq / 7}
        kind = OPENED if seq == 1 else "ticket.approved"
        entry = chain(seq=seq, at=at, kind=kind, subject=f"c{seq}", payload=payload, prev=head)
        head = entry.hash
        parts.append(entry)
        if seq in COVERED:
            number = COVERED.index(seq) + 1
            parts.append(checkpoints.sign(key, origin="log-1", number=number, size=seq, head=head, at=at))
    lines = tuple(bundle.write_lines("log-1", parts))
    points = tuple(part for part in parts if isinstance(part, SignedCheckpoint))
    return Example(home / "log.jsonl", trust, points, lines)


def test_the_untouched_log_is_right(example: Example) -> None:
    data = b"".join(example.lines)
    result = example.verify(data, example.points[-1])
    assert (result.ok, result.entries, result.checkpoints, result.tail) == (True, ENTRIES, 3, "checked")
    assert result.faults == ()
    for point in example.points:  # an older checkpoint from elsewhere fits as well
        assert example.verify(data, point).ok


def test_without_a_checkpoint_the_result_says_what_cannot_be_found(example: Example) -> None:
    result = example.verify(b"".join(example.lines))
    assert result.ok
    assert result.tail == "not_checkable"
    assert "cannot be found" in result.note


def test_every_single_byte_changed_is_found(example: Example) -> None:
    """Each in turn by its lowest bit, the next by the one that is a letter's case, the next by its highest."""
    whole = bytearray(b"".join(example.lines))
    missed = []
    for position in range(len(whole)):
        bits = (0x01, 0x20, 0x80)[position % 3]
        whole[position] ^= bits
        if example.verify(bytes(whole)).ok:
            missed.append(position)
        whole[position] ^= bits
    assert missed == []


@given(data=st.data())
@settings(FILE_SETTINGS, max_examples=400)
def test_any_byte_changed_is_found(example: Example, data: st.DataObject) -> None:
    whole = bytearray(b"".join(example.lines))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    assert not example.verify(bytes(whole)).ok


@given(data=st.data())
@FILE_SETTINGS
def test_any_byte_added_or_removed_is_found(example: Example, data: st.DataObject) -> None:
    whole = bytearray(b"".join(example.lines))
    position = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole.insert(position, data.draw(st.sampled_from(b' \t\r\n0a"{}')))
    else:
        del whole[position]
    if bytes(whole) != b"".join(example.lines):
        assert not example.verify(bytes(whole)).ok


@pytest.mark.parametrize("index", range(ENTRIES + len(COVERED) + 1))
def test_any_line_dropped_is_found(example: Example, index: int) -> None:
    assert not example.verify(b"".join(line for i, line in enumerate(example.lines) if i != index)).ok


@given(order=st.permutations(range(ENTRIES + len(COVERED) + 1)))
@FILE_SETTINGS
def test_any_other_order_is_found(example: Example, order: list[int]) -> None:
    result = example.verify(b"".join(example.lines[i] for i in order))
    assert result.ok == (order == sorted(order))


@pytest.mark.parametrize("index", range(ENTRIES + len(COVERED) + 1))
def test_any_line_repeated_is_found(example: Example, index: int) -> None:
    lines = [*example.lines[: index + 1], example.lines[index], *example.lines[index + 1 :]]
    assert not example.verify(b"".join(lines)).ok


@pytest.mark.parametrize("kept", range(ENTRIES + len(COVERED) + 1))
def test_a_cut_tail_is_found_with_the_checkpoint(example: Example, kept: int) -> None:
    data = b"".join(example.lines[:kept])
    found = example.verify(data, example.points[-1])
    assert not found.ok
    entries_cut = kept < ENTRIES + len(COVERED)  # the last line is a checkpoint
    assert ("outside.tail_cut" if entries_cut else "file.end_not_signed") in {fault.code for fault in found.faults}
    # Without one, a cut right behind a checkpoint is the one thing that cannot be found; the result says so.
    alone = example.verify(data)
    ends_signed = kept > 0 and b'"checkpoint"' in example.lines[kept - 1]
    assert alone.ok == ends_signed
    assert alone.tail == "not_checkable"


def test_a_chain_computed_anew_is_found_by_the_signature(example: Example) -> None:
    lines, head = [example.lines[0]], GENESIS
    for line in example.lines[1:]:
        value = json.loads(line)
        if "entry" not in value:
            lines.append(line)
            continue
        entry = value["entry"]
        payload = {"ticket": "t-0"} if entry["seq"] == 5 else entry["payload"]
        forged = chain(
            seq=entry["seq"],
            at=entry["at"],
            kind=entry["kind"],
            subject=entry["subject"],
            payload=payload,
            prev=head,
        )
        head = forged.hash
        lines += [*bundle.write_lines("log-1", [forged])][1:]
    result = example.verify(b"".join(lines))
    assert {fault.code for fault in result.faults} == {"checkpoint.mismatch"}


def test_a_log_signed_by_somebody_else_is_found(example: Example, tmp_path: Path) -> None:
    example.file.write_bytes(b"".join(example.lines))
    result = verify(example.file, keys.ensure(tmp_path))
    assert {fault.code for fault in result.faults} == {"checkpoint.key_unknown"}


def test_a_key_of_another_purpose_signs_no_checkpoint(example: Example) -> None:
    home = example.file.parent
    point = example.points[-1].checkpoint
    forged = checkpoints.sign(
        keys.load_private(home, "verdict"),
        origin=point.origin,
        number=point.number,
        size=point.size,
        head=point.head,
        at=point.at,
    )
    result = example.verify(b"".join(example.lines), forged)
    assert {fault.code for fault in result.faults} == {"outside.key_unknown"}


def test_a_checkpoint_of_another_log_is_found(example: Example) -> None:
    point = example.points[-1].checkpoint
    key = keys.load_private(example.file.parent, "audit")
    other = checkpoints.sign(key, origin="log-2", number=1, size=point.size, head="0" * 64, at=point.at)
    result = example.verify(b"".join(example.lines), other)
    assert {fault.code for fault in result.faults} == {"outside.head", "outside.origin"}


def test_checkpoint_files_are_read_back_and_refused_when_damaged(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    checkpoints.write(path, example.points[0])
    assert checkpoints.read(path) == example.points[0]
    for text in ("", "{}", "[]", "null", json.dumps({"checkpoint": {"size": "x"}, "signature": 1})):
        path.write_text(text)
        with pytest.raises(LetheError, match=r"audit\.unreadable"):
            checkpoints.read(path)
    with pytest.raises(LetheError, match=r"audit\.unreadable"):
        checkpoints.read(tmp_path / "none.json")


def test_a_missing_file_is_named(example: Example, tmp_path: Path) -> None:
    with pytest.raises(LetheError, match=r"audit\.unreadable"):
        verify(tmp_path / "none.jsonl", example.trust)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"format":"lethe-audit/1","origin":1}\n',
        b'{"format":"lethe-audit/1","origin":"log-1"}\n',
        b"[" * 100_000 + b"\n",
        b'{"format":"lethe-audit/1","origin":"log-1"}\n{"entry":[]}\n{"other":1}\n{"checkpoint":1,"signature":2}\n',
    ],
)
def test_garbage_is_a_finding_and_never_a_crash(example: Example, data: bytes) -> None:
    assert not example.verify(data).ok


def test_the_result_is_json(example: Example) -> None:
    result = example.verify(b"".join(example.lines[:-1]))
    assert json.loads(json.dumps(result.to_json()))["faults"] == [{"line": 12, "code": "file.end_not_signed"}]
