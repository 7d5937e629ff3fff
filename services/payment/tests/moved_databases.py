"""What tests of `payment copy` share: a database with a whole life, and what must be the same elsewhere."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import JSON, Table, make_url, select, text

from forked import run
from payment.core.states import Method
from payment.core.units import read_time
from payment.demo.history import history_until
from payment.demo.replay import replay
from payment.ledger.batch import book
from payment.ledger.copying import ALL_TABLES, Copying
from payment.ledger.idempotency import Key
from payment.ledger.requests import PaymentRequest
from payment.storage.copy_side import ids_of
from payment.storage.errors import NotServed
from payment.storage.ids import last_id
from payment.storage.migrate import OldSchemaError
from payment.storage.opening import open_current, open_database
from payment.storage.tables import metadata, payments

ENDS_US = read_time("2026-03-14T20:30:00+07:00")
FIRST_ORDER = 900_000
"""Of those whose payment has a key, `o-900000` and so on; nobody has been told of them."""

ODD = "a\\tb\\N \\. 'x' \"y\" \t\r\n %s {} é e\u0301 नमस्ते 😀 \x01\x7f\u2028"
"""Text that a line of COPY, a quote or an encoding could break."""

LEASE = "INSERT INTO leases (service, target_id, owner, until_us, taken_over) VALUES"
RECONCILIATION = (
    "INSERT INTO reconciliations "
    "(id, state, since_us, repair, actor, created_us, after_us, owner, until_us) VALUES"
)
FINDING = (
    "INSERT INTO reconciliation_findings "
    "(reconciliation_id, number, service, target_id, payment_id, verdict, expected, error) VALUES"
)
ADDED = [
    ("UPDATE refunds SET reason = ? WHERE id IN (SELECT min(id) FROM refunds)", (ODD,)),
    ("UPDATE refunds SET reason = '' WHERE id IN (SELECT max(id) FROM refunds)", ()),
    (
        "UPDATE idempotency_keys SET body = ?, key = ? WHERE key = 'o-900009'",
        (ODD, "Zz-\\N"),
    ),
    (
        f"{LEASE} ('order', ?, 'gone', 1, 1)",
        (2**53 - 1,),
    ),
    (
        f"{LEASE} ('user', 2000000000000, ?, -1, 0)",
        (ODD,),
    ),
    ("INSERT INTO known_routes (route, since_us) VALUES ('PUT http://order/…', 1)", ()),
    (f"{RECONCILIATION} ('Kx3fT9aB', 'open', 0, 1, 'anybody', 1, 0, 'gone', 1)", ()),
    (f"{FINDING} ('Kx3fT9aB', 1, 'order', 7, 1, 'unanswered', 'paid', ?)", (ODD,)),
    # ids that are in no row any more
    ("UPDATE sqlite_sequence SET seq = seq + 5", ()),
]


def fill(file: Path) -> None:
    """Make a database in which everything has happened, with two thousand payments."""
    database = open_current(make_url(f"sqlite:///{file}"))
    for _ in replay(database, history_until(ENDS_US, ZoneInfo("Asia/Jakarta"), seed=1, days=3), seed=1):
        pass
    for first in range(FIRST_ORDER, FIRST_ORDER + 1500, 500):
        requests = [
            PaymentRequest(order, 77, 20_000, Method.QRIS, key=Key("", "create_payment", f"o-{order}", "f"))
            for order in range(first, first + 500)
        ]
        with database.batch() as transaction:
            book(transaction, requests, ENDS_US)
    database.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement, values in ADDED:
            assert connection.execute(statement, values).rowcount, statement


def content(url: str) -> dict[str, list[Any]]:
    """Return every row of every table as its driver gives it, and the last id of each table that counts.

    A boolean is a number, and JSON its text.
    """
    database = open_database(make_url(url))
    with database.copying() as side, side.transaction():
        found: dict[str, list[Any]] = {}
        for table in metadata.sorted_tables:
            names = ", ".join(
                f"CAST({column.name} AS text)" if isinstance(column.type, JSON) else column.name
                for column in table.columns
            )
            rows = side.connection.execute(text(f"SELECT {names} FROM {table.name}")).all()
            found[table.name] = sorted([*map(tuple, rows)], key=repr)
        for column in ids_of(metadata.sorted_tables):
            found[f"last of {column}"] = [last_id(side.connection, column)]
    database.close()
    return found


def schema(url: str) -> list[Any]:
    """Return what there is beside rows: tables, indexes, triggers and functions."""
    query = (
        "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2"
        if url.startswith("sqlite")
        else "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION "
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal UNION "
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
    )
    database = open_database(make_url(url))
    with database.read() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    database.close()
    return found


def copy(source: str, target: str) -> dict[str, int]:
    """Copy within this process; return the numbers of rows."""
    with copying(source, target) as copied:
        assert list(copied.run())[-1] == 1.0
        return copied.rows


@contextmanager
def copying(source: str, target: str, tables: Sequence[Table] = ALL_TABLES) -> Iterator[Copying]:
    """Give a copy that has not begun."""
    ends = open_database(make_url(source)), open_database(make_url(target))
    try:
        yield Copying(*ends, tables)
    finally:
        for database in ends:
            database.close()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `payment` with these arguments and settings."""
    inherited = {"PATH": os.environ["PATH"]}
    return run("payment", arguments, env=inherited | environment, cwd=None, timeout_s=60)


def is_served(url: str) -> bool:
    """Say whether a service would begin on this database, and find payments there."""
    try:
        database = open_current(make_url(url))
    except (NotServed, OldSchemaError):
        return False
    with database.read() as connection:
        found = connection.execute(select(payments.c.id).limit(1)).first()
    database.close()
    return found is not None
