from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from policies.errors import LetheError
from services.store import dialect, migration
from services.store.engine import open_store
from services.store.tables import Base


def test_up_makes_exactly_the_tables_that_the_code_uses(store_url: str) -> None:
    migration.migrate(store_url)
    engine = dialect.make_engine(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_down_leaves_nothing_and_up_works_again(store_url: str) -> None:
    migration.migrate(store_url)
    migration.migrate(store_url, "base")
    engine = dialect.make_engine(store_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    migration.migrate(store_url)
    migration.migrate(store_url)  # nothing to do is no fault
    open_store(store_url).close()


def test_every_step_goes_down_and_up_again_to_the_same_schema(store_url: str) -> None:
    engine = dialect.make_engine(store_url)
    seen = []
    for revision in migration.REVISIONS:
        migration.migrate(store_url, revision)
        seen.append(_schema(engine))
    for revision, expected in reversed(list(zip(migration.REVISIONS, seen, strict=True))):
        migration.migrate(store_url, revision)
        assert _schema(engine) == expected
    migration.migrate(store_url)
    assert _schema(engine) == seen[-1]
    engine.dispose()


def _schema(engine: Engine) -> dict[str, tuple[list[str], list[str]]]:
    """Columns and indexes by table, as the database tells them."""
    with engine.connect().execution_options(**{dialect.READ_ONLY: True}) as connection:
        found = inspect(connection)
        return {
            table: (
                sorted(f"{one['name']} {one['type']} {one['nullable']}" for one in found.get_columns(table)),
                sorted(f"{one['name']} {one['column_names']}" for one in found.get_indexes(table)),
            )
            for table in found.get_table_names()
        }


def test_a_migration_that_fails_leaves_nothing_behind(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    engine = dialect.make_engine(store_url)
    with monkeypatch.context() as patch:
        patch.setattr(Operations, "create_index", fail)
        patch.setattr("alembic.op.create_index", fail)
        patch.setattr("alembic.op.batch_alter_table", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            migration.migrate(store_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    migration.migrate(store_url)


def test_the_list_of_revisions_is_what_the_scripts_say() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == migration.REVISIONS


def test_a_database_that_is_missing_behind_or_ahead_is_refused(store_url: str, tmp_path: Path) -> None:
    if dialect.is_sqlite(store_url):
        with pytest.raises(LetheError) as missing:
            open_store(store_url)
        assert missing.value.code == "store.missing"
        assert not (tmp_path / "lethe.sqlite").exists()
    migration.migrate(store_url)
    migration.migrate(store_url, "base")
    with pytest.raises(LetheError) as behind:
        open_store(store_url)
    assert behind.value.code == "store.migration_needed"
    migration.migrate(store_url)
    engine = dialect.make_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for refused in (lambda: open_store(store_url), lambda: migration.migrate(store_url)):
        with pytest.raises(LetheError) as ahead:
            refused()
        assert ahead.value.code == "store.too_new"


def test_a_file_that_is_no_database_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "lethe.sqlite").write_bytes(b"not a database at all, but long enough to be read as a header" * 40)
    with pytest.raises(LetheError) as refused:
        open_store(f"sqlite:///{tmp_path / 'lethe.sqlite'}")
    assert refused.value.code == "store.corrupt"
