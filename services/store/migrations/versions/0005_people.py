"""People: whose key a key is, accounts, exemptions, recipients, notices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)
API_KEYS = sa.table("api_keys", sa.column("key_id", sa.String), sa.column("scopes", JSON), sa.column("holder", sa.String))
# What was one scope is three now: a key that might decide goes on doing what it did.
DECIDED = ("tickets:approve", "tickets:verify")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("holder", sa.String(length=200), nullable=True))
    connection = op.get_bind()
    for key_id, scopes in connection.execute(sa.select(API_KEYS.c.key_id, API_KEYS.c.scopes)).all():
        wider = sorted({*scopes, *DECIDED}) if "tickets:decide" in scopes else scopes
        change = sa.update(API_KEYS).where(API_KEYS.c.key_id == key_id)
        connection.execute(change.values(holder=f"key:{key_id}", scopes=wider))
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.alter_column("holder", existing_type=sa.String(length=200), nullable=False)
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.Column("blocked_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("issuer", "subject_hash", name=op.f("uq_accounts_issuer")),
    )
    op.create_table(
        "exemptions",
        sa.Column("exemption_id", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=100), nullable=True),
        sa.Column("record_id", sa.String(length=200), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("article", sa.String(length=120), nullable=False),
        sa.Column("decided_by", sa.String(length=200), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.Column("review_by", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_exemptions_ticket_id")),
        sa.PrimaryKeyConstraint("exemption_id", name=op.f("pk_exemptions")),
    )
    op.create_index(op.f("ix_exemptions_ticket_id"), "exemptions", ["ticket_id"])
    op.create_index(op.f("ix_exemptions_review_by"), "exemptions", ["review_by"])
    op.create_table(
        "recipients",
        sa.Column("recipient_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=200), nullable=True),
        sa.Column("added_by", sa.String(length=200), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("recipient_id", name=op.f("pk_recipients")),
    )
    op.create_table(
        "notices",
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=False),
        sa.Column("letter", sa.String(length=64), nullable=False),
        sa.Column("recipient_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("sent_by", sa.String(length=200), nullable=True),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("way", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.ticket_id"], name=op.f("fk_notices_ticket_id")),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notices")),
        sa.UniqueConstraint("ticket_id", "letter", "recipient_id", name=op.f("uq_notices_ticket_id")),
    )
    op.create_index(op.f("ix_notices_ticket_id"), "notices", ["ticket_id"])


def downgrade() -> None:
    op.drop_table("notices")
    op.drop_table("recipients")
    op.drop_table("exemptions")
    op.drop_table("accounts")
    connection = op.get_bind()
    for key_id, scopes in connection.execute(sa.select(API_KEYS.c.key_id, API_KEYS.c.scopes)).all():
        # An approver of today gets no tickets:decide back: it would let them do more than they may.
        narrower = [scope for scope in scopes if scope not in DECIDED]
        connection.execute(sa.update(API_KEYS).where(API_KEYS.c.key_id == key_id).values(scopes=narrower))
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_column("holder")
