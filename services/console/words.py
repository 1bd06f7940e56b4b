"""What codes are called on a page, and the shape that goes with each: nothing is told by colour alone."""

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from policies.lifecycle import CLOSED_TICKET, RunStatus, TicketStatus


class Shown(NamedTuple):
    """A status on a page.

    ``tone`` names its colour in console.css: person (somebody must act), work, stopped, bad, good, over.
    """

    words: str
    shape: str
    tone: str
    next: str


_S = TicketStatus
STATUS: dict[str, Shown] = {
    _S.RECEIVED: Shown("Received", "○", "work", "Lethe decides it"),
    _S.AWAITING_IDENTITY: Shown("Identity open", "▲", "person", "Record how the requester was recognised"),
    _S.AWAITING_APPROVAL: Shown("To approve", "▲", "person", "Approve or deny"),
    _S.APPROVED: Shown("Searching", "◐", "work", "Lethe looks the records up"),
    _S.AWAITING_REVIEW: Shown("Namesakes", "▲", "person", "Say which records are this person's"),
    _S.READY: Shown("Waits for a run", "◐", "work", "Lethe starts a run"),
    _S.IN_RUN: Shown("In a run", "◐", "work", "Lethe trains, verifies and swaps"),
    _S.COMPLETED: Shown("Erased", "✓", "good", "Nothing"),
    _S.NOTHING_FOUND: Shown("Nothing found", "✓", "over", "Nothing"),
    _S.DENIED: Shown("Denied", "✕", "over", "Nothing"),
    _S.ON_HOLD: Shown("On hold", "■", "stopped", "End the hold when its reason is gone"),
    _S.REJECTED: Shown("Verdict missed", "✕", "bad", "Read the verdict, then retry or deny"),
    _S.QUARANTINED: Shown("Data refused", "✕", "bad", "Read why, then retry or deny"),
    _S.FAILED: Shown("Run failed", "✕", "bad", "Read why, then retry"),
    _S.CANCELLED: Shown("Withdrawn", "✕", "over", "Nothing"),
}
OPEN_STATUSES = tuple(s.value for s in TicketStatus if s not in CLOSED_TICKET)
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "open": ("All open", OPEN_STATUSES),
    "person": ("Needs a person", tuple(s for s in OPEN_STATUSES if STATUS[s].tone in {"person", "bad"})),
    "work": ("In work", tuple(s for s in OPEN_STATUSES if STATUS[s].tone == "work")),
    "hold": ("On hold", (_S.ON_HOLD.value,)),
    "closed": ("Closed", tuple(s.value for s in CLOSED_TICKET)),
}
RUN_STEPS: tuple[tuple[str, str], ...] = (
    (RunStatus.PLANNED, "Planned"),
    (RunStatus.AUGMENTING, "Writing the training set"),
    (RunStatus.CHECKING, "Checking the training set"),
    (RunStatus.TRAINING, "Training the adapter"),
    (RunStatus.VERIFYING, "Verifying what is forgotten and kept"),
    (RunStatus.RELEASING, "Signing the release"),
    (RunStatus.SWAPPING, "Swapping on every replica"),
    (RunStatus.REPORTING, "Writing the report"),
    (RunStatus.COMPLETED, "Done"),
)
RUN_ENDED: dict[str, str] = {
    RunStatus.QUARANTINED: "The training set failed its checks: nothing was trained.",
    RunStatus.REJECTED: "The verdict missed a threshold or stayed open: nothing was released.",
    RunStatus.FAILED: "The run broke.",
    RunStatus.CANCELLED: "The run was cancelled.",
}
SUPPRESSION: dict[str, str] = {
    "none": "Not suppressed.",
    "off": "Not suppressed: suppression was switched off when the ticket was approved.",
    "pending": "Being suppressed: not every replica has applied it yet.",
    "confirmed": "Suppressed on every replica. This is restriction of processing, not erasure.",
    "lifted": "No longer suppressed.",
}
SUPPRESSED_FOR: dict[str, str] = {
    "approved": "from approval to swap",
    "restriction": "restricted by a person (GDPR Art. 18)",
    "rollback": "the served release does not cover the person",
    "probe_failed": "a replica still told something",
}
EVENT: dict[str, str] = {
    "receive": "Received",
    "require_identity": "Identity is asked for",
    "verify_identity": "Identity verified",
    "identity_failed": "Identity check failed",
    "require_approval": "Waits for approval",
    "record_approval": "One approval given",
    "approve": "Approved",
    "deny": "Denied",
    "hold": "Put on hold",
    "release_hold": "Hold ended",
    "restrict": "Restricted",
    "unrestrict": "Restriction ended",
    "matches_ambiguous": "Records of possible namesakes found",
    "matches_reviewed": "Namesakes sorted",
    "nothing_found": "Nothing found in the corpus",
    "forget_set_fixed": "Forget set settled",
    "run_started": "Run started",
    "run_rejected": "Verdict missed",
    "run_quarantined": "Training set refused",
    "run_failed": "Run failed",
    "run_cancelled": "Run cancelled, planned again",
    "probes_failed": "A replica still told something after the swap",
    "swap_confirmed": "Erased: the new release is live",
    "retry": "Tried again",
    "cancel": "Withdrawn",
    "exempt": "Something is kept under an exemption: decided again",
    "end_exemption": "Exemption ended",
    "renew_exemption": "Another date of review for what is kept",
    "claim_filed": "What the model was seen to say was reported",
    "sources_planned": "Deletion of the source records planned",
    "source_tried": "Dry run on a source: records found, nothing changed",
    "sources_ordered": "Deletion of the source records ordered",
    "source_deleted": "Source records deleted",
    "source_held": "Source records kept by a legal hold",
    "source_failed": "Deletion of source records failed",
}
LETTER: dict[str, str] = {
    "part_denial": "part-denial",
    "recipient_data": "notice to a recipient of data",
    "recipient_model": "notice to a recipient of the model",
}
NOTE: dict[str, str] = {
    "beside_email_unverified": "A code proved the e-mail address and nothing else: whether the name or number beside it"
    " is that person's is yours to decide.",
}
OUTCOME: dict[str, str] = {
    "approve": "the erasure goes ahead",
    "deny": "the request is denied",
    "hold": "the ticket is put on hold: nothing is deleted and nothing trained",
    "await_identity": "the ticket waits until the identity is verified",
    "await_approval": "the ticket waits until a person approves or denies it",
}


