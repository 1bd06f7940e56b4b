"""The decision on a ticket: which rule of the pack fired, under which article, and what follows from it.

A decision is a pure function of the ticket, the pack, what people have done so far, and the moment. Where no rule fires
nothing is forgotten and nothing refused: a person decides (``await_approval``, rule ``no-rule-fired``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from policies.conditions import Values, compile_condition
from policies.deadlines import Basis, Deadlines, Extension, deadlines, local_date
from policies.errors import LetheError
from policies.pack import Exemption, KeepProbes, Outcome, PolicyPack, Rule
from policies.thresholds import Thresholds
from policies.ticket import IdentityEvidence, TicketRequest

NO_RULE = "no-rule-fired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One person's yes.

    Attributes:
        by: The approver's account, not a name.
        role: The role in which they approved.
        at: When.
    """

    by: str
    role: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Exempted:
    """A category or a record of this ticket that a person exempted.

    Attributes:
        category: A pattern of categories, or None.
        record_id: A record, or None.
        code: The exemption's code in the pack.
        article: Its provision.
    """

    category: str | None
    record_id: str | None
    code: str
    article: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionContext:
    """What people have done about a ticket since it came in.

    Attributes:
        identity: The latest evidence; None: that of the ticket.
        ground: The ground that a person recorded; None: that of the ticket.
        approvals: Every yes so far.
        entered_by: The account that entered the ticket, for the four-eyes rule.
        hold_active: Whether a legal hold stands now; None: as the ticket says.
        extension: A recorded extension of the period.
        waived: Codes of exemptions that a person decided not to use for this ticket.
        exempted: What people exempted of this ticket, beside what the pack exempts for everybody.
        zone: The controller's time zone; None: that of the pack.
    """

    identity: IdentityEvidence | None = None
    ground: str | None = None
    approvals: tuple[Approval, ...] = ()
    entered_by: str | None = None
    hold_active: bool | None = None
    extension: Extension | None = None
    waived: frozenset[str] = frozenset()
    exempted: tuple[Exempted, ...] = ()
    zone: str | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class KeptCategory(_Strict):
    """Records of this category are not forgotten, and this is why."""

    pattern: str
    exemption: str = Field(
        description="The exemption's code, or not_requested where the subject's scope leaves it out."
    )
    article: str
    basis: Basis


class KeptRecord(_Strict):
    """This record is not forgotten, and this is why."""

    record_id: str
    exemption: str
    article: str


class Decision(_Strict):
    """What follows for a ticket now. Holds no personal data."""

    outcome: Outcome
    rule_id: str
    rule_title: str
    article: str
    regime: str
    ground: str | None
    ground_article: str | None
    kept_categories: tuple[KeptCategory, ...]
    kept_records: tuple[KeptRecord, ...] = Field(default=(), description="Single records that a person exempted.")
    scope: tuple[str, ...]
    partial: bool = Field(description="Something that the subject asked to have erased is kept: a part-denial.")
    approvals_given: int
    approvals_needed: int
    approval_roles: tuple[str, ...]
    four_eyes: bool
    identity_required: bool
    deadlines: Deadlines
    hold_review_by: date | None
    thresholds: Thresholds
    keep_probes: KeepProbes
    letter: str
    letter_text: str
    pack_version: str
    pack_digest: str
    rules_tried: tuple[str, ...] = Field(description="The rules whose conditions were false, in order.")
    decided_at: datetime
    explanation: str

    def kept(self, category: str | None) -> KeptCategory | None:
        """Why records of a category are kept; None: they are forgotten (so is everything without a category)."""
        if category is None:
            return None
        for kept in self.kept_categories:
            if fnmatchcase(category, kept.pattern):
                return kept
        if any(fnmatchcase(category, pattern) for pattern in self.scope):
            return None
        return KeptCategory(pattern=category, exemption="not_requested", article=self.article, basis="house")


