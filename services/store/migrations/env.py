"""Alembic's entry: always on a connection that migration.migrate opened, never by the alembic command."""

from alembic import context

from services.store import console_tables  # noqa: F401 (its tables too)
from services.store import evidence_tables as evidence_tables
from services.store import people_tables as people_tables
from services.store import protocol_tables as protocol_tables
from services.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's DDL rolls back too, since dialect.py begins transactions itself
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
