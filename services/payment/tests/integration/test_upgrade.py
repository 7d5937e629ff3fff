"""From the schema of 0001 to the newest with payments in it: nothing is lost, the rules hold for all rows."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import IntegrityError

from conftest import BOTH
from payment.ledger.copying import Copying
from payment.storage.base import Database
from payment.storage.migrate import MIGRATIONS, SCHEMA_REVISION
from payment.storage.opening import open_database
from payment.storage.tables import metadata
from postgres import create_database, drop_database
from processes import Service, Stub, wait_for, wait_until_told

Start = Callable[..., Service]
NOW_US = 1_700_000_000_000_000

# What the version of 0001 wrote, with its columns and no others.
BEFORE: dict[str, list[dict[str, Any]]] = {
    "bills": [
        {"order_id": 1, "total": 20_000, "paid": 20_000, "pending": 0},
        {"order_id": 2, "total": 2**53 - 1, "paid": 2**53 - 1, "pending": 0},
    ],
    "payments": [
        {
            "id": order_id,
            "order_id": order_id,
            "user_id": 7,
            "amount": amount,
            "status": "paid",
            "method": method,
            "created_us": NOW_US,
            "updated_us": NOW_US,
        }
        for order_id, amount, method in ((1, 20_000, "cash"), (2, 2**53 - 1, "ewallet"))
    ],
    "idempotency_keys": [
        {
            "caller": "",
            "operation": "create_payment",
            "key": "k",
            # of {"amount":20000,"method":"cash","order_id":1,"user_id":1}, as that version reckoned it
            "fingerprint": "99d1db99165abfc69c2d0f6128b8e74912887fbe24abcff3839da6b18f6435aa",
            "status": 201,
            "location": "/payments/1",
            "body": '{"message":"Pembayaran diproses","payment_id":1}',
            "created_us": NOW_US,
        }
    ],
    "notifications": [
        {
            "service": "order",
            "target_id": 1,
            "payment_id": 1,
            "state": "delivered",
            "told": "paid",
            "next_attempt_us": NOW_US,
            "created_us": NOW_US,
            "due_since_us": NOW_US,
            "settled_us": NOW_US,
        },
        {
            "service": "order",
            "target_id": 2,
            "payment_id": 2,
            "state": "waiting",
            "told": None,
            "next_attempt_us": NOW_US,
            "created_us": NOW_US,
            "due_since_us": NOW_US,
            "settled_us": None,
        },
    ],
}
ADDED: dict[str, dict[str, Any]] = {
    "bills": {"refunded": 0},
    "payments": {"settled_us": None, "reference": None, "expires_us": None, "late": False},
    "notifications": {"hurried": 0, "failures": None},
}

BILL = "INSERT INTO bills (order_id, total, paid, pending, refunded) VALUES "
PAYMENT = """INSERT INTO payments
    (id, order_id, user_id, amount, amount_refunded, status, method, created_us, updated_us) VALUES """
REFUND = "INSERT INTO refunds (payment_id, amount, refunded_before, created_us) VALUES "

REFUSED = [
    ("ck_bills_not_overrefunded", BILL + "(9, 5, 3, 0, 4)"),
    ("ck_bills_not_overrefunded", "UPDATE bills SET refunded = 20001 WHERE order_id = 1"),
    ("ck_bills_not_overpaid", BILL + "(9, 5, 3, 3, 0)"),
    ("ck_payments_refunded", "UPDATE payments SET status = 'refunded' WHERE id = 1"),
    ("ck_payments_refunded", "UPDATE payments SET amount_refunded = amount WHERE id = 1"),
    ("ck_payments_only_paid_is_refunded", PAYMENT + "(9, 1, 1, 5, 1, 'failed', 'cash', 1, 1)"),
    ("ck_payments_status", PAYMENT + "(9, 1, 1, 5, 0, 'lost', 'cash', 1, 1)"),
    ("ck_payments_not_overrefunded", "UPDATE payments SET amount_refunded = 20001 WHERE id = 1"),
    ("ck_refunds_amount", REFUND + "(1, 0, 0, 1)"),
    ("(?i)foreign.key", REFUND + "(404, 1, 0, 1)"),
    ("ck_refunds_refunded_before", REFUND + "(1, 1, -1, 1)"),
    ("(?i)unique", REFUND + "(1, 1, 0, 1), (1, 1, 0, 1)"),
]


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database as the version of 0001 left it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'payment.db'}"
        make_old(url)
        yield url
        return
    server = request.getfixturevalue("postgres")
    name = f"payment_{uuid4().hex}"
    url = create_database(server, name).render_as_string(hide_password=False)
    make_old(url)
    yield url
    drop_database(server, name)


def make_old(url: str) -> None:
    database = open_database(make_url(url))
    upgrade(database, "0001")
    with database.write() as connection:
        insert_as_before(connection, BEFORE)
        if connection.dialect.name == "postgresql":  # the ids above were taken from it
            connection.execute(text("SELECT setval(pg_get_serial_sequence('payments', 'id'), 2)"))
    database.close()


def upgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.migrating() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def insert_as_before(connection: Connection, rows_of: dict[str, list[dict[str, Any]]]) -> None:
    for table, rows in rows_of.items():
        names = list(rows[0])
        values = ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows)


@pytest.fixture
def upgraded(database_url: str) -> Iterator[Database]:
    """The same database, migrated."""
    database = open_database(make_url(database_url))
    assert database.schema_revision() == "0001"
    assert database.migrate() is True
    assert database.schema_revision() == SCHEMA_REVISION
    yield database
    database.close()


def rows_of(connection: Connection, table: str) -> list[dict[str, Any]]:
    rows = connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")).mappings()
    return [dict(row) for row in rows]


def test_every_row_is_kept_and_gains_the_defaults(upgraded: Database) -> None:
    with upgraded.read() as connection:
        for table, rows in BEFORE.items():
            kept = rows_of(connection, table)
            assert [
                row | before | ADDED.get(table, {}) for row, before in zip(kept, rows, strict=True)
            ] == kept
        assert rows_of(connection, "refunds") == []
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


@pytest.mark.parametrize(("constraint", "statement"), REFUSED)
def test_old_rows_and_new_ones_are_bound_by_the_checks(
    upgraded: Database, constraint: str, statement: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), upgraded.write() as connection:
        connection.execute(text(statement))


def test_an_old_payment_can_be_refunded_and_a_new_one_wait(upgraded: Database) -> None:
    with upgraded.write() as connection:
        for statement in (
            "UPDATE payments SET status = 'refunded', amount_refunded = amount WHERE id = 1",
            "UPDATE bills SET paid = 0 WHERE order_id = 1",
            REFUND + "(1, 20000, 0, 1)",
            BILL + "(9, 5, 0, 5, 0)",
            PAYMENT + "(9, 9, 1, 5, 0, 'pending', 'qris', 1, 1)",
        ):
            connection.execute(text(statement))
        assert connection.execute(text("SELECT id, payment_id FROM refunds")).all() == [(1, 1)]


def test_of_what_was_done_before_nobody_knows_who_did_it(upgraded: Database, start: Start) -> None:
    """Nothing is invented: the log begins with its migration, and says so."""
    began = datetime.now(UTC)
    assert upgraded.schema_revision() == SCHEMA_REVISION
    service = start("serve", "--no-worker")
    old, feed = service.http.get("/payments/1/events").json(), service.http.get("/events").json()
    assert old["events"] == feed["events"] == []
    assert old["begins_at"] == feed["begins_at"]
    assert timedelta(0) < began - datetime.fromisoformat(feed["begins_at"]) < timedelta(minutes=1)
    assert service.refund(1).status_code == 201
    told = service.http.get("/payments/1/events").json()["events"]
    assert [event["type"] for event in told] == ["refund.created", "payment.refunded"]


# SQLAlchemy reflects `NOT VALID` as an argument that its own CheckConstraint does not know
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
def test_the_schema_is_the_one_that_the_tables_say(upgraded: Database) -> None:
    with upgraded.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_checks_are_those_of_the_tables_to_the_letter(upgraded: Database) -> None:
    """Alembic does not compare these. SQLite's are compared in `unit/test_tables.py`."""
    with upgraded.write() as connection:
        migrated = checks_of(connection, "public")
        connection.execute(text("CREATE SCHEMA direct"))
        metadata.create_all(connection.execution_options(schema_translate_map={None: "direct"}))
        assert migrated == checks_of(connection, "direct")
        connection.rollback()


