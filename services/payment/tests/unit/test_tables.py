"""The database itself: migrations make what `payment.storage.tables` says, and it refuses what must not be.

On real SQLite files, migrated as production does it.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, Table, inspect, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from payment.storage.base import Database
from payment.storage.migrate import MIGRATIONS, SCHEMA_REVISION
from payment.storage.opening import open_database
from payment.storage.tables import (
    api_keys,
    bills,
    events,
    idempotency_keys,
    late_money,
    leases,
    metadata,
    notifications,
    payments,
    reconciliation_findings,
    reconciliations,
    refunds,
)
from right_rows import (
    API_KEY,
    BILL,
    EVENT,
    FINDING,
    KEY,
    LATE,
    LEASE,
    NOTIFICATION,
    NOW_US,
    PAYMENT,
    RECONCILIATION,
    REFUND,
    ROWS,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A migrated database with one row in each table."""
    made = fresh(tmp_path_factory.mktemp("tables") / "payment.db")
    made.migrate()
    with made.write() as connection:
        for table, row, _ in ROWS:
            connection.execute(table.insert(), row)
    yield made
    made.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with database.write() as opened:
        yield opened
        opened.rollback()


def fresh(file: Path) -> Database:
    return open_database(make_url(f"sqlite:///{file}"))


def shape_of(connection: Connection) -> dict[str, Any]:
    """Return all that SQLite knows of the schema, in a form that does not depend on how it was written."""
    inspector = inspect(connection)
    return {
        name: {
            "columns": [
                # repr: types have no equality
                {key: repr(value) if key == "type" else value for key, value in column.items()}
                for column in inspector.get_columns(name)
            ],
            "primary key": inspector.get_pk_constraint(name),
            "foreign keys": sorted(inspector.get_foreign_keys(name), key=str),
            "unique": sorted(inspector.get_unique_constraints(name), key=str),
            "checks": sorted(inspector.get_check_constraints(name), key=str),
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    index["unique"],
                    str(index["dialect_options"].get("sqlite_where")),
                )
                for index in inspector.get_indexes(name)
            ),
            "autoincrement": "AUTOINCREMENT" in _statement(connection, name),
        }
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def _statement(connection: Connection, table: str) -> str:
    query = text("SELECT sql FROM sqlite_master WHERE name = :table")
    return str(connection.execute(query, {"table": table}).scalar_one())


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    """A forgotten migration is found here."""
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_migrations_make_the_same_database_as_the_tables_to_the_last_constraint(
    database: Database, tmp_path: Path
) -> None:
    """Alembic compares neither CHECK constraints, nor the WHERE of an index, nor AUTOINCREMENT."""
    direct = fresh(tmp_path / "direct.db")
    with direct.write() as connection:
        metadata.create_all(connection)
        wanted = shape_of(connection)
    direct.close()
    with database.read() as connection:
        migrated = shape_of(connection)
    assert migrated == wanted
    assert set(migrated) == set(metadata.tables)
    assert sum(len(table["checks"]) for table in migrated.values()) == len(checks())


def test_the_schema_revision_is_the_newest_migration() -> None:
    """It stands in the code so that a start need not load Alembic."""
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [SCHEMA_REVISION]


def test_an_empty_database_has_no_revision_and_a_migrated_one_has_the_newest(tmp_path: Path) -> None:
    database = fresh(tmp_path / "payment.db")
    assert database.schema_revision() is None
    assert database.migrate() is True
    assert database.schema_revision() == SCHEMA_REVISION
    database.close()


def test_migrating_twice_does_nothing(tmp_path: Path) -> None:
    database = fresh(tmp_path / "payment.db")
    database.migrate()
    with database.write() as connection:
        connection.execute(bills.insert(), BILL)
        before = shape_of(connection)
    assert database.migrate() is False
    with database.read() as connection:
        assert shape_of(connection) == before
        assert connection.execute(bills.select()).one() == (1, 20_000, 0, 0, 0)
    database.close()


def test_the_service_may_lie_in_a_folder_with_a_percent_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Alembic's configuration would take %(here)s and the like for its own."""
    folder = shutil.copytree(MIGRATIONS, tmp_path / "100%(here)s")
    monkeypatch.setattr("payment.storage.migrate.MIGRATIONS", folder)
    database = fresh(folder / "payment.db")
    assert database.migrate() is True
    database.close()


