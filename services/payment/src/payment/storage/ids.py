"""Ids that rise and are given once, whatever becomes of their rows.

PostgreSQL takes them from sequences. SQLite takes what follows the largest id that a table has, or that
`sqlite_sequence` says it had: SQLite's own memory of tables that are AUTOINCREMENT, which we keep for the
others where rows are deleted (`keep_ids_above`).
"""

import json
from functools import cache

from sqlalchemy import Column, Connection, TextClause, text

from payment.storage.statements import Query, is_postgres

_NEXT_OF_SEQUENCE = """
    SELECT nextval('{table}_{column}_seq') FROM generate_series(1, CAST(:size AS integer))"""
_LAST_OF_SEQUENCE = """
    SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {table}_{column}_seq"""
_SET_SEQUENCE = """
    SELECT setval('{table}_{column}_seq', :above) FROM {table}_{column}_seq
    WHERE last_value < :above OR (last_value = :above AND NOT is_called)"""

_LAST_IN_SQLITE = """
    SELECT max(
        coalesce((SELECT max({column}) FROM {table}), 0),
        coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0))"""
_NEXT_IN_SQLITE = f"SELECT ({_LAST_IN_SQLITE}) + value AS id FROM json_each(:numbers)"  # noqa: S608  # our own text
_KEEP_IN_SQLITE = "UPDATE sqlite_sequence SET seq = max(seq, :above) WHERE name = '{table}'"
_BEGIN_IN_SQLITE = "INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', :above)"


def fresh_ids(connection: Connection, column: Column[int], size: int) -> Query:
    """Return the query for ids that no row of the column's table has or had, one in each of `size` rows."""
    if is_postgres(connection):
        return _of(column, _NEXT_OF_SEQUENCE), {"size": size}
    return _of(column, _NEXT_IN_SQLITE), {"numbers": json.dumps(list(range(1, size + 1)))}


def last_id(connection: Connection, column: Column[int]) -> int:
    """Return the largest id that was given, 0 if none was."""
    last = _LAST_OF_SEQUENCE if is_postgres(connection) else _LAST_IN_SQLITE
    found: int = connection.execute(_of(column, last)).scalar_one()
    return found


def keep_ids_above(connection: Connection, column: Column[int], above: int) -> None:
    """Give only ids above this one from now on."""
    given = {"above": above}
    if is_postgres(connection):
        connection.execute(_of(column, _SET_SEQUENCE), given)
    elif not connection.execute(_of(column, _KEEP_IN_SQLITE), given).rowcount:
        connection.execute(_of(column, _BEGIN_IN_SQLITE), given)


@cache
def _of(column: Column[int], statement: str) -> TextClause:
    return text(statement.format(table=column.table.name, column=column.name))
