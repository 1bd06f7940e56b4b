"""Source: a table of any database that SQLAlchemy speaks to, with the records as rows."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, create_engine, delete, event, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchTableError, SQLAlchemyError

from policies.errors import LetheError
from services.deletion.port import Census, as_id, take_census

_BATCH = 500  # ids in one statement; databases limit parameters
_FETCH = 1000


class SqlSource:
    """A table.

    Args:
        url: SQLAlchemy address; it may hold a password and is never logged.
        table: ``table`` or ``schema.table``.
        id_column: The column of the ids.
    """

    kind = "sql"

    def __init__(self, url: str, table: str, id_column: str) -> None:
        self._schema, _, self._name = table.rpartition(".")
        self._id_column = id_column
        with _named():
            self._engine = create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _overwrite)

    def census(self, record_ids: Collection[str], key: bytes) -> Census:
        with _named(), self._engine.connect() as connection:
            table, column = self._reflected(connection)
            query = select(table).order_by(*(table.primary_key.columns or [column]))
            names = [one.name for one in table.columns]
            rows = connection.execution_options(yield_per=_FETCH).execute(query)
            at = names.index(column.name)
            spelt = ((as_id(row[at]), json.dumps([*row], default=str).encode()) for row in rows)
            return take_census(spelt, record_ids, key)

    def delete(self, record_ids: Collection[str]) -> int:
        with _named(), self._engine.begin() as connection:  # all of them, or none
            table, column = self._reflected(connection)
            ids = _typed(column, sorted(record_ids))
            wanted = frozenset(record_ids)
            gone = 0
            for start in range(0, len(ids), _BATCH):
                these = column.in_(ids[start : start + _BATCH])
                if not {as_id(one) for one in connection.scalars(select(column).where(these))} <= wanted:
                    raise LetheError("deletion.other_rows", "The database takes these ids for rows with other ids too.")
                gone += connection.execute(delete(table).where(these)).rowcount
            return gone

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _reflected(self, connection: Connection) -> tuple[Table, Column[Any]]:
        table = Table(self._name, MetaData(), schema=self._schema or None, autoload_with=connection)
        if self._id_column not in table.columns:
            raise LetheError("deletion.no_ids", "The table has no column of that name for the ids.")
        return table, table.columns[self._id_column]


def _typed(column: Column[Any], record_ids: list[str]) -> list[Any]:
    """Ids as the column holds them: a number's id was read as text. ``007`` is no number's: 7 is somebody else."""
    try:
        whole = issubclass(column.type.python_type, int)
    except NotImplementedError:
        whole = False
    return [int(one) for one in record_ids if _is_whole(one)] if whole else list(record_ids)


def _is_whole(one: str) -> bool:
    try:
        return str(int(one)) == one and abs(int(one)) < 1 << 63
    except ValueError:
        return False


def _overwrite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA secure_delete=ON")


@contextmanager
def _named() -> Iterator[None]:
    """Driver errors quote statements with parameters, so none of their text goes on."""
    try:
        yield
    except IntegrityError:
        raise LetheError("deletion.refused", "Other tables of the source still refer to these rows.") from None
    except NoSuchTableError:
        raise LetheError("deletion.source_unreachable", "The source has no such table.") from None
    except (DBAPIError, ArgumentError, SQLAlchemyError, ImportError) as error:
        raise LetheError("deletion.source_unreachable", f"The source's database: {type(error).__name__}.") from None
