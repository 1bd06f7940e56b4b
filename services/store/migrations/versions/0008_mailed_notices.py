"""Letters and notices by mail: how often it was tried, what stood in the way, when it is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notices", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("notices", sa.Column("failed_code", sa.String(length=64), nullable=True))
    op.add_column("notices", sa.Column("next_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_notices_status"), "notices", ["status"])


def downgrade() -> None:
    op.drop_index(op.f("ix_notices_status"), "notices")
    # An older version knows no such state: whoever goes back looks first whether these arrived.
    op.execute("UPDATE notices SET status = 'made' WHERE status = 'sending'")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_column("next_at")
        batch_op.drop_column("failed_code")
        batch_op.drop_column("attempts")
