"""PostgreSQL's INSERT and UPDATE of many rows at once: they are sent as JSON, one parameter a table.

One statement for all rows is parsed and planned once, and its text is the same however many rows there are.
The names in it are those of our own tables.
"""

from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import JSON, Table, TextClause, bindparam, text
from sqlalchemy.dialects import postgresql

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it

_INSERT = """
    INSERT INTO {table} ({names})
    SELECT {names} FROM json_to_recordset(:{table}) AS given ({names_and_types})"""

_UPDATE = """
    UPDATE {table} SET {changes}
    FROM json_to_recordset(:{table}) AS given ({names_and_types})
    WHERE {table}.{key} = given.{key}"""


def json_of(value: Any) -> str:
    """Return JSON text, in a tenth of the time that the standard library takes."""
    return orjson.dumps(value).decode()


@lru_cache(maxsize=64)
def insert_from_json(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> TextClause:
    """Return one statement that inserts rows into each table.

    All but the last INSERT are in its WITH. PostgreSQL checks foreign keys at the end of the statement.

    Args:
        shape: the tables, each with the columns that its rows have. The parameter that holds the rows has the
            table's name.
    """
    *others, last = (
        _INSERT.format(
            table=table.name, names=", ".join(names), names_and_types=names_and_types_of(table, names)
        )
        for table, names in shape
    )
    before = ", ".join(f"insert_{number} AS ({other})" for number, other in enumerate(others))
    return with_json(f"WITH {before} {last}" if before else last, *(table for table, _ in shape))


@lru_cache(maxsize=64)
def update_from_json(table: Table, names: tuple[str, ...]) -> TextClause:
    """Return an UPDATE of rows by primary key.

    Args:
        table: which one. The parameter that holds the rows has its name.
        names: the columns that the rows have: the primary key, and those to set.
    """
    (key,) = table.primary_key
    update = _UPDATE.format(
        table=table.name,
        key=key.name,
        changes=", ".join(f"{name} = given.{name}" for name in names if name != key.name),
        names_and_types=names_and_types_of(table, names),
    )
    return with_json(update, table)


def with_json(statement: str, *tables: Table) -> TextClause:
    """Return a statement with a parameter for the rows of each table, as JSON."""
    return text(statement).bindparams(*(bindparam(table.name, type_=JSON) for table in tables))


@cache
def names_and_types_of(table: Table, names: tuple[str, ...]) -> str:
    """Return what `json_to_recordset` has to know of these columns."""
    return ", ".join(f"{name} {type_of(table, name)}" for name in names)


def type_of(table: Table, name: str) -> str:
    """Return the type of a column in PostgreSQL's words."""
    return table.c[name].type.compile(dialect=_POSTGRESQL)
