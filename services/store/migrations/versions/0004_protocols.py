"""Protocols: senders, what they sent and are told, batches, and requests of the web form."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "senders",
        sa.Column("sender_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=200), nullable=True),
        sa.Column("regime", sa.String(length=64), nullable=True),
        sa.Column("attests", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_until", MOMENT, nullable=True),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("domains", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("sender_id", name=op.f("pk_senders")),
    )
    op.create_index(op.f("ix_senders_key_id"), "senders", ["key_id"])
    op.create_table(
        "sent_tickets",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("sender_id", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("callback_urls", sa.LargeBinary(), nullable=True),
        sa.Column("callbacks", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_sent_tickets_ticket_id")),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.sender_id"], name=op.f("fk_sent_tickets_sender_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_sent_tickets")),
    )
    op.create_index(op.f("ix_sent_tickets_sender_id"), "sent_tickets", ["sender_id"])
    op.create_table(
        "callbacks",
        sa.Column("callback_id", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("request_status", sa.String(length=64), nullable=False),
        sa.Column("ticket_status", sa.String(length=64), nullable=False),
        sa.Column("expected_at", MOMENT, nullable=True),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("answer", sa.Integer(), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("failed_code", sa.String(length=64), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_callbacks_ticket_id")),
        sa.PrimaryKeyConstraint("callback_id", name=op.f("pk_callbacks")),
    )
    op.create_index(op.f("ix_callbacks_state_next_at"), "callbacks", ["state", "next_at"])
    op.create_index(op.f("ix_callbacks_ticket_id"), "callbacks", ["ticket_id"])
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("sender_id", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("filed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.sender_id"], name=op.f("fk_batches_sender_id")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batches")),
    )
    op.create_index(op.f("ix_batches_sender_id"), "batches", ["sender_id"])
    op.create_table(
        "batch_rows",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("fields", JSON, nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_batch_rows_batch_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_batch_rows_ticket_id")),
        sa.PrimaryKeyConstraint("batch_id", "row", name=op.f("pk_batch_rows")),
    )
    op.create_table(
        "form_requests",
        sa.Column("form_id", sa.String(length=64), nullable=False),
        sa.Column("address_hash", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("asked", sa.LargeBinary(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("mailed_at", MOMENT, nullable=True),
        sa.Column("ticket_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_form_requests_ticket_id")),
        sa.PrimaryKeyConstraint("form_id", name=op.f("pk_form_requests")),
    )
    op.create_index(op.f("ix_form_requests_address_hash"), "form_requests", ["address_hash"])


def downgrade() -> None:
    for table in ("form_requests", "batch_rows", "batches", "callbacks", "sent_tickets", "senders"):
        op.drop_table(table)
