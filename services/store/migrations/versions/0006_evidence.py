"""Evidence: what became of a person's source records."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("rows_before", sa.Integer(), nullable=True),
        sa.Column("found_before", sa.Integer(), nullable=True),
        sa.Column("rows_after", sa.Integer(), nullable=True),
        sa.Column("found_after", sa.Integer(), nullable=True),
        sa.Column("content_digest", sa.String(length=64), nullable=True),
        sa.Column("rest_before", sa.String(length=64), nullable=True),
        sa.Column("rest_after", sa.String(length=64), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("planned_at", MOMENT, nullable=False),
        sa.Column("tried_at", MOMENT, nullable=True),
        sa.Column("ordered_by", sa.String(length=200), nullable=True),
        sa.Column("ordered_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_deletions_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", "source", name=op.f("pk_deletions")),
    )
    op.create_index(op.f("ix_deletions_status"), "deletions", ["status"])


def downgrade() -> None:
    op.drop_index(op.f("ix_deletions_status"), table_name="deletions")
    op.drop_table("deletions")
