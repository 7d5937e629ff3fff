"""The one statement that writes payments unread (docs/decisions/0019): it locks, takes ids, inserts all rows.

As a statement alone is a transaction, it needs no BEGIN and no COMMIT beside it.
"""

from functools import lru_cache

from sqlalchemy import ARRAY, BigInteger, Integer, Table, TextClause, bindparam

from payment.storage.event_order import BEGIN_EVENTS
from payment.storage.json_rows import names_and_types_of, with_json
from payment.storage.tables import events, idempotency_keys, notifications, payments

_INSERT_UNREAD = """
    INSERT INTO {table} ({names})
    SELECT {values} FROM json_to_recordset(:{table}) AS given ({names_and_types}) {joined}"""

# Each part needs a row of the one before it, and each INSERT needs one of these: so nothing is inserted, and
# no id taken, before all locks are held. Taken from a SELECT, arrays are unknown when PostgreSQL plans: it
# expects ten elements whatever they are, and so plans once; and it hashes the ten of `fresh`, so that the
# rows of each table are inserted in their order.
_LOCKED = """locked AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock(number)) FROM unnest((SELECT CAST(:locks AS bigint[]))) AS number)"""
_BEGUN = f"begun AS MATERIALIZED (SELECT begun_events.* FROM locked, ({BEGIN_EVENTS.text}) AS begun_events)"  # noqa: S608
_FRESH = """fresh AS MATERIALIZED (
    SELECT number, nextval('payments_id_seq') AS id
    FROM begun, unnest((SELECT CAST(:numbers AS integer[]))) AS number)"""
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
    for nth, (table, names) in enumerate(shape):
        number, put_in = _OF_PAYMENT.get(table, ("", {}))
        columns = [name for name in names if name != NUMBER]
        types = names_and_types_of(table, tuple(columns))
        parts.append(
            f"insert_{nth} AS ("
            + _INSERT_UNREAD.format(
                table=table.name,
                names=", ".join(columns),
                values=", ".join(put_in.get(name, f"given.{name}") for name in columns),
                names_and_types=f"{types}, {NUMBER} integer" if NUMBER in names else types,
                joined=f"JOIN fresh ON fresh.number = {number}" if number else "CROSS JOIN begun",
            )
            + ")"
        )
    statement = _WITH.format(parts=", ".join(parts))
    return with_json(statement, *(table for table, _ in shape)).bindparams(
        bindparam("numbers", type_=ARRAY(Integer)), bindparam("locks", type_=ARRAY(BigInteger))
    )