def checks_of(connection: Connection, schema: str) -> set[tuple[str, str | None, str]]:
    inspector = inspect(connection)
    return {
        (table, check["name"], check["sqltext"])
        for table in metadata.tables
        for check in inspector.get_check_constraints(table, schema)
    }


def test_the_version_before_goes_on_writing_over_connections_that_it_has_open(database_url: str) -> None:
    """A rolling upgrade migrates first (docs/operations.md)."""
    old, new = open_database(make_url(database_url)), open_database(make_url(database_url))
    with old.read() as connection:
        assert len(rows_of(connection, "payments")) == 2
    assert new.migrate() is True
    with old.write() as connection:
        insert_as_before(
            connection,
            {
                "bills": [BEFORE["bills"][0] | {"order_id": 3}],
                "payments": [BEFORE["payments"][0] | {"id": 3, "order_id": 3}],
            },
        )
    with new.read() as connection:
        assert rows_of(connection, "payments")[2]["amount_refunded"] == 0
        assert rows_of(connection, "bills")[2]["refunded"] == 0
    old.close()
    new.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_payments_go_on_while_an_index_is_built(database_url: str) -> None:
    """CREATE INDEX CONCURRENTLY waits for a reader; nobody waits for it."""
    database = open_database(make_url(database_url))
    upgrade(database, "0002")
    with ThreadPoolExecutor(2) as pool, database.read() as reader:
        reader.execution_options(isolation_level="REPEATABLE READ").execute(text("SELECT 1 FROM payments"))
        migrating = pool.submit(database.migrate)
        wait_for(lambda: _is_building_an_index(database), 8)
        also = pool.submit(database.migrate)
        with database.write() as connection:
            connection.execute(text("UPDATE payments SET updated_us = updated_us + 1"))
            connection.execute(text(BILL + "(9, 5, 3, 0, 0)"))
        assert not migrating.done()
        assert not also.done()
        reader.rollback()
        assert migrating.result(20)
        also.result(20)  # True only if it looked before the other had ended
    assert database.schema_revision() == SCHEMA_REVISION
    database.close()


