"""A condition of a policy pack, which is CEL, in words for those who answer for it.

It knows comparisons of the variables that a condition may look at, joined by and, or, not. What it does not know it
leaves alone: the page then shows the condition as it is written.
"""

import re

_TOKEN = re.compile(r'\s*(&&|\|\||==|!=|<=|>=|<|>|!|\(|\)|\[|\]|,|"[^"\\]*"|\'[^\'\\]*\'|-?\d+|[A-Za-z_][\w.]*)')
_TRUTHS = {
    "true": ("always", "never"),
    "false": ("never", "always"),
    "identity.verified": ("the identity is verified", "the identity is not verified"),
    "identity.accepted": (
        "the identity was checked by a method that this policy accepts",
        "the identity was checked by a method that this policy does not accept",
    ),
    "approvals.complete": ("every approval that is needed is given", "an approval is still missing"),
    "hold.active": ("a legal hold stands", "no legal hold stands"),
    "clock.overdue": ("the answer is late", "the answer is not late yet"),
    "clock.confirm_overdue": ("the confirmation of receipt is late", "the confirmation of receipt is not late"),
    "clock.extended": ("the period was extended", "the period was not extended"),
    "ticket.by_agent": ("an agent asks for the person", "the person asks without an agent"),
}
_THINGS = {
    "ticket.regime": "the law",
    "ticket.request_type": "the kind of request",
    "ticket.ground": "the ground",
    "ticket.channel": "the way it came in",
    "ticket.base": "the base model",
    "ticket.scope": "what is to be erased",
    "ticket.notes": "the notes",
    "ticket.identifier_kinds": "the kinds of identifiers",
    "identity.method": "the method of the identity check",
    "approvals.given": "the number of approvals given",
    "approvals.needed": "the number of approvals needed",
    "clock.days_since_receipt": "the number of days since receipt",
    "clock.days_left": "the number of days left",
}
_SIGNS = {"==": "is", "!=": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least"}


class _Unknown(Exception):
    """Something that has no words here."""


def in_words(condition: str) -> str | None:
    """The condition as a clause that follows "when"; None where it has parts that are not known here."""
    try:
        return _Reader(_tokens(condition)).whole()
    except _Unknown:
        return None


def _tokens(text: str) -> list[str]:
    found, place, text = [], 0, text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _Unknown
        found.append(match[1])
        place = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._left = tokens

    def whole(self) -> str:
        said = self._any()
        if self._left:
            raise _Unknown
        return said

    def _take(self, *wanted: str) -> str | None:
        return self._left.pop(0) if self._left and self._left[0] in wanted else None

    def _next(self) -> str:
        if not self._left:
            raise _Unknown
        return self._left.pop(0)

    def _any(self) -> str:
        parts = [self._all()]
        while self._take("||"):
            parts.append(self._all())
        return ", or ".join(parts)

    def _all(self) -> str:
        parts = [self._one()]
        while self._take("&&"):
            parts.append(self._one())
        return " and ".join(parts)

    def _one(self) -> str:
        negated = self._take("!") is not None
        if self._take("("):
            said = self._any()
            if not self._take(")"):
                raise _Unknown
            return f"it is not so that {said}" if negated else f"({said})" if " or " in said else said
        name = self._next()
        if name in _TRUTHS:
            return _TRUTHS[name][negated]
        if negated:
            raise _Unknown
        return self._comparison(name)

    def _comparison(self, name: str) -> str:
        sign = self._next()
        if sign == "in":
            return self._member(name)
        if name not in _THINGS or sign not in _SIGNS:
            raise _Unknown
        value = self._value()
        if value == "":
            return f"{_THINGS[name]} is {'not known' if sign == '==' else 'known'}"
        return f"{_THINGS[name]} {_SIGNS[sign]} {value}"

    def _member(self, name: str) -> str:
        """``"child" in ticket.notes`` or ``ticket.ground in ["a", "b"]``."""
        if name[0] in "\"'":
            thing = _THINGS.get(self._next())
            if thing is None:
                raise _Unknown
            return f"{thing} include {_plain(name)}"
        if name not in _THINGS or not self._take("["):
            raise _Unknown
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take("]"):
            raise _Unknown
        return f"{_THINGS[name]} is {' or '.join(values)}"

    def _value(self) -> str:
        token = self._next()
        if token in _THINGS:
            return _THINGS[token]
        if token[0] not in "\"'" and not token.lstrip("-").isdigit():
            raise _Unknown
        return _plain(token)


def _plain(literal: str) -> str:
    return literal.strip("\"'").replace("_", " ")