def decide(ticket: TicketRequest, pack: PolicyPack, context: DecisionContext, now: datetime) -> Decision:
    """The decision on a ticket at a moment; the first rule of the pack whose condition holds.

    Raises:
        LetheError: ``policy.unknown_regime`` (the pack is another law's), ``policy.unknown_ground``,
            ``policy.extension_refused``, ``policy.condition_failed``.
    """
    check_fits(ticket, pack, context.ground)
    clock = deadlines(pack.data.deadlines, ticket.received_at, context.zone or pack.data.zone, context.extension)
    values = Values.of(_values(ticket, pack, context, clock, now))
    tried: list[str] = []
    for rule in pack.data.rules:
        if compile_condition(rule.when).holds(values):
            break
        tried.append(rule.id)
    else:
        rule = _fallback(pack)
    kept = _kept(pack.data.exemptions, context.waived, values) if rule.outcome != "deny" else ()
    kept += _exempted_categories(context.exempted) if rule.outcome != "deny" else ()
    records = _exempted_records(context.exempted) if rule.outcome != "deny" else ()
    partial = rule.outcome == "approve" and bool(records or any(_touches(k.pattern, ticket.scope) for k in kept))
    letter = pack.data.letters.partial if partial else rule.letter
    ground = context.ground or ticket.ground
    on_hold = rule.outcome == "hold"
    today = local_date(now, clock.zone)
    return Decision(
        outcome=rule.outcome,
        rule_id=rule.id,
        rule_title=rule.title,
        article=rule.article,
        regime=pack.regime,
        ground=ground,
        ground_article=next((g.article for g in pack.data.grounds if g.code == ground), None),
        kept_categories=kept,
        kept_records=records,
        scope=ticket.scope,
        partial=partial,
        approvals_given=count_approvals(pack, context.approvals, context.entered_by),
        approvals_needed=pack.data.approval.approvals,
        approval_roles=pack.data.approval.roles,
        four_eyes=pack.data.approval.four_eyes,
        identity_required=pack.data.identity.required,
        deadlines=clock,
        hold_review_by=date.fromordinal(today.toordinal() + pack.data.holds.review_days) if on_hold else None,
        thresholds=pack.thresholds,
        keep_probes=pack.keep_probes,
        letter=letter,
        letter_text=pack.data.letters.texts[letter],
        pack_version=pack.version,
        pack_digest=pack.digest,
        rules_tried=tuple(tried),
        decided_at=now,
        explanation=_explain(rule, pack, kept, ground, clock, now),
    )


def check_fits(ticket: TicketRequest, pack: PolicyPack, ground: str | None = None) -> None:
    """Whether the pack is the ticket's law and knows its ground; the intake asks before it stores a ticket.

    Raises:
        LetheError: ``policy.unknown_regime`` or ``policy.unknown_ground``.
    """
    if ticket.regime != pack.regime:
        raise LetheError("policy.unknown_regime", f"the ticket is filed under another regime than {pack.regime}")
    known = [g.code for g in pack.data.grounds]
    for code in (ticket.ground, ground):
        if code is not None and code not in known:
            raise LetheError("policy.unknown_ground", f"{pack.regime} has no such ground; known: {', '.join(known)}")


def count_approvals(pack: PolicyPack, approvals: Sequence[Approval], entered_by: str | None) -> int:
    """How many approvals count: by different people, in a role of the pack; under four eyes not by who entered it."""
    rules = pack.data.approval
    people = {approval.by for approval in approvals if approval.role in rules.roles}
    if rules.four_eyes:
        people.discard(entered_by or "")
    return len(people)


