"""The one statement that writes payments unread (docs/decisions/0019): it locks, takes ids, inserts all rows.

As a statement alone is a transaction, it needs no BEGIN and no COMMIT beside it. A payment alone has one of
its own: each value is a parameter, where those of many payments are found in JSON.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count

from sqlalchemy import ARRAY, BigInteger, Integer, Table, TextClause, bindparam

from payment.storage.event_order import BEGIN_EVENTS
from payment.storage.json_rows import names_and_types_of, type_of, with_json
from payment.storage.tables import events, idempotency_keys, notifications, payments

_INSERT_UNREAD = """
    INSERT INTO {table} ({names})
    SELECT {values} FROM {given} {joined}"""

# Each part needs a row of the one before it, and each INSERT needs one of these: so nothing is inserted, and
# no id taken, before all locks are held. (The lock of events is shared: taken earlier it would do no harm.)
# Taken from a SELECT, arrays are unknown when PostgreSQL plans: it expects ten elements whatever they are,
# plans once, and hashes the ten of `fresh`, so that the rows of each table are inserted in their order.
_LOCKED = """locked AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock(number)) FROM unnest((SELECT CAST(:locks AS bigint[]))) AS number)"""
_LOCKED_ALONE = "locked AS MATERIALIZED (SELECT {locks})"
_BEGUN = f"begun AS MATERIALIZED (SELECT begun_events.* FROM locked, ({BEGIN_EVENTS.text}) AS begun_events)"  # noqa: S608
_FRESH = """fresh AS MATERIALIZED (
    SELECT number, nextval('payments_id_seq') AS id
    FROM begun, unnest((SELECT CAST(:numbers AS integer[]))) AS number)"""
_FRESH_ALONE = "fresh AS MATERIALIZED (SELECT 1 AS number, nextval('payments_id_seq') AS id FROM begun)"
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
def insert_unread(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> TextClause:
    """Return one statement that locks, takes ids, inserts rows of each table with these, and returns them.

    Args:
        shape: see `insert_from_json`. Where a row has to have the id of a payment, it has a number, which is
            in the array that the parameter `numbers` is. `locks` are the numbers to lock, ascending.
    """
    parts = [_LOCKED, _BEGUN, _FRESH]
    for table, names in shape:
        columns = tuple(name for name in names if name != NUMBER)
        types = names_and_types_of(table, columns)
        types += f", {NUMBER} integer" if NUMBER in names else ""
        number = _OF_PAYMENT[table][0] if table in _OF_PAYMENT else None
        parts.append(
            _insert(
                table,
                columns,
                f"json_to_recordset(:{table.name}) AS given ({types})",
                f"JOIN fresh ON fresh.number = {number}" if number else "CROSS JOIN begun",
            )
        )
    statement = _WITH.format(parts=", ".join(parts))
    return with_json(statement, *(table for table, _ in shape)).bindparams(
        bindparam("numbers", type_=ARRAY(Integer)), bindparam("locks", type_=ARRAY(BigInteger))
    )


@lru_cache(maxsize=64)
def insert_alone(locks: int, shape: tuple[tuple[Table, tuple[str, ...], int], ...]) -> str:
    """Return the same for one payment, in PostgreSQL's words.

    Its parameters are the numbers to lock, ascending, and then the values of each row, as the shape has them.

    Args:
        locks: how many numbers there are.
        shape: the tables, each with the columns that its rows have, and how many rows there are. Where a row
            has to have the id of the payment, it has the number 1.
    """
    parameters = map("${}".format, count(1))
    numbers = (f"pg_advisory_xact_lock({next(parameters)})" for _ in range(locks))
    parts = [_LOCKED_ALONE.format(locks=", ".join(numbers)), _BEGUN, _FRESH_ALONE]
    for table, names, size in shape:
        rows = ", ".join(_parameters(table, names, parameters) for _ in range(size))
        parts.append(
            _insert(
                table,
                tuple(name for name in names if name != NUMBER),
                f"(VALUES {rows}) AS given ({', '.join(names)})",
                f"CROSS JOIN {'fresh' if table in _OF_PAYMENT else 'begun'}",
            )
        )
    return _WITH.format(parts=", ".join(parts))


def _insert(table: Table, columns: tuple[str, ...], given: str, joined: str) -> str:
    _, put_in = _OF_PAYMENT.get(table, ("", {}))
    values = ", ".join(put_in.get(name, f"given.{name}") for name in columns)
    insert = _INSERT_UNREAD.format(
        table=table.name, names=", ".join(columns), values=values, given=given, joined=joined
    )
    return f"insert_{table.name} AS ({insert})"


def _parameters(table: Table, names: tuple[str, ...], parameters: Iterator[str]) -> str:
    """Return a row of parameters."""
    types = ("integer" if name == NUMBER else type_of(table, name) for name in names)
    return f"({', '.join(f'CAST({next(parameters)} AS {type_})' for type_ in types)})"
