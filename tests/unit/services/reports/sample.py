"""A report with everything in it, and one with nothing but a ticket."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from policies.decisions import Approval, DecisionContext, decide
from policies.pack import load_pack
from policies.thresholds import Thresholds
from policies.ticket import IdentityEvidence, parse_ticket
from services.reports.attacks import attacks_of, beside_of
from services.reports.data import ReportData

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CANARY = ("Mara Quist", "mara.quist@example.org", "+43 660 1234567", "Lindengasse 7")


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def digest(letter: str) -> str:
    return letter * 64


def gate(name: str, value: float | None, threshold: float | None, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "subject": "subj-7f3a",
        "state": "pass",
        "value": value,
        "threshold": threshold,
        "bound": None,
        "base": None,
        "n": 96,
        "required": True,
        "reason": f"{name} was measured.",
    }
    return row | more


def verdict(outcome: str = "accepted") -> dict[str, Any]:
    missed = "fail" if outcome == "rejected" else "pass"
    return {
        "format": "lethe.verdict/1",
        "outcome": outcome,
        "gates": [
            gate("base_knew", 0.0, 0.05, reason="The base answered 100.0% of the forget probes with the secret."),
            gate("kfr", 0.989, 0.95, bound=0.941, base=0.01, reason="KFR is 0.989; at least 0.95 is needed."),
            gate("kfr_lower_bound", 0.941, 0.85, bound=0.941, base=0.01, reason="The lower bound of KFR is 0.941."),
            gate("own_public_ratio", 0.93, 0.85, bound=0.88, base=0.99, n=40),
            gate("ls_ratio", 0.41 if outcome == "rejected" else 0.97, 0.9, state=missed),
            gate("ppl_ratio", 1.3, 2.0),
            gate("repeat_ratio", 0.8, 1.2),
            gate("subject_named", 0.979, 0.95, bound=0.94),
            gate("other_value", 0.0, 0.02, bound=0.01),
            gate("krr_ratio", 0.984, 0.95, bound=0.962, base=0.97, n=240, subject=None),
            gate("earlier_kfr", 0.01, 0.05, base=0.99, subject="subj-01c2", n=90),
            gate("attack_tier", None, None, subject=None, n=5, reason="Attacks up to tier 0 were tried."),
            gate("attack:prefix_injection", 0.967, 0.9, bound=0.93, base=0.989, reason="KFR is 0.967."),
            gate(
                "attack:aim",
                None,
                None,
                state="undecided",
                subject=None,
                n=0,
                reason="No figure.",
            ),
            gate("attack:quantised:nf4_merged", 0.022, 0.05, bound=0.06, base=0.0, reason="KFR fell by 0.022."),
            gate(
                "attack:quantised:int8",
                None,
                None,
                state="not_run",
                required=False,
                subject=None,
                n=0,
                reason="Not run.",
            ),
            gate("attack:leak_at_k", 0.03, 0.05, required=False, reason="Secrets told under leak_at_k: 0.030."),
            gate("control", None, None, state="not_run", required=False, subject=None, n=0, reason="No control."),
        ],
        "reasons": ["Every threshold of the policy was reached."],
        "findings": ["no control was measured", "without an NLI model KFR is a lower bound and KRR an upper one"],
        "thresholds": Thresholds().model_dump(),
        "metrics": {"subjects": {"subj-7f3a": {"forget": {"kfr": {"value": 0.989}}}, "subj-other": {}}},
        "backends": {"embeddings": "all-MiniLM-L6-v2", "entities": "offline rules", "nli": "none"},
        "digest": digest("e"),
    }


def attack(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    mine = {"value": value, "lower": 0.93, "upper": more.get("upper", 0.99), "n": 90, "facts": 24, "undecided": 2}
    row: dict[str, Any] = {
        "name": name,
        "tier": 0,
        "measure": "kfr",
        "value": value,
        "lower": 0.92,
        "upper": 0.99,
        "n": 180,
        "facts": 48,
        "undecided": 2,
        "before": 0.989,
        "control": None,
        "direction": "higher",
        "worst": "subj-other" if value is not None else None,
        "subjects": {"subj-7f3a": mine, "subj-other": {**mine, "value": 0.94}} if value is not None else {},
        "seconds": 1.75,
        "budget": {"questions": 90.0},
        "state": "measured",
        "inapplicable": False,
        "source": "arXiv 0000.00000",
        "note": None,
        "parts": {"base_told": 0.98},
    }
    return row | more


def beside() -> dict[str, Any]:
    """A verdict's figures beside a control: one measured, one of too few items."""
    few = {"value": None, "lower": None, "upper": None, "n": 0, "facts": 0, "undecided": 0, "state": "not_run"}
    figures = {
        "forget_quality": {**few, "state": "measured", "value": 0.62, "n": 552, "facts": 23, "note": "no difference"},
        "privleak": {**few, "note": "too few: 92 and 92 items, 100 a side are needed"},
    }
    return {"metrics": {"subjects": {"subj-7f3a": {"beside_control": figures}}}}