def _values(
    ticket: TicketRequest, pack: PolicyPack, context: DecisionContext, clock: Deadlines, now: datetime
) -> dict[str, dict[str, object]]:
    """The variables of the conditions; policies/conditions.py documents them."""
    identity = context.identity or ticket.identity
    required = pack.data.identity.required
    method = identity.method if identity else ""
    given = count_approvals(pack, context.approvals, context.entered_by)
    needed = pack.data.approval.approvals
    return {
        "ticket": {
            "regime": ticket.regime,
            "request_type": ticket.request_type,
            "ground": context.ground or ticket.ground or "",
            "channel": ticket.channel,
            "base": ticket.base,
            "scope": list(ticket.scope),
            "notes": list(ticket.notes),
            "identifier_kinds": sorted({identifier.kind for identifier in ticket.subject}),
            "by_agent": bool(identity and identity.agent_ref),
        },
        "identity": {
            "verified": not required or bool(identity and identity.verified),
            "accepted": not required or method in pack.data.identity.methods,
            "method": method,
        },
        "approvals": {"given": given, "needed": needed, "complete": given >= needed},
        "hold": {"active": ticket.legal_hold if context.hold_active is None else context.hold_active},
        "clock": {
            "days_since_receipt": (local_date(now, clock.zone) - clock.received_on).days,
            "days_left": clock.days_left(now),
            "overdue": clock.overdue(now),
            "confirm_overdue": clock.confirm_overdue(now),
            "extended": clock.extended,
        },
    }


def _kept(exemptions: Sequence[Exemption], waived: frozenset[str], values: Values) -> tuple[KeptCategory, ...]:
    return tuple(
        KeptCategory(pattern=pattern, exemption=exemption.code, article=exemption.article, basis=exemption.basis)
        for exemption in exemptions
        if exemption.enabled and exemption.code not in waived
        if exemption.when is None or compile_condition(exemption.when).holds(values)
        for pattern in exemption.keeps
    )


def _exempted_categories(exempted: Sequence[Exempted]) -> tuple[KeptCategory, ...]:
    return tuple(
        KeptCategory(pattern=one.category, exemption=one.code, article=one.article, basis="house")
        for one in exempted
        if one.category is not None
    )


def _exempted_records(exempted: Sequence[Exempted]) -> tuple[KeptRecord, ...]:
    return tuple(
        KeptRecord(record_id=one.record_id, exemption=one.code, article=one.article)
        for one in exempted
        if one.record_id is not None
    )


def _touches(pattern: str, scope: Sequence[str]) -> bool:
    """Whether something of a kept pattern was asked for (``public.*`` and ``public.works``, either way round)."""
    return any(fnmatchcase(pattern, asked) or fnmatchcase(asked, pattern) for asked in scope)


def _fallback(pack: PolicyPack) -> Rule:
    return Rule(
        id=NO_RULE,
        title="No rule of the pack fits: a person decides",
        article=pack.data.approval.article,
        when="true",
        outcome="await_approval",
        letter=pack.data.letters.fallback,
    )


_SAYS = {
    "approve": "The erasure goes ahead",
    "deny": "The request is denied",
    "hold": "The ticket is on hold and nothing is deleted or trained",
    "await_identity": "The ticket waits until the identity is verified",
    "await_approval": "The ticket waits until a person approves or denies it",
}


def _explain(
    rule: Rule, pack: PolicyPack, kept: Sequence[KeptCategory], ground: str | None, clock: Deadlines, now: datetime
) -> str:
    sentences = [
        f"{_SAYS[rule.outcome]}: {rule.title[0].lower()}{rule.title[1:]} ({rule.article}).",
        f"Rule {rule.id} of the pack {pack.regime} {pack.version}.",
        f"The ground is {ground}." if ground else "No ground is recorded.",
    ]
    if kept:
        each = ", ".join(f"{k.pattern} ({k.article})" for k in kept)
        sentences.append(f"Kept and not forgotten: {each}.")
    if not pack.data.identity.required:
        sentences.append("This pack does not require an identity check: an opt-out of the organisation.")
    basis = clock.article if clock.basis == "law" else f"{clock.article}, a house choice"
    late = " and is overdue" if clock.overdue(now) else ""
    sentences.append(f"The answer is due by {clock.answer_by.date().isoformat()} ({basis}){late}.")
    return " ".join(sentences)
