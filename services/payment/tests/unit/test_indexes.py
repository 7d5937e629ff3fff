"""Indexes: what the hot paths ask is found by one, and what must be there once is."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from payment.storage.base import Database
from payment.storage.opening import open_database
from payment.storage.tables import bills, payments, refunds

NOW_US = 1_700_000_000_000_000
BILL = {"order_id": 1, "total": 20_000, "paid": 0, "pending": 0}
REFUND = {"payment_id": 1, "amount": 5_000, "refunded_before": 0, "reason": None, "created_us": NOW_US}
PAYMENT = {
    "id": 1,
    "order_id": 1,
    "user_id": 1,
    "amount": 20_000,
    "status": "paid",
    "method": "cash",
    "created_us": NOW_US,
    "updated_us": NOW_US,
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A migrated database with a payment."""
    file = tmp_path_factory.mktemp("indexes") / "payment.db"
    made = open_database(make_url(f"sqlite:///{file}"))
    made.migrate()
    with made.write() as connection:
        connection.execute(bills.insert(), BILL)
        connection.execute(payments.insert(), PAYMENT)
    yield made
    made.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with database.write() as opened:
        yield opened
        opened.rollback()


@pytest.mark.parametrize("status", ["paid", "pending"])
def test_a_reference_is_that_of_one_payment_of_its_method_and_of_any_that_failed(
    connection: Connection, status: str
) -> None:
    first = PAYMENT | {"method": "qris", "reference": "R-1"}
    connection.execute(payments.insert(), first | {"id": 2, "status": status})
    connection.execute(payments.insert(), first | {"id": 3, "status": "failed"})
    connection.execute(payments.insert(), first | {"id": 4, "method": "card"})
    connection.execute(payments.insert(), first | {"id": 5, "reference": "r-1"})
    for change in (
        payments.insert().values(first | {"id": 6}),
        update(payments).where(payments.c.id == 3).values(status="paid"),
    ):
        with pytest.raises(IntegrityError, match=r"payments\.reference"), connection.begin_nested():
            connection.execute(change)


def test_a_refunds_reference_is_that_of_one_refund_of_its_method(connection: Connection) -> None:
    first = REFUND | {"method": "qris", "reference": "R-1"}
    connection.execute(refunds.insert(), first)
    connection.execute(refunds.insert(), first | {"refunded_before": 5_000, "method": "card"})
    with pytest.raises(IntegrityError, match=r"refunds\.reference"):
        connection.execute(refunds.insert(), first | {"refunded_before": 10_000})


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT max(id) FROM payments", "SEARCH payments"),
        ("SELECT status FROM payments WHERE user_id = 1 ORDER BY id DESC LIMIT 1", "ix_payments_user_newest"),
        ("SELECT id FROM payments WHERE order_id = 1", "ix_payments_order"),
        (
            """SELECT id FROM payments WHERE reference IN ('R-1', 'R-2') AND method IN ('cash', 'qris')
            AND reference IS NOT NULL AND status <> 'failed'""",
            "ix_payments_one_reference",
        ),
        (
            "SELECT id FROM payments WHERE status = 'pending' AND expires_us < 5 ORDER BY expires_us LIMIT 5",
            "ix_payments_expires",
        ),
        (
            """SELECT id FROM payments WHERE status = 'pending' AND expires_us IS NULL AND created_us < 5
            ORDER BY created_us LIMIT 5""",
            "ix_payments_expires",
        ),
        ("SELECT id FROM refunds WHERE reference IN ('R-1', 'R-2')", "ix_refunds_one_reference"),
        (
            """SELECT min(next_attempt_us) FROM notifications
            WHERE service = 'order' AND state = 'waiting' AND next_attempt_us > 5""",
            "ix_notifications_due",
        ),
        (
            "SELECT id FROM notifications WHERE service = 'order' AND target_id = 1 AND state = 'waiting'",
            "ix_notifications_waiting",
        ),
        ("SELECT key FROM idempotency_keys WHERE created_us < 5", "ix_idempotency_keys_created"),
        (
            """SELECT id FROM notifications
            WHERE state = 'waiting' AND state <> 'delivered' AND service = 'user' ORDER BY id DESC LIMIT 5""",
            "ix_notifications_not_delivered",
        ),
        (
            "UPDATE notifications SET attempts = 0 WHERE state = 'dead' AND state <> 'delivered'",
            "ix_notifications_not_delivered",
        ),
    ],
)
def test_what_the_hot_paths_ask_is_found_by_an_index(connection: Connection, query: str, index: str) -> None:
    plan = " ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
    assert index in plan
    assert "USE TEMP B-TREE" not in plan
