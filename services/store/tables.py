"""All tables. No column holds personal data in the clear; what identifies a person is sealed under the person's key."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.store.types import Json, UtcDateTime

Id = String(64)
Code = String(64)


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can drop it on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[str]: Json,
        list[Any]: Json,
        bytes: LargeBinary,
    }


class SubjectKey(Base):
    """A subject's own key, wrapped; its destruction makes everything sealed under it unreadable."""

    __tablename__ = "subject_keys"

    subject_ref: Mapped[str] = mapped_column(Id, primary_key=True)
    wrapped: Mapped[bytes | None]
    kek_id: Mapped[str] = mapped_column(Id)
    created_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]


class SealedIdentity(Base):
    """The raw identity as the ticket gave it, encrypted under the subject's key; deleted when the ticket closes."""

    __tablename__ = "sealed_identities"

    subject_ref: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject_ref"), primary_key=True)
    ciphertext: Mapped[bytes]
    created_at: Mapped[datetime]


class SealedItem(Base):
    """What may be kept of an erased person (probes, replay rows), with ground and expiry."""

    __tablename__ = "sealed_items"

    item_id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject_ref: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject_ref"), index=True)
    ticket_id: Mapped[str | None] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    purpose: Mapped[str] = mapped_column(Code)
    ciphertext: Mapped[bytes]
    ground: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class LookupHash(Base):
    """HMAC of a normalised identifier under the installation's lookup key: finds duplicates, never leaves the store."""

    __tablename__ = "lookup_hashes"

    kind: Mapped[str] = mapped_column(Code, primary_key=True)
    hash: Mapped[str] = mapped_column(Id, primary_key=True)
    subject_ref: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject_ref"), primary_key=True, index=True)


class Ticket(Base):
    """One erasure request."""

    __tablename__ = "tickets"
    __table_args__ = (UniqueConstraint("channel", "external_id"), Index("ix_tickets_status_due_at", "status", "due_at"))

    ticket_id: Mapped[str] = mapped_column(Id, primary_key=True)
    channel: Mapped[str] = mapped_column(Code)
    external_id: Mapped[str] = mapped_column(String(200))
    body_digest: Mapped[str] = mapped_column(Id)  # keyed: tells "sent twice" from "id reused"
    regime: Mapped[str] = mapped_column(Code)
    status: Mapped[str] = mapped_column(Code)
    version: Mapped[int]  # optimistic lock
    subject_ref: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject_ref"), index=True)
    base: Mapped[str] = mapped_column(String(200), index=True)
    submitted_at: Mapped[datetime | None]  # when the person asked, as the controller says
    received_at: Mapped[datetime]
    confirm_by: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    approved_at: Mapped[datetime | None]  # of the first full approval: suppression starts here
    closed_at: Mapped[datetime | None]
    identity_verified: Mapped[bool]
    approvals_needed: Mapped[int]
    approvals: Mapped[list[Any]]  # {"by", "role", "at"}, each person once
    entered_by: Mapped[str] = mapped_column(String(200))
    legal_hold: Mapped[bool]
    acts: Mapped[dict[str, Any]]  # what people recorded: identity (a reference), ground, extension, waived
    decision: Mapped[dict[str, Any] | None]
    pack_name: Mapped[str | None] = mapped_column(Code)
    pack_version: Mapped[str | None] = mapped_column(Code)
    pack_digest: Mapped[str | None] = mapped_column(Id)
    reason_code: Mapped[str | None] = mapped_column(Code)  # why it waits or ended, where an error code says it
    trace_id: Mapped[str | None] = mapped_column(Id)  # a run links back to it


class TicketEvent(Base):
    """The history of a ticket; a person's reason is sealed, since it may name somebody."""

    __tablename__ = "ticket_events"

    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(Code)
    from_status: Mapped[str | None] = mapped_column(Code)
    to_status: Mapped[str] = mapped_column(Code)
    actor: Mapped[str] = mapped_column(String(200))
    reason_code: Mapped[str | None] = mapped_column(Code)
    reason_sealed: Mapped[bytes | None]


