"""The one migration step, and the check that every process makes before it touches the store."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from policies.errors import LetheError
from services.store import dialect

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
)  # in order; a test keeps them equal to migrations/versions
HEAD = REVISIONS[-1]
_SCRIPTS = Path(__file__).parent / "migrations"


def current(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one. It never waits for a writer."""
    with engine.connect().execution_options(**{dialect.READ_ONLY: True}) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check(engine: Engine) -> None:
    """Refuses a database that is behind or ahead of this version.

    Raises:
        LetheError: ``store.migration_needed`` or ``store.too_new``.
    """
    revision = current(engine)
    if revision == HEAD:
        return
    if revision is None or revision in REVISIONS:
        raise LetheError(
            "store.migration_needed", f"The store is at {revision or 'nothing'}, this version needs {HEAD}."
        )
    raise LetheError("store.too_new", f"The store is at {revision}; this version knows nothing later than {HEAD}.")


def migrate(url: str, revision: str = "head") -> None:
    """Brings the database to a revision, up or down, in one transaction; creates it where there is none.

    Raises:
        LetheError: ``store.too_new``, ``store.unreachable``, ``store.corrupt``, ``storage.full``.
    """
    with dialect.translated():
        _migrate(url, revision)


def _migrate(url: str, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    engine = dialect.make_engine(url)
    try:
        found = current(engine)
        if found is not None and found not in REVISIONS:
            check(engine)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            known = [None, *REVISIONS]
            target = HEAD if revision == "head" else None if revision == "base" else revision
            move = command.downgrade if known.index(target) < known.index(found) else command.upgrade
            move(config, revision)
    finally:
        engine.dispose()
