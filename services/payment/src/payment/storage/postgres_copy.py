"""PostgreSQL as one side of a copy. The names in its statements are those of our own tables."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Boolean, Column, Connection, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from payment.storage.copy_side import CHUNK, Chunk, Side, is_json

LOCK_TIMEOUT_S = 20
"""As long may one who was killed go on in the server."""

_DECLARE = "DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {values} FROM {table} ORDER BY {key}"
_COPY = "COPY {table} ({names}) FROM STDIN (FREEZE)"

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it


class PostgresSide(Side):
    """A database of a server. Its rows come by a cursor and go by COPY, both as text."""

    encoding_query = "SHOW server_encoding"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # it is one

    def _begin(self) -> None:
        self.connection.exec_driver_sql(
            f"SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"
        )

    def freeze(self, tables: Sequence[Table]) -> None:
        """See `Side.freeze`; whoever reads goes on."""
        names = ", ".join(table.name for table in tables)
        self.connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def find_unfit(self, table: Table) -> str | None:
        """See `Side.find_unfit`: SQLite holds all of it."""
        del table
        return None

    def rows(self, table: Table) -> Generator[Chunk]:
        """See `Side.rows`. Texts are ordered by their bytes, as in SQLite."""
        key = ", ".join(
            f'{column.name} COLLATE "C"' if isinstance(column.type, Text) else column.name
            for column in table.primary_key
        )
        values = ", ".join(map(_value, table.columns))
        name = f"rows_of_{table.name}"
        declare = _DECLARE.format(cursor=name, values=values, table=table.name, key=key)
        with _as_sqlalchemy_raises(table), self._driver.cursor(row_factory=tuple_row, binary=True) as cursor:
            cursor.execute(declare.encode())
            try:
                while chunk := cursor.execute(f"FETCH {CHUNK} FROM {name}".encode()).fetchall():
                    yield chunk
            finally:
                with suppress(psycopg.Error):  # after an error nothing can be closed, and nothing need be
                    cursor.execute(f"CLOSE {name}".encode())

    def empty(self, tables: Sequence[Table]) -> None:
        """See `Side.empty`."""
        self.connection.exec_driver_sql(f"TRUNCATE {', '.join(table.name for table in tables)}")

    def fill(self, table: Table, chunks: Iterable[Chunk]) -> Iterator[int]:
        """See `Side.fill`. After a TRUNCATE rows can be written frozen: no vacuum has to write them again."""
        names = ", ".join(column.name for column in table.columns)
        into = _COPY.format(table=table.name, names=names).encode()
        self.connection.exec_driver_sql(f"TRUNCATE {table.name} CASCADE")  # what refers to it is empty
        with _as_sqlalchemy_raises(table), self._driver.cursor() as cursor, cursor.copy(into) as copy:
            for chunk in chunks:
                for row in chunk:
                    copy.write_row(row)
                yield len(chunk)

    def note_sizes(self) -> None:
        """See `Side.note_sizes`."""
        self.connection.exec_driver_sql("ANALYZE")


def _value(column: Column[Any]) -> str:
    if is_json(column):
        return f"CAST({column.name} AS text)"
    return f"CAST({column.name} AS integer)" if isinstance(column.type, Boolean) else column.name


@contextmanager
def _as_sqlalchemy_raises(table: Table) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(table.name, None, error, psycopg.Error, dialect=_DIALECT) from error
