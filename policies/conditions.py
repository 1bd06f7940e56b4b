"""Conditions of a policy pack, in CEL (Common Expression Language).

A condition sees the variables of ``VARIABLES`` and nothing else: no identifier of the subject, no text, no clock of its
own. It is compiled and tried out when the pack is loaded, so that a mistake shows then and not on the day of a ticket.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from policies.errors import LetheError

# variable -> field -> an example of its type. What a condition may look at, and the documentation of it.
VARIABLES: dict[str, dict[str, object]] = {
    "ticket": {
        "regime": "gdpr",
        "request_type": "erasure",
        "ground": "withdrawn_consent",
        "channel": "api",
        "base": "demo",
        "scope": ["*"],
        "notes": ["child"],
        "identifier_kinds": ["email", "name"],
        "by_agent": False,
    },
    "identity": {"verified": False, "accepted": False, "method": "email_code"},
    "approvals": {"given": 0, "needed": 1, "complete": False},
    "hold": {"active": False},
    "clock": {"days_since_receipt": 0, "days_left": 30, "overdue": False, "confirm_overdue": False, "extended": False},
}
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_FUNCTIONS = frozenset({"size", "has", "int", "uint", "double", "string", "bool", "type"})
_METHODS = frozenset({"size", "startsWith", "endsWith", "contains", "matches"})
_LITERALS = {"STRING_LIT": "str", "INT_LIT": "int", "BOOL_LIT": "bool", "NULL_LIT": "null"}
_MAX_LENGTH = 2000
_MAX_TRIES = 64


@dataclass(frozen=True, slots=True)
class ConditionFault:
    """What is wrong with a condition; ``line`` and ``column`` count from 1 inside the condition's own text."""

    message: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Values:
    """The variables of one decision in CEL's own types, made once for all the conditions of a pack."""

    cel: Any

    @classmethod
    def of(cls, variables: Mapping[str, Mapping[str, object]]) -> "Values":
        """From plain values."""
        import celpy

        return cls(celpy.json_to_cel(_plain(variables)))


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition."""

    text: str
    program: Any

    def holds(self, values: Values | Mapping[str, Mapping[str, object]]) -> bool:
        """Whether the condition is true for these values.

        Raises:
            LetheError: ``policy.condition_failed``; a condition that cannot be told true or false decides nothing.
        """
        import celpy

        try:
            result = self.program.evaluate((values if isinstance(values, Values) else Values.of(values)).cel)
        except celpy.CELEvalError as error:
            raise LetheError("policy.condition_failed", f"the condition {self.text!r}: {_first_words(error)}") from None
        if type(result).__name__ not in {"BoolType", "bool"}:
            raise LetheError("policy.condition_failed", f"the condition {self.text!r} is neither true nor false")
        return bool(result)


@lru_cache(maxsize=1024)
def compile_condition(text: str) -> Condition:
    """A condition that has been checked.

    Raises:
        LetheError: ``policy.condition_failed`` with every fault in the details.
    """
    faults = check_condition(text)
    if faults:
        details = tuple(f"{fault.line}:{fault.column}: {fault.message}" for fault in faults)
        raise LetheError("policy.condition_failed", f"the condition {text!r} has {len(faults)} fault(s)", details)
    return Condition(text, _environment().program(_environment().compile(text)))


def check_condition(text: str) -> tuple[ConditionFault, ...]:
    """Every fault of a condition: syntax, unknown names, types, and a result that is neither true nor false."""
    import celpy

    if len(text) > _MAX_LENGTH:
        return (ConditionFault(f"longer than {_MAX_LENGTH} characters"),)
    try:
        tree = _environment().compile(text)
    except celpy.CELParseError as error:
        return (ConditionFault("not a CEL expression", error.line or 1, error.column or 1),)
    faults = tuple(_unknown_names(tree)) + tuple(_odd_comparisons(tree))
    return faults or tuple(_try_out(text, tree))


@lru_cache(maxsize=1)
def _environment() -> Any:
    import celpy  # a third of a second: only when a pack is read

    return celpy.Environment()


def _unknown_names(tree: Any) -> Iterator[ConditionFault]:
    bound = _bound_names(tree)
    fields_of = {id(root): field for node in tree.find_data("member_dot") for root, field in _root_and_field(node)}
    for node in tree.find_data("ident"):
        name = node.children[0]
        if str(name) in bound:
            continue
        if str(name) not in VARIABLES:
            yield _at(name, f"unknown variable {str(name)!r}; known: {', '.join(VARIABLES)}")
            continue
        field = fields_of.get(id(node))
        if field is None:
            yield _at(name, f"{str(name)!r} is a group: name one of its fields, {_fields(str(name))}")
        elif str(field) not in VARIABLES[str(name)]:
            yield _at(field, f"{str(name)!r} has no field {str(field)!r}; it has {_fields(str(name))}")
    for node in itertools.chain(tree.find_data("ident_arg"), tree.find_data("dot_ident_arg")):
        if str(node.children[0]) not in _FUNCTIONS:
            yield _at(node.children[0], f"unknown function {str(node.children[0])!r}")
    for node in tree.find_data("member_dot_arg"):
        if str(node.children[1]) not in _METHODS | _MACROS:
            yield _at(node.children[1], f"unknown function {str(node.children[1])!r}")
    for node in tree.find_data("dot_ident"):
        yield _at(node.children[0], "a name cannot begin with a dot")
    for node in tree.find_data("member_index"):
        yield ConditionFault("indexing is not supported: use `in`, exists() or all()", node.meta.line, node.meta.column)


def _bound_names(tree: Any) -> frozenset[str]:
    """The names that exists(), all() and their kin introduce."""
    names = set()
    for node in tree.find_data("member_dot_arg"):
        if str(node.children[1]) in _MACROS and len(node.children) > 2:
            first = next(iter(node.children[2].children[0].find_data("ident")), None)
            if first is not None:
                names.add(str(first.children[0]))
    return frozenset(names)


def _root_and_field(node: Any) -> Iterator[tuple[Any, Any]]:
    """For ``ticket.regime``: the tree of ``ticket`` and the token ``regime``."""
    member, field = node.children
    if len(member.children) == 1 and member.children[0].data == "primary":
        inner = member.children[0].children[0]
        if inner.data == "ident":
            yield inner, field


def _odd_comparisons(tree: Any) -> Iterator[ConditionFault]:
    """Comparisons that CEL lets pass and that can never mean anything: ``hold.active == "yes"`` is silently false."""
    for node in tree.find_data("relation"):
        if len(node.children) != 2:
            continue
        left, operator = _type_of(node.children[0].children[0]), str(node.children[0].data).removeprefix("relation_")
        right = _type_of(node.children[1])
        if operator == "in" or "unknown" in (left, right):
            continue
        if left != right:
            yield ConditionFault(f"compares {left} with {right}", node.meta.line, node.meta.column)
        elif left == "bool" and operator not in {"eq", "ne"}:
            yield ConditionFault("true and false have no order", node.meta.line, node.meta.column)


def _type_of(tree: Any) -> str:
    """The type of a plain operand (a literal, ``variable.field``, ``size(…)``); "unknown" for anything else."""
    while len(tree.children) == 1 and hasattr(tree.children[0], "data"):
        tree = tree.children[0]
    if tree.data == "literal":
        return _LITERALS.get(tree.children[0].type, "unknown")
    if tree.data == "ident_arg" and str(tree.children[0]) == "size":
        return "int"
    if tree.data == "member_dot":
        for root, field in _root_and_field(tree):
            example = VARIABLES.get(str(root.children[0]), {}).get(str(field))
            return "unknown" if example is None else type(example).__name__
    return "unknown"


def _try_out(text: str, tree: Any) -> Iterator[ConditionFault]:
    """Runs the condition over every combination of the booleans it names, so that no branch hides a wrong type."""
    import celpy

    program = _environment().program(tree)
    flags = [(v, f) for v, fields in VARIABLES.items() for f, x in fields.items() if x is True or x is False]
    used = [(v, f) for v, f in flags if f"{v}.{f}" in text]
    for states in itertools.islice(itertools.product((False, True), repeat=len(used)), _MAX_TRIES):
        values = {variable: dict(fields) for variable, fields in VARIABLES.items()}
        for (variable, field), state in zip(used, states, strict=True):
            values[variable][field] = state
        try:
            result = program.evaluate(celpy.json_to_cel(values))
        except celpy.CELEvalError as error:
            yield ConditionFault(_first_words(error))
            return
        if type(result).__name__ not in {"BoolType", "bool"}:
            yield ConditionFault(f"must be true or false, but is {type(result).__name__.removesuffix('Type').lower()}")
            return


def _at(token: Any, message: str) -> ConditionFault:
    return ConditionFault(message, token.line or 1, token.column or 1)


def _fields(variable: str) -> str:
    return ", ".join(VARIABLES[variable])


def _first_words(error: Exception) -> str:
    first = str(error.args[0]) if error.args else "cannot be evaluated"
    return first.splitlines()[0][:200]


def _plain(values: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    return {variable: dict(fields) for variable, fields in values.items()}
