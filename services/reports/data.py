"""What a report is made of. Everything that may be missing is None, and the report then says that and why.

No field is meant for personal data: a subject is a random reference, a person who decided is an account's key.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipelines.gates.gate import Gate
from policies.decisions import Decision
from services.reports.attacks import AttacksPart, ControlPart, FigurePart
from services.reports.part import Digest, Part, Token, Words


class TicketPart(Part):
    """The request (point 1)."""

    ticket_id: Token
    subject_ref: Token = Field(description="A random reference; never a name.")
    regime: Token
    status: Token
    base: Token
    channel: Token | None = None
    entered_by: Token | None = None
    submitted_at: AwareDatetime | None = Field(default=None, description="When the subject asked.")
    received_at: AwareDatetime
    answered_at: AwareDatetime | None = None


class IdentityPart(Part):
    """Who asked, and how that was checked (point 2). The evidence itself is not here."""

    method: Token
    verified: bool
    verified_at: AwareDatetime | None = None
    verified_by: Token | None = None
    evidence_ref: Token | None = None
    agent_ref: Token | None = Field(default=None, description="The authority of an agent; None: the subject asked.")


class ApprovalPart(Part):
    """One person's yes."""

    by: Token
    role: Token
    at: AwareDatetime


class HoldCheckPart(Part):
    """Whether a legal hold stood when it was looked at."""

    checked_at: AwareDatetime
    found: bool


class LegalPart(Part):
    """The decision and what people did (point 3)."""

    decision: Decision
    approvals: tuple[ApprovalPart, ...] = ()
    kept_records: dict[str, int] | None = Field(default=None, description="Kept category pattern: how many records.")
    hold_check: HoldCheckPart | None = None


class ReviewPart(Part):
    """What a person made of the ambiguous matches."""

    reviewed_by: Token
    at: AwareDatetime
    confirmed: int = Field(ge=0)
    rejected: int = Field(ge=0)


class ScopePart(Part):
    """What was searched and found (point 4)."""

    forget_set_digest: Digest
    records: int = Field(ge=0)
    facts: int | None = Field(default=None, ge=0)
    matches: dict[Literal["certain", "probable", "ambiguous"], int] | None = None
    searched: tuple[Words, ...] = ()
    not_searched: tuple[Words, ...] | None = Field(
        default=None, description="Backups, merged models, caches, RAG indexes, vendor copies: None is said as missing."
    )
    review: ReviewPart | None = None


class CheckPart(Part):
    """One expectation over the augmented set."""

    expectation: Token
    success: bool


class DeletedPart(Part):
    """One source: what one reading found before the deletion, and another after it."""

    source: Token
    kind: Token
    status: Token = Field(description="planned, tried, ordered, done, held or failed.")
    rows_before: int | None = Field(default=None, ge=0)
    found_before: int | None = Field(default=None, ge=0, description="Rows about the subject.")
    rows_after: int | None = Field(default=None, ge=0)
    found_after: int | None = Field(default=None, ge=0)
    others_unchanged: bool | None = Field(default=None, description="By keyed digest of all other rows.")
    held: int = Field(default=0, ge=0, description="Records that a legal hold keeps.")
    reason: Token | None = None
    at: AwareDatetime | None = None


class DeletionPart(Part):
    """That the source records are gone too: unlearning does not replace deletion."""

    records: int | None = Field(default=None, ge=0, description="None: nothing was deleted yet.")
    at: AwareDatetime | None = None
    proof_digest: Digest | None = Field(default=None, description="Keyed digest of the rows that were deleted.")
    sources: tuple[DeletedPart, ...] = ()
    not_searched: tuple[Words, ...] = ()


