"""The fleet: a proposed release beside the desired one, what replicas prepared, suppression rules, re-checks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("desired_state", schema=None) as batch_op:
        batch_op.add_column(sa.Column("proposed_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("proposed_generation", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("proposed_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("prepare_until", MOMENT, nullable=True))
    with op.batch_alter_table("replicas", schema=None) as batch_op:
        batch_op.add_column(sa.Column("prepared_generation", sa.Integer(), nullable=False, server_default="-1"))
        batch_op.add_column(sa.Column("prepared_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("refused", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("committed_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("address", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("about", JSON, nullable=True))
        batch_op.add_column(sa.Column("trial", JSON, nullable=True))
    # No version before this one wrote to it.
    op.drop_table("suppressions")
    op.create_table(
        "suppressions",
        sa.Column("suppression_id", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("confirmed_at", MOMENT, nullable=True),
        sa.Column("lifted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_suppressions_subject_ref")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_suppressions_ticket_id")),
        sa.PrimaryKeyConstraint("suppression_id", name=op.f("pk_suppressions")),
    )
    op.create_index(op.f("ix_suppressions_ticket_id"), "suppressions", ["ticket_id"])
    op.create_index(op.f("ix_suppressions_base_digest"), "suppressions", ["base_digest"])
    op.create_table(
        "rechecks",
        sa.Column("recheck_id", sa.String(length=64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("replica_id", sa.String(length=200), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("figures", JSON, nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_rechecks_ticket_id")),
        sa.PrimaryKeyConstraint("recheck_id", name=op.f("pk_rechecks")),
    )
    op.create_index(op.f("ix_rechecks_ticket_id"), "rechecks", ["ticket_id"])
    op.create_index("ix_rechecks_base_digest_at", "rechecks", ["base_digest", "at"])
    op.create_table(
        "release_orders",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("release_digest", sa.String(length=64), nullable=True),
        sa.Column("suppress", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("why", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("ordered_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_release_orders")),
    )
    op.create_index(op.f("ix_release_orders_status"), "release_orders", ["status"])


def downgrade() -> None:
    op.drop_table("release_orders")
    op.drop_table("rechecks")
    op.drop_table("suppressions")
    op.create_table(
        "suppressions",
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("subject_ref", sa.String(length=64), nullable=False),
        sa.Column("base_digest", sa.String(length=200), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("lifted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_ref"], ["subject_keys.subject_ref"], name=op.f("fk_suppressions_subject_ref")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_suppressions_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_suppressions")),
    )
    op.create_index(op.f("ix_suppressions_base_digest"), "suppressions", ["base_digest"])
    with op.batch_alter_table("replicas", schema=None) as batch_op:
        for column in ("trial", "about", "address", "committed_at", "refused", "prepared_at", "prepared_generation"):
            batch_op.drop_column(column)
    with op.batch_alter_table("desired_state", schema=None) as batch_op:
        for column in ("prepare_until", "proposed_at", "proposed_generation", "proposed_digest"):
            batch_op.drop_column(column)