class ForgetSet(Base):
    """What a ticket's person is to be forgotten of; the content is sealed, in the row or in a file."""

    __tablename__ = "forget_sets"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True)
    digest: Mapped[str] = mapped_column(Id)  # keyed
    counts: Mapped[dict[str, Any]]
    ciphertext: Mapped[bytes | None]
    sealed_path: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]


class MatchReview(Base):
    """An ambiguous match that a person decides: ``decision`` is empty, ``confirm`` or ``deny``."""

    __tablename__ = "match_reviews"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True)
    record_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    reason: Mapped[str] = mapped_column(String(200))
    decision: Mapped[str | None] = mapped_column(Code)
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_at: Mapped[datetime | None]


class Run(Base):
    """One run: from augmentation to report, for one or several tickets of one base."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(Id, primary_key=True)
    base_digest: Mapped[str] = mapped_column(String(200), index=True)
    status: Mapped[str] = mapped_column(Code, index=True)
    version: Mapped[int]
    attempt: Mapped[int]  # fences late writers
    method: Mapped[str] = mapped_column(Code)
    seed: Mapped[int]
    cancel_requested: Mapped[bool]
    checks_passed: Mapped[bool | None]
    verdict_passed: Mapped[bool | None]
    parent_digest: Mapped[str | None] = mapped_column(Id)  # release that it starts from
    release_digest: Mapped[str | None] = mapped_column(Id)  # release that it made
    progress: Mapped[dict[str, Any] | None]
    reason_code: Mapped[str | None] = mapped_column(Code)
    planned_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RunTicket(Base):
    """Which tickets a run serves, and which runs a ticket had."""

    __tablename__ = "run_tickets"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True, index=True)


class Release(Base):
    """A verified adapter; immutable, named by its content."""

    __tablename__ = "releases"

    digest: Mapped[str] = mapped_column(Id, primary_key=True)
    base_digest: Mapped[str] = mapped_column(String(200), index=True)
    parent_digest: Mapped[str | None] = mapped_column(Id)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    watermark: Mapped[list[str]]
    verdict: Mapped[dict[str, Any]]
    path: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime]


class DesiredState(Base):
    """What every replica of a base should serve; changed by compare-and-swap only, the generation never falls."""

    __tablename__ = "desired_state"

    base_digest: Mapped[str] = mapped_column(String(200), primary_key=True)
    generation: Mapped[int]
    release_digest: Mapped[str] = mapped_column(ForeignKey("releases.digest"))
    watermark: Mapped[list[str]]
    suppression_version: Mapped[int]
    changed_at: Mapped[datetime]  # of the generation; a change of the suppression leaves it alone
    proposed_digest: Mapped[str | None] = mapped_column(Id)  # to be prepared by every replica before anybody commits
    proposed_generation: Mapped[int | None]
    proposed_at: Mapped[datetime | None]  # stays after a commit: since when it was on its way
    prepare_until: Mapped[datetime | None]


class Suppression(Base):
    """A subject that is suppressed in output; told as suppression, never as erasure (GDPR Art. 18)."""

    __tablename__ = "suppressions"

    suppression_id: Mapped[str] = mapped_column(Id, primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    subject_ref: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject_ref"))
    base_digest: Mapped[str] = mapped_column(String(200), index=True)
    reason: Mapped[str] = mapped_column(Code)  # approved, restriction, rollback, probe_failed
    version: Mapped[int]  # suppression_version of the desired state from which replicas apply the rule as it is
    ciphertext: Mapped[bytes | None]  # the rule, sealed under the suppression key; gone once lifted
    since: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]  # every leased replica had acknowledged it
    lifted_at: Mapped[datetime | None]


class Replica(Base):
    """A serving replica: what it serves and until when its word counts."""

    __tablename__ = "replicas"

    replica_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    base_digest: Mapped[str] = mapped_column(String(200), index=True)
    generation: Mapped[int]
    release_digest: Mapped[str | None] = mapped_column(Id)
    prepared_digest: Mapped[str | None] = mapped_column(Id)
    prepared_generation: Mapped[int] = mapped_column(default=-1, server_default="-1")
    prepared_at: Mapped[datetime | None]
    refused: Mapped[str | None] = mapped_column(Code)  # why it does not prepare what is proposed
    suppression_version: Mapped[int]
    state: Mapped[str] = mapped_column(Code)
    lease_until: Mapped[datetime]
    committed_at: Mapped[datetime | None]  # the alias pointed to the generation
    acked_at: Mapped[datetime | None]  # and what came before was unloaded
    address: Mapped[str | None] = mapped_column(String(200))  # URL of its gateway, for probes of this very replica
    about: Mapped[dict[str, Any] | None]  # engine, its version, adapters that it holds, caches
    trial: Mapped[dict[str, Any] | None]  # figures of the prepared release on its share of the traffic


class Recheck(Base):
    """Probes asked of one replica: after a swap, or on schedule. Figures only, no text."""

    __tablename__ = "rechecks"
    __table_args__ = (Index("ix_rechecks_base_digest_at", "base_digest", "at"),)

    recheck_id: Mapped[str] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(Code)  # after_swap, scheduled
    base_digest: Mapped[str] = mapped_column(String(200))
    generation: Mapped[int]
    replica_id: Mapped[str] = mapped_column(String(200))
    ticket_id: Mapped[str | None] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    outcome: Mapped[str] = mapped_column(Code)  # pass, fail, undecided
    figures: Mapped[dict[str, Any]]


class ReleaseOrder(Base):
    """What somebody ordered of the released model (promote, roll back, re-check); a durable job carries it out."""

    __tablename__ = "release_orders"

    order_id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(Code)  # promote, rollback, forward, recheck
    base_digest: Mapped[str] = mapped_column(String(200))
    release_digest: Mapped[str | None] = mapped_column(Id)
    suppress: Mapped[bool]  # whether the people whom the release does not cover may be suppressed instead
    actor: Mapped[str] = mapped_column(String(200))
    why: Mapped[bytes | None]  # a person's words, sealed under the installation's key
    status: Mapped[str] = mapped_column(Code, index=True)  # open, done, failed
    reason_code: Mapped[str | None] = mapped_column(Code)
    result: Mapped[dict[str, Any] | None]
    ordered_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class AuditEntryRow(Base):
    """One link of the hash-chained log; services/audit.py defines what is hashed."""

    __tablename__ = "audit_entries"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))  # text: the hash covers these very characters
    kind: Mapped[str] = mapped_column(Code, index=True)
    subject_commitment: Mapped[str | None] = mapped_column(Id, index=True)
    payload: Mapped[str] = mapped_column(Text)
    prev_hash: Mapped[str] = mapped_column(Id)
    hash: Mapped[str] = mapped_column(Id, unique=True)


class AuditCheckpointRow(Base):
    """A signed statement: the log had this size and this head."""

    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[str] = mapped_column(Id)
    at: Mapped[str] = mapped_column(String(40))
    key_id: Mapped[str] = mapped_column(Id)
    signature: Mapped[str] = mapped_column(Text)


class ApiKey(Base):
    """An API key: only the hash of its secret half."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    secret_hash: Mapped[str] = mapped_column(Id)
    scopes: Mapped[list[str]]
    role: Mapped[str | None] = mapped_column(Code)  # what the holder is to a policy pack: privacy_officer, admin
    holder: Mapped[str] = mapped_column(String(200))  # an actor: one person stays one after a rotation
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WorkerLease(Base):
    """A worker process: alive while its lease runs."""

    __tablename__ = "worker_leases"

    executor_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    role: Mapped[str] = mapped_column(Code, index=True)
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime]


class Report(Base):
    """Where the report of a ticket lies; the digest is of its JSON."""

    __tablename__ = "reports"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.run_id"))
    json_path: Mapped[str] = mapped_column(String(500))
    html_path: Mapped[str | None] = mapped_column(String(500))
    digest: Mapped[str] = mapped_column(Id)
    created_at: Mapped[datetime]


class RunStep(Base):
    """One step of a run as it was done: when, by which attempt, and its result (ids, digests, figures; no text)."""

    __tablename__ = "run_steps"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), primary_key=True)
    step: Mapped[str] = mapped_column(Code, primary_key=True)
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]


class ErasedRecord(Base):
    """A record that was forgotten, by keyed digest: an index that is built anew leaves it out again."""

    __tablename__ = "erased_records"

    record_digest: Mapped[str] = mapped_column(Id, primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    erased_at: Mapped[datetime]