class DataPart(Part):
    """The data sets (point 5). Digests over personal data are keyed."""

    corpus_digest: Digest | None = None
    augmented_digest: Digest | None = None
    retain_digest: Digest | None = None
    neighbour_digest: Digest | None = None
    evaluation_digest: Digest | None = None
    augmented_rows: int | None = Field(default=None, ge=0)
    negative_rows: int | None = Field(default=None, ge=0, description="Rows whose likelihood a loss lowers.")
    uncovered_facts: int | None = Field(default=None, ge=0)
    unwatched_facts: int | None = Field(
        default=None, ge=0, description="Facts without a word that tells, which no check of a row can look for."
    )
    augmenter: Token | None = None
    sent_outside: bool | None = Field(default=None, description="Whether the secret went to an outside API.")
    checks: tuple[CheckPart, ...] | None = None
    deletion: DeletionPart | None = None


class ModelPart(Part):
    """The model (point 6)."""

    base_digest: Digest
    adapter_before: Digest | None = None
    adapter_after: Digest | None = None
    signer: Token | None = None
    code_version: Token | None = None
    container_digest: Token | None = None
    device: Token | None = None
    dtype: Token | None = None
    quantisation: Token | None = None
    seed: int | None = None
    settings: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    training_passes: float | None = Field(default=None, gt=0)
    training_steps: int | None = Field(default=None, ge=0)
    training_seconds: float | None = Field(default=None, ge=0)
    training_stopped: Words | None = None


class MethodPart(Part):
    """How it was made to forget (point 7)."""

    name: Token
    version: Token | None = None
    exact: bool = False
    limits: tuple[Words, ...] = ()
    side_effects: tuple[Words, ...] = ()


class VerdictPart(BaseModel):
    """The verdict (points 8 and 9), as ``pipelines.verdict.Verdict`` writes it."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    outcome: Literal["accepted", "rejected", "undecided"]
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    thresholds: dict[str, Any]
    metrics: dict[str, Any] = Field(default_factory=dict)
    backends: dict[str, str] = Field(default_factory=dict)
    digest: str


class TryPart(Part):
    """One adapter of the run that missed a threshold and was trained again (point 8)."""

    start: Literal["release", "base"]
    seed: int
    outcome: Literal["rejected", "undecided"]
    missed: tuple[Token, ...] = Field(description="Thresholds missed for this subject, or for all.")


class MeasuringPart(Part):
    """How it was measured, beyond the verdict's figures (point 8)."""

    decided_at: AwareDatetime | None = None
    signed_by: Token | None = None
    seconds: float | None = Field(default=None, ge=0, description="Wall time of the whole verification.")
    scores_digest: Digest | None = Field(default=None, description="Of the scores of each probe, which are sealed.")
    scores_kept: bool = Field(default=False, description="Whether these scores are still there.")
    attacks: AttacksPart | None = Field(default=None, description="Attacks tried; None is said as missing.")
    control: ControlPart | None = Field(default=None, description="A model retrained without the subject.")
    control_missing: tuple[Words, ...] | None = Field(default=None, description="Figures that only a control gives.")
    beside_control: tuple[FigurePart, ...] | None = Field(default=None, description="Figures against the control.")
    earlier_tries: tuple[TryPart, ...] = Field(default=(), description="Adapters of the run that were rejected first.")
    release_subject: Token | None = Field(default=None, description="The subject's reference inside the verdict.")


class OverridePart(Part):
    """A person's override of the verdict (point 9): two people, and a reason by its code."""

    reason: Token
    first: Token
    second: Token
    at: AwareDatetime


class ReplicaPart(Part):
    """What one replica acknowledged."""

    replica: Token
    digest: Digest
    engine: Token | None = None
    prepared_at: AwareDatetime | None = Field(default=None, description="None: it joined after the commit.")
    committed_at: AwareDatetime | None = None
    acknowledged_at: AwareDatetime


class ProbePart(Part):
    """One group of questions that one replica was asked, and what its answers came to."""

    at: AwareDatetime
    kind: Token = Field(description="after_swap or scheduled.")
    replica: Token
    generation: int = Field(ge=0)
    asked_about: Token = Field(description="forget, control, own_public or retain.")
    answers: int = Field(ge=0)
    share: float | None = Field(description="Of good answers: forgotten, or kept.")
    required: float
    outcome: Token


