"""What SQLite and PostgreSQL spell differently. Each function picks by the connection's database."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, TextClause, Update, bindparam, text
from sqlalchemy.dialects import postgresql, sqlite

from payment.storage.json_rows import insert_from_json, update_from_json

Query = tuple[Select[Any] | TextClause, Mapping[str, Any]]
"""A SELECT that is built once, and its parameters."""

Row = Mapping[str, Any]

LOCK_NUMBERS = text("SELECT pg_advisory_xact_lock(unnest(CAST(:numbers AS bigint[])))")
"""PostgreSQL: lock what the numbers stand for until the transaction ends, in the order in which they come."""

WAIT_FOR_STANDBY = text("SELECT pg_logical_emit_message(true, 'payment', '')")
"""PostgreSQL: write to the log, so that the COMMIT waits for the synchronous standby."""


def is_postgres(connection: Connection) -> bool:
    """Say which of the two it is."""
    return connection.dialect.name == "postgresql"


def lock_query(numbers: Collection[int]) -> Query:
    """Return PostgreSQL's query that locks the numbers.

    They are locked in ascending order, so that two batches never wait for each other.
    """
    return LOCK_NUMBERS, {"numbers": sorted(numbers)}


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the one INSERT into a table that knows ON CONFLICT."""
    return _insert(table, for_postgres=is_postgres(connection))


@cache
def _insert(table: Table, *, for_postgres: bool) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if for_postgres else sqlite.insert(table)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that have the same columns, if there are any.

    PostgreSQL gets all of them as JSON, in one statement.
    """
    if not rows:
        return
    if is_postgres(connection):
        connection.execute(insert_from_json(((table, tuple(rows[0])),)), {table.name: rows})
    else:
        connection.execute(table.insert(), rows)


def update_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Update rows, if there are any: each has its primary key and the columns to set, the same for all.

    PostgreSQL gets all of them as JSON, in one statement.
    """
    if not rows:
        return
    names = tuple(rows[0])
    if is_postgres(connection):
        connection.execute(update_from_json(table, names), {table.name: rows})
    else:
        connection.execute(_update_by_key(table, names), [_as_given(row) for row in rows])


@lru_cache(maxsize=64)
def _update_by_key(table: Table, names: tuple[str, ...]) -> Update:
    """Return an UPDATE of one row, its values from `_as_given`."""
    (key,) = table.primary_key
    return (
        table.update()
        .where(key == bindparam(f"given_{key.name}"))
        .values({name: bindparam(f"given_{name}") for name in names if name != key.name})
    )


def _as_given(row: Row) -> dict[str, Any]:
    """Return a row under names that no column has: SQLAlchemy would set the columns of these names."""
    return {f"given_{name}": value for name, value in row.items()}


_NEXT_OF_SEQUENCE = """
    SELECT nextval('{table}_{column}_seq') FROM generate_series(1, CAST(:size AS integer))"""

# sqlite_sequence says it where ids have to go on after larger ones, see `Side.set_last_id`
_NEXT_OF_NEWEST = """
    SELECT value + max((SELECT coalesce(max({column}), 0) FROM {table}),
        (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}')) AS id
    FROM json_each(:numbers)"""


def fresh_ids(connection: Connection, column: Column[int], size: int) -> Query:
    """Return the query for ids that no row of the column's table has, one in each of `size` rows."""
    if is_postgres(connection):
        return _next_of_sequence(column), {"size": size}
    return _next_of_newest(column), {"numbers": json.dumps(list(range(1, size + 1)))}


@cache
def _next_of_sequence(column: Column[int]) -> TextClause:
    return text(_NEXT_OF_SEQUENCE.format(table=column.table.name, column=column.name))


@cache
def _next_of_newest(column: Column[int]) -> TextClause:
    return text(_NEXT_OF_NEWEST.format(table=column.table.name, column=column.name))