def _is_building_an_index(database: Database) -> bool:
    with database.read() as connection:
        return (
            connection.execute(
                text("SELECT 1 FROM pg_stat_progress_create_index WHERE datname = current_database()")
            ).first()
            is not None
        )


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_index_that_was_broken_off_is_built_anew(database_url: str) -> None:
    database = open_database(make_url(database_url))
    upgrade(database, "0002")
    with database.write() as connection:
        connection.execute(text("CREATE INDEX ix_payments_user ON payments (user_id, created_us, id)"))
        connection.execute(text("CREATE INDEX ix_payments_created ON payments (id)"))
        broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_payments_created'::regclass"
        connection.execute(text(broken))
        kept = connection.execute(text("SELECT 'ix_payments_user'::regclass::oid")).scalar_one()
    assert database.migrate() is True
    with database.read() as connection:
        columns = {
            index["name"]: index["column_names"] for index in inspect(connection).get_indexes("payments")
        }
        assert connection.execute(text("SELECT 'ix_payments_user'::regclass::oid")).scalar_one() == kept
    assert columns["ix_payments_created"] == ["created_us", "id"]
    database.close()


@pytest.mark.parametrize(
    "revision", sorted(each.name[:4] for each in (MIGRATIONS / "versions").glob("0*.py"))
)
def test_a_file_of_every_earlier_version_can_be_copied(
    revision: str, postgres: URL, migrated: str, tmp_path: Path
) -> None:
    """`payment copy` migrates it first, as `serve` does; all is there, with what the migrations add."""
    name = f"payment_{uuid4().hex}"
    make_old(f"sqlite:///{tmp_path / 'payment.db'}")
    old = open_database(make_url(f"sqlite:///{tmp_path / 'payment.db'}"))
    new = open_database(create_database(postgres, name, migrated))
    upgrade(old, revision)
    copying = Copying(old, new)
    assert list(copying.run())[-1] == 1.0
    assert {table: copying.rows[table] for table in BEFORE} == {table: len(BEFORE[table]) for table in BEFORE}
    with old.read() as source, new.read() as target:
        for table in (*BEFORE, "refunds"):
            assert rows_of(source, table) == rows_of(target, table)
    old.close()
    new.close()
    drop_database(postgres, name)


def test_the_new_version_takes_up_where_the_old_one_ended(
    upgraded: Database, start: Callable[..., Service], order: Stub
) -> None:
    """Keys replay, what waits is told, an order that is paid stays paid, ids go on."""
    upgraded.close()
    service = start()
    wait_until_told(order, 2)
    again = service.pay(1, Idempotency_Key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.text == '{"message":"Pembayaran diproses","payment_id":1}'
    assert service.pay(1, user_id=2, Idempotency_Key="k").status_code == 422
    assert service.pay(2).status_code == 409
    assert service.pay(3).json()["payment_id"] > 2
    assert service.http.get("/payments/2").json()["amount_refunded"] == 0