def plain(code: object) -> str:
    """A code as words, where no table has better ones."""
    return str(code).replace("_", " ").replace(".", ": ")


def moment(value: datetime | None, zone: str) -> str:
    """A moment in the controller's zone, which is named."""
    if value is None:
        return "–"
    local = value.astimezone(ZoneInfo(zone))
    return f"{local:%d %b %Y, %H:%M} {local.tzname()}".lstrip("0")


def day(value: datetime | None, zone: str) -> str:
    """The day of a moment in the controller's zone."""
    return "–" if value is None else f"{value.astimezone(ZoneInfo(zone)):%d %b %Y}".lstrip("0")


class Due(NamedTuple):
    """How near a deadline is: words, and a tone with its shape."""

    words: str
    tone: str
    shape: str


def due(value: datetime | None, now: datetime, zone: str, *, closed: bool = False) -> Due:
    """How many days are left, in the controller's zone."""
    if value is None:
        return Due("no deadline", "over", "")
    if closed:
        return Due("closed", "over", "")
    days = (value.astimezone(ZoneInfo(zone)).date() - now.astimezone(ZoneInfo(zone)).date()).days
    if now > value:
        late = max(1, -days)
        return Due(f"{late} day{'s' if late > 1 else ''} late", "bad", "✕")
    if days == 0:
        return Due("today", "person", "▲")
    return Due(f"{days} day{'s' if days > 1 else ''} left", "person" if days <= 7 else "over", "▲" if days <= 7 else "")
