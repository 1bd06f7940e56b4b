from pathlib import Path

import pytest

from policies.deadlines import Period
from policies.errors import LetheError
from policies.pack import PACKS, PackData, builtin_packs, load_pack
from policies.pack_check import check_pack
from policies.thresholds import FLOOR
from policies.ticket import BUILTIN_REGIMES

GDPR = (PACKS / "gdpr.yaml").read_text()


def write(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = GDPR
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_the_builtin_packs_are_the_known_regimes() -> None:
    assert builtin_packs() == BUILTIN_REGIMES


@pytest.mark.parametrize("name", BUILTIN_REGIMES)
def test_a_builtin_pack_is_sound(name: str) -> None:
    assert check_pack(name) == []
    pack = load_pack(name)
    assert pack.regime == name
    assert pack.origin == "builtin"
    assert pack.thresholds.at_least_as_strict_as(FLOOR)
    assert pack.data.rules[-1].when == "true"
    assert pack.data.rules[0].outcome == "hold", "a hold is looked at before anything else"
    # Whatever a pack keeps by category is a choice of the organisation and must say so.
    assert all(exemption.basis == "house" for exemption in pack.data.exemptions if exemption.keeps)


def test_the_digest_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    same = write(tmp_path, ("sources:\n", "# a comment\nsources:\n"))
    assert load_pack(same).digest == load_pack("gdpr").digest
    assert load_pack(same).origin == "mine.yaml"
    other = write(tmp_path, ("review_days: 90", "review_days: 91"))
    assert load_pack(other).digest != load_pack("gdpr").digest


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    first = load_pack(write(tmp_path))
    assert load_pack(write(tmp_path, ("version: 1.2.0", "version: 10.0.0"))).version == "10.0.0"
    assert first.version == "1.2.0"


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("regime: gdpr\n", "regime: gdpr\nregime: gdpr\n", "regime", "there twice"),
        ("version: 1.2.0", "version: 1.0", "version", "valid string"),
        ("keep_probes: sealed", "keep_probes: maybe", "keep_probes", "'sealed' or 'none'"),
        ("keep_probes: sealed", "keep_probes: none", "retention.sealed_months", "must be 0"),
        ("sealed_months: 24", "sealed_months: 0", "retention.sealed_months", "more than 0"),
        ("kfr_min: 0.95", "kfr_min: 0.5", "thresholds.kfr_min", "weaker than the floor of 0.9"),
        ("ppl_ratio_max: 2.0", "ppl_ratio_max: 9.0", "thresholds.ppl_ratio_max", "weaker than the floor"),
        ("kfr_min: 0.95", "kfr_minimum: 0.95", "thresholds.kfr_minimum", "did you mean kfr_min?"),
        ("kfr_min: 0.95", "kfr_min: .nan", "thresholds.kfr_min", "finite number"),
        ("when: hold.active", "when: hold.activ", "rules.0.when", "has no field 'activ'"),
        ("id: approval\n", "id: legal-hold\n", "rules.3.id", "'legal-hold' is there twice"),
        ("    article: Art. 12(6)\n    when", "    when", "rules.1.article", "missing"),
        ("article: Art. 5(2)\n    when", "article: Art. 99\n    when", "rules.3.article", "not among the sources"),
        ("outcome: hold", "outcome: wait", "rules.0.outcome", "'approve', 'deny'"),
        ("letter: held", "letter: helt", "rules.0.letter", "there is no letter 'helt'"),
        ("fallback: in_review", "fallback: none_such", "letters.fallback", "there is no letter"),
        ('when: "!approvals.complete"', 'when: "true"', "rules.4", "never reached: the rule 'approval'"),
        ("answer: {months: 1,", "answer: {months: 1, days: 30,", "deadlines.answer", "exactly one of"),
        ("roles: [privacy_officer, approver, admin]", "roles: []", "approval.roles", "no role may give one"),
        ("approvals: 1", "approvals: lots", "approval.approvals", "valid integer"),
        ("keeps: [public.*]", "keeps: []", "exemptions.0", "keeps nothing"),
        ("keeps: [public.*]", 'keeps: ["*"]', "exemptions.0.keeps", "keeps everything"),
        ("enabled: true", "enabeld: true", "exemptions.0.enabeld", "did you mean enabled?"),
        ("zone: UTC", "zone: UTC\nextra: 1", "extra", "unknown key"),
        ("identity:\n  required: true", "identity:\n  required: yes please", "identity.required", "valid boolean"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, where: str, message: str) -> None:
    path = write(tmp_path, (old, new))
    found = [fault for fault in check_pack(path) if fault.path == where]
    assert found, check_pack(path)
    assert message in found[0].message
    lines = path.read_text().splitlines()
    assert 1 <= found[0].line <= len(lines)
    last_part = where.split(".")[-1]
    if not last_part.isdigit() and message not in {"missing", "keeps nothing"}:
        assert last_part in lines[found[0].line - 1]


def test_every_fault_is_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ("version: 1.2.0", "version: one"),
        ("enabled: true", "enabeld: true"),
        ("when: hold.active", "when: hold.activ && nobody.there"),
        ("id: approval\n", "id: legal-hold\n"),
        ("    article: Art. 12(6)\n    when", "    when"),
        ("kfr_min: 0.95", "kfr_min: 0.1"),
        ("ls_ratio_min: 0.9", "ls_ratio_min: high"),
        ("sealed_months: 24", "sealed_months: -1"),
    )
    found = check_pack(path)
    assert [fault.path for fault in found] == [
        "version",
        "exemptions.0.enabeld",
        "rules.0.when",
        "rules.0.when",
        "rules.1.article",
        "rules.3.id",
        "thresholds.kfr_min",
        "thresholds.ls_ratio_min",
        "retention.sealed_months",
    ]
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)
    assert found[2].line == line_of(path, "hold.activ &&")
    assert path.read_text().splitlines()[found[3].line - 1][found[3].column - 1 :].startswith("nobody")
    with pytest.raises(LetheError) as caught:
        load_pack(path)
    assert caught.value.code == "policy.pack_invalid"
    assert len(caught.value.details) == len(found)


