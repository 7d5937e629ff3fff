"""PostgreSQL's INSERT and UPDATE of many rows at once: they are sent as JSON, one parameter a table.

One statement for all rows is parsed and planned once, and its text is the same however many rows there are.
The names in it are those of our own tables.
"""

from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import ARRAY, JSON, Integer, Table, TextClause, bindparam, text
from sqlalchemy.dialects import postgresql

from payment.storage.tables import events, idempotency_keys, notifications, payments

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
            table=table.name, names=", ".join(names), names_and_types=_names_and_types(table, names)
        )
        for table, names in shape
    )
    before = ", ".join(f"insert_{number} AS ({other})" for number, other in enumerate(others))
    return _with_json(f"WITH {before} {last}" if before else last, *(table for table, _ in shape))


_INSERT_UNREAD = """
    INSERT INTO {table} ({names})
    SELECT {values} FROM json_to_recordset(:{table}) AS given ({names_and_types}) {with_ids}"""

# Taken from a SELECT, the numbers are unknown when PostgreSQL plans: it expects ten whatever they are, and so
# plans once; and it hashes these ten, so that the rows of each table are inserted in their order.
_FRESH = """fresh AS MATERIALIZED (
    SELECT number, nextval('payments_id_seq') AS id
    FROM unnest((SELECT CAST(:numbers AS integer[]))) AS number)"""
_WITH = "WITH {parts} SELECT id FROM fresh ORDER BY number"

_OF_PAYMENT: dict[Table, tuple[str, dict[str, str]]] = {
    payments: ("given.id", {"id": "fresh.id"}),
    notifications: ("given.payment_id", {"payment_id": "fresh.id"}),
    # its receipt has no other digits, and its data begins with the id
    idempotency_keys: (
        "given.number",
        {
            "location": "replace(given.location, CAST(given.number AS text), CAST(fresh.id AS text))",
            "body": "replace(given.body, CAST(given.number AS text), CAST(fresh.id AS text))",
        },
    ),
    events: (
        "given.payment_id",
        {
            "payment_id": "fresh.id",
            "data": (
                "CAST(overlay(CAST(given.data AS text) PLACING CAST(fresh.id AS text) "
                "FROM 7 FOR length(CAST(given.payment_id AS text))) AS json)"
            ),
        },
    ),
}
"""Where the number of a payment stands in the rows of a table, and what its id is put into."""

NUMBER = "number"
"""Beside the columns of an idempotency key: the number of the payment that it is of."""


@lru_cache(maxsize=64)
def insert_unread_from_json(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> TextClause:
    """Return one statement that inserts rows into each table, with ids that it takes, and returns these.

    Args:
        shape: see `insert_from_json`. Where a row has to have the id of a payment, it has a number, which is
            in the array that the parameter `numbers` is.
    """
    parts = [_FRESH]
    for nth, (table, names) in enumerate(shape):
        number, put_in = _OF_PAYMENT.get(table, ("", {}))
        columns = [name for name in names if name != NUMBER]
        types = _names_and_types(table, tuple(columns))
        parts.append(
            f"insert_{nth} AS ("
            + _INSERT_UNREAD.format(
                table=table.name,
                names=", ".join(columns),
                values=", ".join(put_in.get(name, f"given.{name}") for name in columns),
                names_and_types=f"{types}, {NUMBER} integer" if NUMBER in names else types,
                with_ids=f"JOIN fresh ON fresh.number = {number}" if number else "",
            )
            + ")"
        )
    statement = _WITH.format(parts=", ".join(parts))
    return _with_json(statement, *(table for table, _ in shape)).bindparams(
        bindparam("numbers", type_=ARRAY(Integer))
    )


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
        names_and_types=_names_and_types(table, names),
    )
    return _with_json(update, table)


def _with_json(statement: str, *tables: Table) -> TextClause:
    return text(statement).bindparams(*(bindparam(table.name, type_=JSON) for table in tables))


@cache
def _names_and_types(table: Table, names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {table.c[name].type.compile(dialect=_POSTGRESQL)}" for name in names)