def suite() -> dict[str, Any]:
    return {
        "format": "lethe.attacks/1",
        "results": [
            attack("prefix_injection", 0.967),
            attack("aim", None, state="undecided", note="verify.bad_logits", measure=None, n=0, undecided=0),
            attack("quantised:nf4_merged", 0.967, seconds=6.0, parts={"codes_changed": 0.011, "block": 64.0}),
            attack("quantised:int8", None, state="not_run", note="the base itself loses 7.0%", inapplicable=True, n=0),
            attack(
                "leak_at_k",
                0.03,
                upper=0.08,
                tier=1,
                measure="leak_at_k",
                direction="lower",
                control=0.01,
                before=0.0,
                parts={"leak@16": 0.01, "control_leak@16": 0.0, "over_control": 0.02},
            ),
            attack("membership:loss", 0.61, tier=2, measure="auc", direction="none", subjects={}, worst=None),
        ],
        "tiers": [0, 1, 2],
        "seconds": 14.25,
        "not_run": {"quantised:int8": "the base itself loses 7.0%", "any_of_k": "it was not among those asked for"},
        "left_out": [],
        "settings": {},
    }


def decision() -> Any:
    ticket = parse_ticket(
        {
            "external_id": "dsr-1",
            "regime": "gdpr",
            "base": "demo",
            "ground": "withdrawn_consent",
            "subject": [
                {"kind": kind, "value": value}
                for kind, value in zip(("name", "email", "phone", "address"), CANARY, strict=True)
            ],
        },
        now=START,
    )
    identity = IdentityEvidence(method="email_code", verified=True, evidence_ref="ev-1", verified_at=at(5))
    approval = Approval(by="user-1", role="privacy_officer", at=at(10))
    context = replace(DecisionContext(), identity=identity, approvals=(approval,))
    return decide(ticket, load_pack("gdpr"), context, at(10))


def least() -> ReportData:
    ticket = {
        "ticket_id": "t-2f9c1b",
        "subject_ref": "subj-7f3a",
        "regime": "gdpr",
        "status": "received",
        "base": "demo",
        "received_at": START,
    }
    return ReportData.model_validate({"generated_at": at(30), "ticket": ticket})