def test_a_quoted_and_a_folded_condition_are_placed_too(tmp_path: Path) -> None:
    quoted = check_pack(write(tmp_path, ('when: "!approvals.complete"', 'when: "!approvals.compleat"')))[0]
    assert quoted.message.startswith("condition: 'approvals' has no field")
    line = GDPR.splitlines()[quoted.line - 1].replace("complete", "compleat")
    assert line[quoted.column - 1 :].startswith("compleat")
    path = write(tmp_path, ('when: "!approvals.complete"', "when: |\n      identity.verified &&\n      zed.x"))
    block = check_pack(path)[0]
    assert block.line == line_of(path, "zed.x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not YAML"),
        ("a: [1", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: &x 1\nb: *x", "aliases are not allowed"),
        ("a: !!python/object:os.system 1", "not YAML"),
        ("- 1", "an object"),
        ("just text", "an object"),
        ("\t", "not YAML"),
    ],
)
def test_what_is_no_pack_at_all(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    found = check_pack(path)
    assert message in found[0].message
    with pytest.raises(LetheError, match="pack_invalid"):
        load_pack(path)


def test_bytes_that_are_no_text_and_a_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe")
    assert check_pack(path)[0].message == "not UTF-8"
    path.write_bytes(b"#" * 600_000)
    assert "larger than" in check_pack(path)[0].message


def test_a_pack_that_is_not_there() -> None:
    with pytest.raises(LetheError, match="gdpr, lgpd") as caught:
        load_pack("no/such.yaml")
    assert caught.value.code == "policy.pack_not_found"


def test_every_field_of_a_pack_is_listed_once() -> None:
    assert set(PackData.model_fields) >= {"regime", "version", "rules", "thresholds", "keep_probes", "retention"}
    assert str(Period(months=2, article="x")) == "2 calendar months"
