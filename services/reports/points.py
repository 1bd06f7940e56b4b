"""The 13 points that an auditor looks for, as one table: where each item comes from, and why it may be missing.

An item whose value is None is reported as missing with its reason; nothing is left out silently.
"""

from typing import Literal, NamedTuple

Kind = Literal["text", "code", "date", "digest", "bool", "list", "pairs", "table", "number", "seconds"]


class Item(NamedTuple):
    """One item: its label, the path of its value in the report's data, and why it may be missing."""

    label: str
    path: str
    missing: str
    kind: Kind = "text"


class Point(NamedTuple):
    """One of the 13 points."""

    number: int
    title: str
    question: str
    items: tuple[Item, ...]


_NOT_RECORDED = "not recorded"
_NO_RUN = "no run has produced it"
_NOT_LIVE = "nothing has been swapped for this ticket"
_NEVER_SUPPRESSED = "the subject was never suppressed in output"

POINTS: tuple[Point, ...] = (
    Point(
        1,
        "Request",
        "Who asked for what, when, and by when was an answer due?",
        (
            Item("Ticket", "ticket.ticket_id", _NOT_RECORDED, "code"),
            Item("Subject (random reference)", "ticket.subject_ref", _NOT_RECORDED, "code"),
            Item("Regime", "ticket.regime", _NOT_RECORDED),
            Item("Base model", "ticket.base", _NOT_RECORDED),
            Item("Channel", "ticket.channel", _NOT_RECORDED),
            Item("Entered by", "ticket.entered_by", "the ticket came in without an account", "code"),
            Item(
                "Submitted by the subject",
                "ticket.submitted_at",
                "the sender did not say when the subject asked",
                "date",
            ),
            Item("Received", "ticket.received_at", _NOT_RECORDED, "date"),
            Item("Answer due", "legal.decision.deadlines.answer_by", "no decision yet", "date"),
            Item("Extended", "legal.decision.deadlines.extended", "no decision yet", "bool"),
            Item("Answered", "ticket.answered_at", "no answer to the subject is recorded", "date"),
        ),
    ),
    Point(
        2,
        "Identity",
        "How was the requester recognised?",
        (
            Item("Method", "identity.method", "no identity check is recorded"),
            Item("Verified", "identity.verified", "no identity check is recorded", "bool"),
            Item("When", "identity.verified_at", "no identity check is recorded", "date"),
            Item("Decided by", "identity.verified_by", "the evidence names no one who decided", "code"),
            Item("Evidence (reference)", "identity.evidence_ref", "no evidence is referenced", "code"),
            Item("Authority of an agent", "identity.agent_ref", "none: the subject asked, without an agent", "code"),
        ),
    ),
    Point(
        3,
        "Legal decision",
        "On what ground, with what exemptions, and who decided?",
        (
            Item("Outcome", "legal.decision.outcome", "no decision yet"),
            Item("In words", "legal.decision.explanation", "no decision yet"),
            Item("Article", "legal.decision.article", "no decision yet"),
            Item("Ground", "legal.decision.ground", "no ground was recorded"),
            Item("Article of the ground", "legal.decision.ground_article", "no ground was recorded"),
            Item("Kept under an exemption", "legal.decision.kept_categories", "no decision yet", "table"),
            Item("Records kept, by category", "legal.kept_records", "the kept records were not counted", "pairs"),
            Item("Decided", "legal.decision.decided_at", "no decision yet", "date"),
            Item("Approved by", "legal.approvals", "nobody has approved", "table"),
            Item("Legal hold found", "legal.hold_check.found", "no look at the legal holds is recorded", "bool"),
            Item(
                "Legal hold looked up", "legal.hold_check.checked_at", "no look at the legal holds is recorded", "date"
            ),
        ),
    ),
    Point(
        4,
        "Scope",
        "By which policy, what was searched, and what was found?",
        (
            Item("Policy version", "legal.decision.pack_version", "no decision yet"),
            Item("Policy digest", "legal.decision.pack_digest", "no decision yet", "digest"),
            Item("Rule that fired", "legal.decision.rule_id", "no decision yet", "code"),
            Item("Forget set (keyed digest)", "scope.forget_set_digest", "no forget set was fixed", "digest"),
            Item("Records", "scope.records", "no forget set was fixed", "number"),
            Item("Facts", "scope.facts", "the corpus does not group its records by fact", "number"),
            Item("Matches", "scope.matches", "the matches were not counted", "pairs"),
            Item("Searched", "scope.searched", "what was searched is not recorded", "list"),
            Item(
                "Not searched",
                "scope.not_searched",
                "what was not searched is not recorded: assume that nothing else was",
                "list",
            ),
            Item("Reviewed by", "scope.review.reviewed_by", "no match was ambiguous, or nobody reviewed them", "code"),
            Item(
                "False matches rejected",
                "scope.review.rejected",
                "no match was ambiguous, or nobody reviewed them",
                "number",
            ),
        ),
    ),
    Point(
        5,
        "Data",
        "Which data sets were used, were they checked, and are the source records gone?",
        (
            Item("Training corpus", "data.corpus_digest", _NO_RUN, "digest"),
            Item("Augmented set (keyed digest)", "data.augmented_digest", _NO_RUN, "digest"),
            Item("Retain set", "data.retain_digest", _NO_RUN, "digest"),
            Item("Neighbour set", "data.neighbour_digest", _NO_RUN, "digest"),
            Item("Evaluation set (keyed digest)", "data.evaluation_digest", _NO_RUN, "digest"),
            Item("Augmented rows", "data.augmented_rows", _NO_RUN, "number"),
            Item("Negative rows", "data.negative_rows", _NO_RUN, "number"),
            Item("Facts left uncovered", "data.uncovered_facts", _NO_RUN, "number"),
            Item("Facts that no leak check can watch for", "data.unwatched_facts", _NO_RUN, "number"),
            Item("Augmenter", "data.augmenter", _NO_RUN),
            Item("Secret sent to an outside API", "data.sent_outside", "not recorded", "bool"),
            Item("Data checks", "data.checks", "the augmented set was not checked", "table"),
            Item(
                "Source records deleted",
                "data.deletion.records",
                "no deletion of the source records is recorded; unlearning does not replace it",
                "number",
            ),
            Item("Deleted", "data.deletion.at", "no deletion of the source records is recorded", "date"),
            Item(
                "Deleted rows (keyed digest)",
                "data.deletion.proof_digest",
                "nothing was deleted, so there is no digest",
                "digest",
            ),
            Item(
                "Sources searched, before and after",
                "data.deletion.sources",
                "no source was searched for the subject's records",
                "table",
            ),
            Item(
                "Sources not searched",
                "data.deletion.not_searched",
                "no source was searched for the subject's records",
                "list",
            ),
        ),
    ),
    Point(
        6,
        "Model",
        "Which model was changed, by what, into what?",
        (
            Item("Base", "model.base_digest", _NO_RUN, "digest"),
            Item("Adapter before", "model.adapter_before", "this is the base's first adapter", "digest"),
            Item("Adapter after", "model.adapter_after", "no adapter was released", "digest"),
            Item("Signed with key", "model.signer", "no adapter was released", "code"),
            Item("Code version", "model.code_version", _NOT_RECORDED, "code"),
            Item(
                "Container digest",
                "model.container_digest",
                "the services did not run from a container image",
                "digest",
            ),
            Item("Device", "model.device", _NO_RUN),
            Item("Data type", "model.dtype", _NO_RUN),
            Item("Quantisation", "model.quantisation", "the model is not quantised, or it is not recorded"),
            Item("Seed", "model.seed", _NO_RUN, "number"),
            Item("Settings", "model.settings", _NO_RUN, "pairs"),
            Item("Versions", "model.versions", _NOT_RECORDED, "pairs"),
            Item("Passes over the training rows", "model.training_passes", _NO_RUN, "number"),
            Item("Training steps", "model.training_steps", _NO_RUN, "number"),
            Item("Training time", "model.training_seconds", _NO_RUN, "seconds"),
            Item("Early stopping by exposure", "model.training_stopped", "the settings did not ask for it"),
        ),
    ),
    Point(
        7,
        "Method",
        "How was it made to forget, and what does that method not do?",
        (
            Item("Method", "method.name", _NO_RUN),
            Item("Version", "method.version", _NOT_RECORDED),
            Item("Exact", "method.exact", _NO_RUN, "bool"),
            Item("Known limits", "method.limits", "no limits are recorded for this method", "list"),
            Item("Side effects accepted", "method.side_effects", "none is recorded", "list"),
        ),
    ),
    Point(
        8,
        "Metrics",
        "What was measured, how surely, against which thresholds, and who set them when?",
        (
            Item("Thresholds set by the policy", "legal.decision.pack_digest", "no decision yet", "digest"),
            Item("Thresholds set on", "legal.decision.decided_at", "no decision yet", "date"),
            Item("Measured", "measuring.decided_at", "no verdict yet", "date"),
            Item("Judges", "verdict.backends", "no verdict yet", "pairs"),
            Item(
                "Digest of the scores of each probe",
                "measuring.scores_digest",
                "no verdict yet, or they were not kept then",
                "digest",
            ),
            Item("Attacks tried", "measuring.attacks.summary", "no attack beyond the held-out phrasings was tried"),
            Item("Worst case under attack", "measuring.attacks.worst", "no attack told a share of secrets"),
            Item("Attacks not run, and why", "measuring.attacks.not_run", "none was tried at all", "list"),
            Item(
                "Control: a model retrained without the subject",
                "measuring.control",
                "no model was retrained for comparison",
                "pairs",
            ),
            Item(
                "Beside the control",
                "measuring.beside_control",
                "nothing: no model was retrained for comparison, or it is not recorded",
                "table",
            ),
            Item(
                "Missing without a control",
                "measuring.control_missing",
                "nothing: there is a control, or it is not recorded",
                "list",
            ),
            Item(
                "Adapters of this run that were rejected before this one",
                "measuring.earlier_tries",
                "none: this is the first",
                "table",
            ),
            Item("Wall time of the whole verification", "measuring.seconds", "not recorded", "seconds"),
        ),
    ),
    Point(
        9,
        "Verdict",
        "Was it accepted, and did a person override that?",
        (
            Item("Outcome", "verdict.outcome", "no verdict yet"),
            Item("Reasons", "verdict.reasons", "no verdict yet", "list"),
            Item("Findings that decide nothing", "verdict.findings", "no verdict yet", "list"),
            Item("Verdict digest", "verdict.digest", "no verdict yet", "digest"),
            Item("Signed with key", "measuring.signed_by", "the verdict is not signed: nothing was released", "code"),
            Item("Human override", "override.reason", "none: the verdict stands as it was decided", "code"),
            Item("Override by", "override.first", "none: the verdict stands as it was decided", "code"),
            Item("Second approver", "override.second", "none: the verdict stands as it was decided", "code"),
        ),
    ),
    Point(
        10,
        "Deployment",
        "When did it go live, where, and was the subject suppressed until then?",
        (
            Item("Release", "deployment.release_digest", _NOT_LIVE, "digest"),
            Item("Generation", "deployment.generation", _NOT_LIVE, "number"),
            Item("Released", "deployment.released_at", _NOT_LIVE, "date"),
            Item("Active", "deployment.activated_at", _NOT_LIVE, "date"),
            Item("From verified to active", "derived.verified_to_active", _NOT_LIVE, "seconds"),
            Item("Replicas", "deployment.replicas", _NOT_LIVE, "table"),
            Item("Fenced: did not come along, answers nobody", "deployment.fenced", _NOT_LIVE, "list"),
            Item("From the proposal to the last replica", "deployment.seconds", _NOT_LIVE, "seconds"),
            Item("Tried on a share of the traffic first", "trial", "no trial was set", "pairs"),
            Item(
                "Every replica passed the probes after the swap",
                "deployment.probe_passed",
                "no probe after the swap is recorded",
                "bool",
            ),
            Item("Probes of every replica, and since", "deployment.probes", "no probe is recorded", "table"),
            Item("Caches", "deployment.caches", _NOT_LIVE, "list"),
            Item("Suppression in output", "suppression.state", _NEVER_SUPPRESSED),
            Item("Suppressed because of", "suppression.reasons", _NEVER_SUPPRESSED, "list"),
            Item("Suppressed from", "suppression.since", _NEVER_SUPPRESSED, "date"),
            Item("Applied by every replica", "suppression.confirmed_at", "not every replica has applied it", "date"),
            Item("Suppressed until", "suppression.until", "the subject is suppressed still, or never was", "date"),
        ),
    ),
    Point(
        11,
        "Notices",
        "Who was told?",
        (
            Item("Answer to the subject", "derived.subject_notices", "no answer to the subject is recorded", "table"),
            Item(
                "Recipients (Art. 19 GDPR)",
                "derived.recipient_notices",
                "no notice to a recipient is recorded",
                "table",
            ),
            Item("Callbacks of the processor", "derived.callbacks", "no callback is recorded", "table"),
            Item("Text of the letter", "legal.decision.letter_text", "no decision yet"),
        ),
    ),
    Point(
        12,
        "Integrity",
        "Can all of this be checked without trusting us?",
        (
            Item("Log", "audit.origin", "the audit log was not read", "code"),
            Item("Entries", "audit.entries", "the audit log was not read", "number"),
            Item("First entry of this ticket", "audit.first_entry", "not recorded", "number"),
            Item("Last entry of this ticket", "audit.last_entry", "not recorded", "number"),
            Item("Head of the chain", "audit.head", "the audit log was not read", "digest"),
            Item("Signed checkpoint", "audit.checkpoint", "no checkpoint has been signed yet", "pairs"),
        ),
    ),
    Point(13, "Not claimed", "What does this report not say?", ()),
)

# Missing, yet no gap: the item does not apply unless it is there.
OPTIONAL = frozenset(
    {
        "identity.agent_ref",
        "override.reason",
        "override.first",
        "override.second",
        "trial",
        "measuring.attacks.worst",
        "measuring.attacks.not_run",
        "measuring.beside_control",
        "measuring.control_missing",
        "measuring.earlier_tries",
    }
)

NOT_CLAIMED: tuple[str, ...] = (
    "No anonymity is claimed: that the model gives nothing about the subject is measured, within the bounds stated.",
    "The measurement covers the phrasings that were asked, and attacks only where point 8 names them.",
    "What point 4 does not name as searched was not searched: other models, merged copies, backups, vendors.",
    "Suppression in output, which bridges the time until the swap, is a restriction and was never counted as erasure.",
)
APPROXIMATE = (
    "The method is approximate: it changes what the model says, and does not give the model that training without the "
    "subject would have given."
)