MIGRATE = """
import sys
import alembic.command
from sqlalchemy.engine import make_url
from payment.storage.opening import open_database
for url in map(str.strip, sys.stdin):
    try:
        database = open_database(make_url(url))
        database.migrate()
        print(database.schema_revision(), flush=True)
        database.close()
    except Exception as error:
        print(" ".join(str(error).split()), flush=True)
"""


def test_four_processes_that_migrate_the_same_fresh_file_at_once_all_succeed(
    tmp_path: Path, rounds: range
) -> None:
    """`payment serve` and `payment worker` are started together, before there is a file.

    Some files one after the other, as a race may be won by chance.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]

    def migrate_all(file: Path) -> list[str]:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"sqlite:///{file}\n")
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in processes if process.stdout is not None]

    try:
        said = [migrate_all(tmp_path / f"{number}.db") for number in rounds]
    finally:
        for process in processes:
            process.communicate(timeout=20)
    assert said == [[SCHEMA_REVISION] * 4] * len(rounds)


def test_sqlite_keeps_its_word(connection: Connection) -> None:
    """WAL, every commit on the disk, and foreign keys that count."""

    def pragma(name: str) -> object:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("foreign_keys") == 1


# What must be refused, and by which constraint: rows that are right but for one value.
REFUSED: list[tuple[str, Table, dict[str, Any]]] = [
    ("ck_bills_not_overpaid", bills, BILL | {"order_id": 2, "paid": 20_001}),
    ("ck_bills_not_overpaid", bills, BILL | {"order_id": 2, "pending": 20_001}),
    ("ck_bills_not_overpaid", bills, BILL | {"order_id": 2, "paid": 10_000, "pending": 10_001}),
    ("ck_bills_not_negative", bills, BILL | {"order_id": 2, "paid": -1}),
    ("ck_bills_not_negative", bills, BILL | {"order_id": 2, "pending": -1}),
    ("ck_bills_not_negative", bills, BILL | {"order_id": 2, "total": 0}),
    ("ck_bills_not_overrefunded", bills, BILL | {"order_id": 2, "refunded": -1}),
    ("ck_bills_not_overrefunded", bills, BILL | {"order_id": 2, "paid": 5, "refunded": 6}),
    ("UNIQUE constraint failed: bills.order_id", bills, BILL | {"total": 5}),
    ("ck_payments_amount", payments, PAYMENT | {"id": 2, "amount": 0}),
    ("ck_payments_amount", payments, PAYMENT | {"id": 2, "amount": -20_000, "amount_refunded": -20_000}),
    ("ck_payments_not_overrefunded", payments, PAYMENT | {"id": 2, "amount_refunded": 20_001}),
    ("ck_payments_not_overrefunded", payments, PAYMENT | {"id": 2, "amount_refunded": -1}),
    ("ck_payments_status", payments, PAYMENT | {"id": 2, "status": "PAID"}),
    ("ck_payments_status", payments, PAYMENT | {"id": 2, "status": ""}),
    ("ck_payments_method", payments, PAYMENT | {"id": 2, "method": "cheque"}),
    ("ck_payments_refunded", payments, PAYMENT | {"id": 2, "amount_refunded": 20_000}),
    ("ck_payments_refunded", payments, PAYMENT | {"id": 2, "status": "refunded", "amount_refunded": 5}),
    (
        "ck_payments_only_paid_is_refunded",
        payments,
        PAYMENT | {"id": 2, "status": "failed", "amount_refunded": 5},
    ),
    ("FOREIGN KEY constraint failed", payments, PAYMENT | {"id": 2, "order_id": 404}),
    ("ck_payments_late", payments, PAYMENT | {"id": 2, "late": True}),
    ("ck_late_money_amount", late_money, LATE | {"amount": 0}),
    ("ck_late_money_resolution", late_money, LATE | {"resolution": "lost", "resolved_us": NOW_US}),
    ("ck_late_money_resolved", late_money, LATE | {"resolution": "kept"}),
    ("ck_late_money_resolved", late_money, LATE | {"resolved_us": NOW_US}),
    ("ck_late_money_reference", late_money, LATE | {"reference": "", "resolution": "kept", "resolved_us": 1}),
    ("ck_late_money_reference_of_resolution", late_money, LATE | {"reference": "RF-1"}),
    ("UNIQUE constraint failed: late_money.payment_id", late_money, LATE),
    ("ck_payments_expires", payments, PAYMENT | {"id": 2, "expires_us": NOW_US - 1}),
    ("ck_payments_reference", payments, PAYMENT | {"id": 2, "reference": ""}),
    ("ck_payments_reference", payments, PAYMENT | {"id": 2, "reference": "x" * 65}),
    ("ck_refunds_amount", refunds, REFUND | {"amount": 0}),
    ("ck_refunds_refunded_before", refunds, REFUND | {"refunded_before": -1}),
    ("ck_refunds_reference", refunds, REFUND | {"method": "cash", "reference": ""}),
    ("ck_refunds_reference_of_method", refunds, REFUND | {"reference": "RF-1"}),
    ("FOREIGN KEY constraint failed", refunds, REFUND | {"payment_id": 404}),
    ("UNIQUE constraint failed: payments.id", payments, PAYMENT),
    ("ck_notifications_service", notifications, NOTIFICATION | {"id": 2, "service": "menu"}),
    ("ck_notifications_state", notifications, NOTIFICATION | {"id": 2, "state": "lost", "settled_us": 1}),
    ("ck_notifications_settled", notifications, NOTIFICATION | {"id": 2, "settled_us": NOW_US}),
    ("ck_notifications_settled", notifications, NOTIFICATION | {"id": 2, "state": "delivered"}),
    ("ck_notifications_settled", notifications, NOTIFICATION | {"id": 2, "state": "superseded"}),
    ("ck_notifications_settled", notifications, NOTIFICATION | {"id": 2, "state": "dead"}),
    ("FOREIGN KEY constraint failed", notifications, NOTIFICATION | {"id": 2, "payment_id": 404}),
    (
        "UNIQUE constraint failed: idempotency_keys.caller, idempotency_keys.operation, idempotency_keys.key",
        idempotency_keys,
        KEY | {"fingerprint": "other"},
    ),
    ("ck_api_keys_id", api_keys, API_KEY | {"id": "short"}),
    *(
        ("ck_api_keys_client", api_keys, API_KEY | {"id": "R7mQ2xVc", "client": client})
        for client in ("", "x" * 65, "cli:root", "kasir/1")
    ),
    ("ck_api_keys_scopes", api_keys, API_KEY | {"id": "R7mQ2xVc", "scopes": ""}),
    ("ck_api_keys_secret_sha256", api_keys, API_KEY | {"id": "R7mQ2xVc", "secret_sha256": "secret"}),
    ("UNIQUE constraint failed: api_keys.id", api_keys, API_KEY | {"client": "kasir-2"}),
    ("ck_events_types", events, EVENT | {"id": 2, "types": "payment.paid payment.created"}),
    ("ck_events_types", events, EVENT | {"id": 2, "types": ""}),
    ("ck_events_actor", events, EVENT | {"id": 2, "actor": ""}),
    *(
        (f"ck_reconciliations_{name}", reconciliations, RECONCILIATION | {"id": "Kx3fT9aC"} | wrong)
        for name, wrong in (
            ("id", {"id": "short"}),
            ("state", {"state": "waiting"}),
            ("service", {"service": "menu"}),
            ("actor", {"actor": ""}),
            ("finished", {"state": "open"}),
            ("finished", {"finished_us": None}),
            ("error", {"state": "failed"}),
            ("error", {"error": "why"}),
            ("owner", {"owner": "me"}),
            ("told_again", {"told_again": 1}),
        )
    ),
    *(
        (f"ck_reconciliation_findings_{name}", reconciliation_findings, FINDING | {"number": 2} | wrong)
        for name, wrong in (
            ("number", {"number": 0}),
            ("service", {"service": "menu"}),
            ("verdict", {"verdict": "agrees"}),
            ("expected", {"expected": "refunded"}),
        )
    ),
    ("FOREIGN KEY constraint failed", reconciliation_findings, FINDING | {"reconciliation_id": "?"}),
    ("UNIQUE constraint failed: leases.service, leases.target_id", leases, LEASE | {"owner": "you"}),
]


def in_words(said: str) -> str:
    """Return a pattern of what SQLite says: a CHECK by its exact name, anything else as it is."""
    return rf"CHECK constraint failed: {said}\n" if said.startswith("ck_") else re.escape(said)


def checks() -> set[str]:
    return {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }


def test_every_check_has_a_row_that_it_refuses() -> None:
    assert {name for name, _, _ in REFUSED if name.startswith("ck_")} == checks()


@pytest.mark.parametrize(("said", "table", "row"), REFUSED)
def test_the_database_refuses_what_must_not_be(
    connection: Connection, said: str, table: Table, row: dict[str, Any]
) -> None:
    """Whatever the code above it does."""
    with pytest.raises(IntegrityError, match=in_words(said)):
        connection.execute(table.insert(), row)


@pytest.mark.parametrize(("table", "row", "key"), ROWS, ids=lambda value: getattr(value, "name", ""))
def test_the_database_takes_a_row_that_is_right(
    connection: Connection, table: Table, row: dict[str, Any], key: str
) -> None:
    """Else the refusals above would say nothing."""
    other = {idempotency_keys: "k2", api_keys: "Zz9yX8wV", reconciliations: "Zz9yX8wV"}.get(table, 2)
    if table is late_money:
        connection.execute(payments.insert(), PAYMENT | {"id": 2})
    connection.execute(table.insert(), row | {key: other})


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [
        (table, row, column.name)
        for table, row, _ in ROWS
        for column in table.columns
        # an id that is not given is made
        if not column.nullable and column.name != "id" and column is not late_money.c.payment_id
    ],
    ids=lambda value: getattr(value, "name", value) if not isinstance(value, dict) else "",
)
def test_a_value_that_must_be_there_cannot_be_left_out(
    connection: Connection, table: Table, row: dict[str, Any], column: str
) -> None:
    with pytest.raises(IntegrityError, match=f"NOT NULL constraint failed: {table.name}.{column}"):
        connection.execute(
            table.insert(), row | {"id": 2} | {column: None} if "id" in row else row | {column: None}
        )


@pytest.mark.parametrize(
    ("said", "table", "values"),
    [
        ("ck_bills_not_overpaid", bills, {"paid": 20_001}),
        ("ck_bills_not_overpaid", bills, {"total": 10, "paid": 5, "pending": 6}),
        ("ck_bills_not_negative", bills, {"pending": -1}),
        ("ck_payments_not_overrefunded", payments, {"amount_refunded": 20_001}),
        ("ck_payments_status", payments, {"status": "refund"}),
        ("ck_notifications_settled", notifications, {"state": "delivered"}),
        ("FOREIGN KEY constraint failed", payments, {"order_id": 404}),
    ],
)
def test_the_database_refuses_a_change_to_what_must_not_be(
    connection: Connection, said: str, table: Table, values: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError, match=in_words(said)):
        connection.execute(update(table).values(values))


def test_a_bill_may_be_paid_and_pending_up_to_its_total(connection: Connection) -> None:
    for paid, pending in ((20_000, 0), (0, 20_000), (12_345, 7_655)):
        connection.execute(update(bills).values(paid=paid, pending=pending))


@pytest.mark.parametrize("state", ["delivered", "superseded", "dead"])
def test_a_notification_that_is_settled_says_when(connection: Connection, state: str) -> None:
    connection.execute(update(notifications).values(state=state, settled_us=NOW_US))


def test_the_id_of_a_notification_is_never_given_twice(connection: Connection) -> None:
    """The idempotency key of its PUT is made of it, and old ones may be pruned."""
    row = {name: value for name, value in NOTIFICATION.items() if name != "id"}
    first = connection.execute(notifications.insert().returning(notifications.c.id), row).scalar_one()
    connection.execute(notifications.delete())
    second = connection.execute(notifications.insert().returning(notifications.c.id), row).scalar_one()
    assert second > first


def test_amounts_and_ids_keep_their_largest_values(connection: Connection) -> None:
    largest = 2**53 - 1
    connection.execute(bills.insert(), {"order_id": largest, "total": largest, "paid": largest, "pending": 0})
    row = {"id": 2, "order_id": largest, "user_id": largest, "amount": largest}
    connection.execute(payments.insert(), PAYMENT | row)
    stored = connection.execute(payments.select().where(payments.c.id == 2)).one()
    assert (stored.order_id, stored.user_id, stored.amount, stored.amount_refunded) == (
        largest,
        largest,
        largest,
        0,
    )
