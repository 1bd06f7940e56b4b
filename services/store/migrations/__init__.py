"""Alembic's scripts; run by services.store.migration.migrate only."""
