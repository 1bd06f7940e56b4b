import pytest

from policies.conditions import VARIABLES, check_condition, compile_condition
from policies.errors import LetheError


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "!identity.verified && clock.overdue",
        'ticket.ground in ["a", "b"]',
        'ticket.notes.exists(n, n == "child")',
        'ticket.scope.all(s, s.startsWith("private"))',
        "size(ticket.notes) == 1",
        "approvals.given >= approvals.needed",
        "-3 < clock.days_left",
        "(hold.active) == true",
        'has(ticket.ground) && ticket.ground.matches("^w")',
        'ticket.channel == "letter" ? approvals.complete : identity.accepted',
    ],
)
def test_sound_conditions(text: str) -> None:
    assert check_condition(text) == ()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a.b == ", (1, 5), "not a CEL expression"),
        ("", (1, 1), "not a CEL expression"),
        ("subject.email", (1, 1), "unknown variable 'subject'"),
        ('ticket.regme == "gdpr"', (1, 8), "has no field 'regme'"),
        ("identity.verified &&\n  zed.x", (2, 3), "unknown variable 'zed'"),
        ("ticket", (1, 1), "is a group"),
        ("ticket.regime", (1, 1), "must be true or false, but is string"),
        ("clock.days_left", (1, 1), "must be true or false, but is int"),
        ("bogus(ticket.regime)", (1, 1), "unknown function 'bogus'"),
        ("ticket.regime.bogus()", (1, 15), "unknown function 'bogus'"),
        ("hold.active > 3", (1, 1), "compares bool with int"),
        ('hold.active == "yes"', (1, 1), "compares bool with str"),
        ("hold.active < identity.verified", (1, 1), "no order"),
        ("ticket.ground == null", (1, 1), "compares str with null"),
        ("1 / 0 == 1", (1, 1), "modulus or divide by zero"),
        ("identity.verified && !hold.active && ticket.regime.x == 1", (1, 1), "does not support field selection"),
        ('ticket.notes[0] == "x"', (1, 1), "indexing is not supported"),
        (".ticket.regime", (1, 2), "cannot begin with a dot"),
        ("true || " * 300 + "true", (1, 1), "longer than 2000"),
    ],
)
def test_faults_are_placed(text: str, place: tuple[int, int], message: str) -> None:
    fault = check_condition(text)[0]
    assert message in fault.message
    assert (fault.line, fault.column) == place


def test_every_fault_of_a_condition_is_named() -> None:
    assert len(check_condition("foo.a && bar.b && ticket.zed")) == 3


def test_a_faulty_condition_does_not_compile() -> None:
    with pytest.raises(LetheError) as caught:
        compile_condition("foo.a && bar.b")
    assert caught.value.code == "policy.condition_failed"
    assert len(caught.value.details) == 2


def test_a_condition_holds_or_not() -> None:
    condition = compile_condition('ticket.ground == "x" || clock.days_left < 0')
    values = {name: dict(fields) for name, fields in VARIABLES.items()}
    assert condition.holds(values) is False
    values["clock"]["days_left"] = -1
    assert condition.holds(values) is True


def test_what_cannot_be_told_decides_nothing() -> None:
    condition = compile_condition("10 / clock.days_left > 0")
    values = {name: dict(fields) for name, fields in VARIABLES.items()}
    values["clock"]["days_left"] = 0
    with pytest.raises(LetheError, match="divide by zero"):
        condition.holds(values)


def test_no_variable_can_hold_an_identifier() -> None:
    names = {field for fields in VARIABLES.values() for field in fields}
    assert not names & {"subject", "value", "email", "name", "phone", "address", "id"}