class TrialPart(Part):
    """What the release did on its share of the traffic before it was committed."""

    passed: bool | None
    requests: int = Field(ge=0)
    error_share: float | None = None
    live_error_share: float | None = None
    latency_ratio: float | None = Field(default=None, description="Seconds per token over the live release's.")
    overlap: float | None = Field(default=None, description="Share of words with the live answers.")
    why: tuple[Token, ...] = Field(default=(), description="What was missed.")


class SuppressionPart(Part):
    """How long answers about the subject were suppressed (point 10)."""

    state: Token = Field(description="off, pending, confirmed or lifted.")
    since: AwareDatetime | None = None
    confirmed_at: AwareDatetime | None = Field(default=None, description="Every replica with a lease applied it.")
    until: AwareDatetime | None = None
    reasons: tuple[Token, ...] = ()


class DeploymentPart(Part):
    """The swap (point 10)."""

    release_digest: Digest
    generation: int = Field(ge=0)
    released_at: AwareDatetime | None = None
    activated_at: AwareDatetime | None = None
    seconds: float | None = Field(default=None, ge=0, description="From the proposal to the last acknowledgement.")
    replicas: tuple[ReplicaPart, ...] | None = None
    fenced: tuple[Token, ...] = Field(default=(), description="Replicas that did not come along; they answer nobody.")
    caches: tuple[Words, ...] | None = None
    probe_passed: bool | None = None
    probes: tuple[ProbePart, ...] = ()


class NoticePart(Part):
    """Who was told (point 11)."""

    to: Literal["subject", "recipient", "callback"]
    recipient: Token | None = Field(default=None, description="A recipient's code; never an address.")
    letter: Token | None = None
    sent_at: AwareDatetime
    outcome: Token | None = Field(default=None, description="delivered or given_up, of a callback.")
    attempts: int | None = Field(default=None, ge=0)
    signature_checked: bool | None = None


class AuditPart(Part):
    """Where the audit log stands (point 12)."""

    origin: Token
    entries: int = Field(ge=0)
    first_entry: int | None = Field(default=None, ge=1, description="The ticket's first entry.")
    last_entry: int | None = Field(default=None, ge=1, description="The ticket's last entry.")
    head: Digest
    checkpoint: dict[str, Any] | None = Field(default=None, description="The signed checkpoint, whole.")


class RemainPart(Part):
    """Something of the subject that still exists (design.md, decision 12)."""

    what: Words
    where: Words
    sealed: Words = Field(description="How it is protected, or that it is not.")
    ground: Words = Field(description="Why it is kept.")
    until: AwareDatetime | None = Field(default=None, description="When it goes; None: until somebody decides.")


class TimelinePart(Part):
    """One step on the way of the ticket."""

    step: Token
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    attempt: int = Field(default=1, ge=1)
    note: Words | None = None


class CurvePart(Part):
    """The training curve: a loss term's name and its values at ``steps``."""

    steps: Annotated[tuple[int, ...], Field(max_length=100_000)]
    terms: dict[Token, tuple[float | None, ...]]


class ReportData(Part):
    """Everything a report is built from."""

    generated_at: AwareDatetime
    ticket: TicketPart
    identity: IdentityPart | None = None
    legal: LegalPart | None = None
    scope: ScopePart | None = None
    data: DataPart | None = None
    model: ModelPart | None = None
    method: MethodPart | None = None
    verdict: VerdictPart | None = None
    measuring: MeasuringPart | None = None
    override: OverridePart | None = None
    deployment: DeploymentPart | None = None
    trial: TrialPart | None = None
    suppression: SuppressionPart | None = None
    notices: tuple[NoticePart, ...] | None = None
    audit: AuditPart | None = None
    remains: tuple[RemainPart, ...] | None = None
    timeline: tuple[TimelinePart, ...] = ()
    training: CurvePart | None = None
    why_missing: dict[Token, Words] = Field(
        default_factory=dict, description="Path of a missing item (``model.container_digest``): why, in this case."
    )
