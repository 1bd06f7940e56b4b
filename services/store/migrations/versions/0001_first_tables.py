"""All tables of the first version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("role", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject_commitment", sa.String(length=64), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_entries_hash")),
    )
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_entries_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_entries_subject_commitment"), ["subject_commitment"], unique=False)

    op.create_table(
        "replicas",
        sa.Column("replica_id", sa.String(length=200), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("release_digest", sa.String(length=64), nullable=True),
        sa.Column("prepared_digest", sa.String(length=64), nullable=True),
        sa.Column("suppression_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_replicas")),
    )
    with op.batch_alter_table("replicas", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_replicas_base_digest"), ["base_digest"], unique=False)

    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("checks_passed", sa.Boolean(), nullable=True),
        sa.Column("verdict_passed", sa.Boolean(), nullable=True),
        sa.Column("parent_digest", sa.String(length=64), nullable=True),
        sa.Column("release_digest", sa.String(length=64), nullable=True),
        sa.Column("progress", JSON, nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_base_digest"), ["base_digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_status"), ["status"], unique=False)

    op.create_table(
        "subject_keys",
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("kek_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("subject_ref", name=op.f("pk_subject_keys")),
    )
    op.create_table(
        "worker_leases",
        sa.Column("executor_id", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_worker_leases")),
    )
    with op.batch_alter_table("worker_leases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_worker_leases_role"), ["role"], unique=False)

    op.create_table(
        "lookup_hashes",
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_lookup_hashes_subject_ref")
        ),
        sa.PrimaryKeyConstraint("kind", "hash", "subject_ref", name=op.f("pk_lookup_hashes")),
    )
    with op.batch_alter_table("lookup_hashes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lookup_hashes_subject_ref"), ["subject_ref"], unique=False)

    op.create_table(
        "releases",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("parent_digest", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("watermark", JSON, nullable=False),
        sa.Column("verdict", JSON, nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_releases_run_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_releases")),
    )
    with op.batch_alter_table("releases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_releases_base_digest"), ["base_digest"], unique=False)

    op.create_table(
        "sealed_identities",
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_sealed_identities_subject_ref")
        ),
        sa.PrimaryKeyConstraint("subject_ref", name=op.f("pk_sealed_identities")),
    )
    op.create_table(
        "tickets",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("regime", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=200), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirm_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("identity_verified", sa.Boolean(), nullable=False),
        sa.Column("approvals_needed", sa.Integer(), nullable=False),
        sa.Column("approvals", JSON, nullable=False),
        sa.Column("entered_by", sa.String(length=200), nullable=False),
        sa.Column("legal_hold", sa.Boolean(), nullable=False),
        sa.Column("acts", JSON, nullable=False),
        sa.Column("decision", JSON, nullable=True),
        sa.Column("pack_name", sa.String(length=64), nullable=True),
        sa.Column("pack_version", sa.String(length=64), nullable=True),
        sa.Column("pack_digest", sa.String(length=64), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("trace_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_tickets_subject_ref")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_tickets")),
        sa.UniqueConstraint("channel", "external_id", name=op.f("uq_tickets_channel")),
    )
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tickets_base"), ["base"], unique=False)
        batch_op.create_index("ix_tickets_status_due_at", ["status", "due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_tickets_subject_ref"), ["subject_ref"], unique=False)

    op.create_table(
        "desired_state",
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("release_digest", sa.String(length=64), nullable=False),
        sa.Column("watermark", JSON, nullable=False),
        sa.Column("suppression_version", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["release_digest"], ["releases.digest"], name=op.f("fk_desired_state_release_digest")),
        sa.PrimaryKeyConstraint("base_digest", name=op.f("pk_desired_state")),
    )
    op.create_table(
        "forget_sets",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_path", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_forget_sets_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_forget_sets")),
    )
    op.create_table(
        "match_reviews",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("record_id", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_match_reviews_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", "record_id", name=op.f("pk_match_reviews")),
    )
    op.create_table(
        "reports",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("json_path", sa.String(length=500), nullable=False),
        sa.Column("html_path", sa.String(length=500), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_reports_run_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_reports_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_reports")),
    )
    op.create_table(
        "run_tickets",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_tickets_run_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_run_tickets_ticket_id")),
        sa.PrimaryKeyConstraint("run_id", "ticket_id", name=op.f("pk_run_tickets")),
    )
    with op.batch_alter_table("run_tickets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_tickets_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "sealed_items",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=True),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("ground", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_sealed_items_subject_ref")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_sealed_items_ticket_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_sealed_items")),
    )
    with op.batch_alter_table("sealed_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sealed_items_subject_ref"), ["subject_ref"], unique=False)
        batch_op.create_index(batch_op.f("ix_sealed_items_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "suppressions",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_suppressions_subject_ref")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_suppressions_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_suppressions")),
    )
    with op.batch_alter_table("suppressions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_suppressions_base_digest"), ["base_digest"], unique=False)

    op.create_table(
        "ticket_events",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("from_status", sa.String(length=64), nullable=True),
        sa.Column("to_status", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason_sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_ticket_events_ticket_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_ticket_events")),
    )
    with op.batch_alter_table("ticket_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ticket_events_ticket_id"), ["ticket_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("ticket_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ticket_events_ticket_id"))

    op.drop_table("ticket_events")
    with op.batch_alter_table("suppressions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_suppressions_base_digest"))

    op.drop_table("suppressions")
    with op.batch_alter_table("sealed_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sealed_items_ticket_id"))
        batch_op.drop_index(batch_op.f("ix_sealed_items_subject_ref"))

    op.drop_table("sealed_items")
    with op.batch_alter_table("run_tickets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_tickets_ticket_id"))

    op.drop_table("run_tickets")
    op.drop_table("reports")
    op.drop_table("match_reviews")
    op.drop_table("forget_sets")
    op.drop_table("desired_state")
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tickets_subject_ref"))
        batch_op.drop_index("ix_tickets_status_due_at")
        batch_op.drop_index(batch_op.f("ix_tickets_base"))

    op.drop_table("tickets")
    op.drop_table("sealed_identities")
    with op.batch_alter_table("releases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_releases_base_digest"))

    op.drop_table("releases")
    with op.batch_alter_table("lookup_hashes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lookup_hashes_subject_ref"))

    op.drop_table("lookup_hashes")
    with op.batch_alter_table("worker_leases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_worker_leases_role"))

    op.drop_table("worker_leases")
    op.drop_table("subject_keys")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_runs_status"))
        batch_op.drop_index(batch_op.f("ix_runs_base_digest"))

    op.drop_table("runs")
    with op.batch_alter_table("replicas", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_replicas_base_digest"))

    op.drop_table("replicas")
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_entries_subject_commitment"))
        batch_op.drop_index(batch_op.f("ix_audit_entries_kind"))

    op.drop_table("audit_entries")
    op.drop_table("audit_checkpoints")
    op.drop_table("api_keys")