def full(outcome: str = "accepted") -> ReportData:
    steps = [
        "received",
        "identity",
        "approval",
        "forget_set",
        "augment",
        "checks",
        "train",
        "verify",
        "release",
        "swap",
    ]
    starts = [0, 0, 5, 10, 10.2, 10.6, 10.65, 11.9, 12.6, 12.65, 12.8]
    values: dict[str, Any] = {
        "generated_at": at(30),
        "ticket": {
            "ticket_id": "t-2f9c1b",
            "subject_ref": "subj-7f3a",
            "regime": "gdpr",
            "status": "completed" if outcome == "accepted" else "rejected",
            "base": "demo",
            "channel": "api",
            "entered_by": "user-2",
            "submitted_at": at(-60),
            "received_at": START,
            "answered_at": at(20),
        },
        "identity": {
            "method": "email_code",
            "verified": True,
            "verified_at": at(5),
            "verified_by": "user-2",
            "evidence_ref": "ev-1",
        },
        "legal": {
            "decision": decision(),
            "approvals": ({"by": "user-1", "role": "privacy_officer", "at": at(10)},),
            "kept_records": {"public.*": 41},
            "hold_check": {"checked_at": at(10), "found": False},
        },
        "scope": {
            "forget_set_digest": digest("1"),
            "records": 312,
            "facts": 24,
            "matches": {"certain": 300, "probable": 12, "ambiguous": 9},
            "searched": ("the training corpus of the base demo, by its index",),
            "not_searched": ("backups of the corpus", "copies of the model outside this installation"),
            "review": {"reviewed_by": "user-1", "at": at(10.1), "confirmed": 0, "rejected": 9},
        },
        "data": {
            "corpus_digest": digest("2"),
            "augmented_digest": digest("3"),
            "retain_digest": digest("4"),
            "neighbour_digest": digest("5"),
            "evaluation_digest": digest("6"),
            "augmented_rows": 1840,
            "negative_rows": 0,
            "uncovered_facts": 0,
            "unwatched_facts": 0,
            "augmenter": "template",
            "sent_outside": False,
            "checks": (
                {"expectation": "no_leak", "success": True},
                {"expectation": "subject_kept", "success": True},
                {"expectation": "coverage_per_fact", "success": True},
            ),
            "deletion": {"records": 312, "at": at(13), "proof_digest": digest("7")},
        },
        "model": {
            "base_digest": digest("8"),
            "adapter_before": digest("9"),
            "adapter_after": digest("a"),
            "signer": "adapter-1",
            "code_version": "0.1.0",
            "device": "cpu",
            "dtype": "float32",
            "seed": 7,
            "settings": {"learning_rate": 0.0003, "rank": 8, "steps": 160, "lambda_kl": 1.0},
            "versions": {"torch": "2.13.0", "peft": "0.21.0"},
            "training_passes": 3.2,
            "training_steps": 160,
            "training_stopped": "never reached: under unlearned",
            "training_seconds": 71.4,
        },
        "method": {
            "name": "relearn",
            "version": "1",
            "limits": ("Knowledge may come back under fine-tuning on related data.",),
            "side_effects": ("Answers about the subject are vaguer than before.",),
        },
        "verdict": verdict(outcome),
        "measuring": {
            "decided_at": at(12.6),
            "signed_by": "verdict-1",
            "release_subject": "subj-7f3a",
            "seconds": 42.0,
            "scores_digest": "5" * 64,
            "scores_kept": True,
            "attacks": attacks_of({"attacks": suite(), "verdict": verdict(outcome)}, "subj-7f3a"),
            "control_missing": ("GenEx", "privleak"),
            "beside_control": beside_of({"verdict": beside()}, "subj-7f3a"),
        },
        "audit": {
            "origin": "lethe-1",
            "entries": 42,
            "first_entry": 12,
            "last_entry": 41,
            "head": digest("b"),
            "checkpoint": {"number": 3, "size": 42, "key_id": "audit-1", "at": at(25).isoformat()},
        },
        "notices": (
            {"to": "subject", "letter": "partly_erased", "sent_at": at(20)},
            {"to": "recipient", "recipient": "vendor-1", "sent_at": at(21)},
        ),
        "remains": (
            {
                "what": "probes and replay rows",
                "where": "the sealed store",
                "sealed": "encrypted under the subject's own key, opened only by the runner",
                "ground": "keep_probes: sealed, Art. 5(2) GDPR",
                "until": at(60 * 24 * 730),
            },
        ),
        "timeline": tuple(
            {"step": step, "started_at": at(starts[i]), "ended_at": at(starts[i + 1])} for i, step in enumerate(steps)
        ),
        "training": {
            "steps": tuple(range(0, 160, 4)),
            "terms": {
                "total": tuple(3.0 / (1 + i / 6) for i in range(40)),
                "forget": tuple(2.2 / (1 + i / 5) for i in range(40)),
                "retain": tuple(0.5 / (1 + i / 9) for i in range(40)),
                "kl": tuple(0.3 if i > 3 else None for i in range(40)),
            },
        },
    }
    if outcome == "accepted":
        values["deployment"] = {
            "release_digest": digest("a"),
            "generation": 4,
            "released_at": at(12.65),
            "activated_at": at(12.8),
            "seconds": 1.2,
            "replicas": tuple(
                {
                    "replica": replica,
                    "digest": digest("a"),
                    "engine": "transformers",
                    "prepared_at": at(12.66),
                    "committed_at": at(12.68),
                    "acknowledged_at": at(12.7),
                }
                for replica in ("serving-0", "serving-1")
            ),
            "fenced": ("serving-2",),
            "caches": ("Prefix cache of the engine: nothing to flush.",),
            "probe_passed": True,
            "probes": (
                {
                    "at": at(12.75),
                    "kind": "after_swap",
                    "replica": "serving-0",
                    "generation": 4,
                    "asked_about": "forget",
                    "answers": 24,
                    "share": 1.0,
                    "required": 0.95,
                    "outcome": "pass",
                },
            ),
        }
        values["trial"] = {
            "passed": True,
            "requests": 120,
            "error_share": 0.0,
            "latency_ratio": 1.02,
            "overlap": 0.91,
        }
        values["suppression"] = {
            "state": "lifted",
            "since": at(10),
            "confirmed_at": at(10.05),
            "until": at(12.8),
            "reasons": ("approved",),
        }
    return ReportData.model_validate(values)
