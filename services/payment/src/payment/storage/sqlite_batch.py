"""A batch on SQLite. Its statements go to the driver as they are: SQLAlchemy takes several times as long.

The names in them are those of our own tables.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import JSON, Connection, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from payment.storage.batch import BatchTransaction, Rows
from payment.storage.json_rows import json_of
from payment.storage.spelling import spelled
from payment.storage.sqlite_engine import refuse_if_moved
from payment.storage.statements import Query, Row

_INSERT = "INSERT INTO {table} ({names}) VALUES ({values})"
_UPDATE = "UPDATE {table} SET {changes} WHERE {key} = :{key}"
_DIALECT = sqlite.dialect(paramstyle="named")


class SqliteBatch(BatchTransaction):
    """A batch in a thread, over a connection whose transaction has begun."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._cursor = connection.connection.cursor()

    def read_unlocked(self, query: Query) -> Sequence[Any]:
        """See `BatchTransaction.read_unlocked`; the one writer has locked everything already."""
        return self._fetch(query)

    def read(self, locks: Collection[int], queries: Collection[Query]) -> list[Sequence[Any]]:
        """See `BatchTransaction.read`; the one writer has locked everything already."""
        del locks
        return [self._fetch(query) for query in queries]

    def write_and_commit(self, *, new: Rows, changed: Rows) -> None:
        """See `BatchTransaction.write_and_commit`."""
        for table, rows in new.items():
            if rows:
                self._execute_each(_insert(table, tuple(rows[0])), _as_bound(table, rows))
        for table, rows in changed.items():
            if rows:
                self._execute_each(_update(table, tuple(rows[0])), _as_bound(table, rows))
        self._connection.commit()

    def _fetch(self, query: Query) -> Sequence[Any]:
        text, values = spelled(*query, _DIALECT)
        with _as_sqlalchemy_raises(text, values):
            self._cursor.execute(text, values)
            row = _row_of(tuple(name for name, *_ in self._cursor.description))
            return [row(*each) for each in self._cursor.fetchall()]

    def _execute_each(self, text: str, rows: Sequence[Row]) -> None:
        with _as_sqlalchemy_raises(text, rows):
            self._cursor.executemany(text, rows)


@cache
def _insert(table: Table, names: tuple[str, ...]) -> str:
    values = ", ".join(f":{name}" for name in names)
    return _INSERT.format(table=table.name, names=", ".join(names), values=values)


@cache
def _update(table: Table, names: tuple[str, ...]) -> str:
    (key,) = table.primary_key
    changes = ", ".join(f"{name} = :{name}" for name in names if name != key.name)
    return _UPDATE.format(table=table.name, changes=changes, key=key.name)


def _as_bound(table: Table, rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows as the driver takes them: it knows no JSON."""
    in_json = _json_columns(table, tuple(rows[0]))
    if not in_json:
        return rows
    return [{**row, **{name: json_of(row[name]) for name in in_json}} for row in rows]


@cache
def _json_columns(table: Table, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if isinstance(table.c[name].type, JSON))


@lru_cache(maxsize=64)
def _row_of(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024  # its fields are those of a query


@contextmanager
def _as_sqlalchemy_raises(text: str, values: Mapping[str, Any] | Sequence[Row]) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy does."""
    try:
        yield
    except sqlite3.Error as error:
        refuse_if_moved(error)
        raise DBAPIError.instance(text, values, error, sqlite3.Error, dialect=_DIALECT) from error
