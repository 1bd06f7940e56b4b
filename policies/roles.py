"""Who may do what: every scope, and the roles that hold them, as one table.

A role is what a person is here (a privacy officer, an auditor); a scope is what a route asks for. A policy pack names
the roles whose approvals count, so an organisation may have roles of its own: those hold the scopes given to them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from policies.errors import LetheError

SCOPES: dict[str, str] = {
    "tickets:submit": "file tickets",
    "tickets:send": "file tickets over the protocol of a registered sender",
    "tickets:read": "see tickets and reports, without raw identity",
    "tickets:identity": "see the raw identity and the words of reasons",
    "tickets:verify": "record how a requester was recognised",
    "tickets:decide": "exempt, hold, restrict, extend, cancel, retry, review, answer and tell recipients",
    "tickets:approve": "approve and deny",
    "ops:read": "see runs, releases, replicas, metrics and API documents",
    "ops:run": "plan, cancel and retry runs; move the desired state",
    "infer": "ask the served model",
    "audit:read": "export the audit log",
    "admin": "register senders and recipients",
}
NOT_FOR_ADMIN = "tickets:identity"  # whoever runs the machine need not know who the people are


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One role: what it is for, and its scopes."""

    text: str
    scopes: frozenset[str]


ROLES: dict[str, Role] = {
    "intake": Role(
        text="files tickets and records how requesters were recognised",
        scopes=frozenset({"tickets:submit", "tickets:read", "tickets:verify"}),
    ),
    "privacy_officer": Role(
        text="answers for a ticket from receipt to letter",
        scopes=frozenset({scope for scope in SCOPES if scope.startswith("tickets:")} | {"ops:read", "audit:read"}),
    ),
    "approver": Role(
        text="the second pair of eyes: approves and denies, and nothing else",
        scopes=frozenset({"tickets:read", "tickets:approve"}),
    ),
    "ml_operator": Role(
        text="runs, releases, replicas and the served model",
        scopes=frozenset({"tickets:read", "ops:read", "ops:run", "infer"}),
    ),
    "auditor": Role(
        text="reads everything but raw identities, and changes nothing",
        scopes=frozenset({"tickets:read", "ops:read", "audit:read"}),
    ),
    "admin": Role(
        text="everything but raw identities",
        scopes=frozenset(set(SCOPES) - {NOT_FOR_ADMIN}),
    ),
}


def scopes_for(role: str | None, wanted: Collection[str], *, house_roles: Collection[str] = ()) -> tuple[str, ...]:
    """The scopes of whoever holds a role: those of the table, or fewer where ``wanted`` names some of them.

    Args:
        role: One of ``ROLES``, one of ``house_roles``, or None.
        wanted: Scopes that were asked for by name; a role of the table is never widened by them.
        house_roles: Roles of the organisation's own policy packs.

    Raises:
        LetheError: ``auth.unknown_role``; ``auth.unknown_scope``: no such scope, none at all, or more than the role's.
    """
    if role is not None and role not in ROLES and role not in house_roles:
        known = f"known: {', '.join(dict.fromkeys([*ROLES, *house_roles]))}"
        raise LetheError("auth.unknown_role", "There is no such role.", (known,))
    allowed = ROLES[role].scopes if role in ROLES else frozenset(SCOPES)
    unknown = [scope for scope in wanted if scope not in allowed]
    if unknown or (not wanted and role not in ROLES):
        known = f"known: {', '.join(scope for scope in SCOPES if scope in allowed)}"
        raise LetheError("auth.unknown_scope", "A key needs scopes that its role has.", (*unknown, known))
    return tuple(sorted(set(wanted) or allowed))
