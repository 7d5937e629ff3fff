"""The transaction of a batch: what it commits is there, what it does not commit is not, on each database."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import IntegrityError

from conftest import ALSO_POOLED
from payment.core.states import Method, Status
from payment.storage.base import Database
from payment.storage.batch import BatchTransaction
from payment.storage.opening import open_database
from payment.storage.tables import bills, payments

pytestmark = ALSO_POOLED
BOTH_WAYS = pytest.mark.parametrize("way", ["run_batch", "batch"])
Result = TypeVar("Result")

BILL = {"order_id": 1, "total": 20_000, "paid": 0, "pending": 0}
PAYMENT = {
    "order_id": 2,
    "user_id": 1,
    "amount": 100,
    "status": Status.PAID,
    "method": Method.CASH,
    "created_us": 1,
    "updated_us": 1,
}
BILLS = select(bills.c.order_id, bills.c.paid).order_by(bills.c.order_id)


class Batches:
    """Runs the work of batches, on the event loop as the API does or in this thread as the worker does."""

    def __init__(self, database: Database, loop: asyncio.Runner, way: str) -> None:
        self.database = database
        self._loop = loop
        self._way = way

    def run(self, work: Callable[[BatchTransaction], Result]) -> Result:
        """Run one."""
        if self._way == "run_batch":
            return self._loop.run(self.database.run_batch(work))
        with self.database.batch() as transaction:
            return work(transaction)

    def bills(self) -> list[tuple[Any, ...]]:
        """Return which orders have bills, and what is paid."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(BILLS)]


@pytest.fixture
def batches(database_url: str, way: str) -> Iterator[Batches]:
    """Batches that run this way."""
    database = open_database(make_url(database_url))
    with asyncio.Runner() as loop:
        yield Batches(database, loop, way)
        loop.run(database.aclose())


@BOTH_WAYS
def test_what_is_new_and_what_changed_is_committed_together(batches: Batches) -> None:
    batches.run(lambda transaction: transaction.write_and_commit(new={bills: [BILL]}, changed={}))

    def work(transaction: BatchTransaction) -> list[Any]:
        found, fresh = transaction.read([1], [(BILLS, {}), transaction.fresh_ids(payments.c.id, 2)])
        ids = [row[0] for row in fresh]
        transaction.write_and_commit(
            new={bills: [BILL | {"order_id": 2}], payments: [PAYMENT | {"id": each} for each in ids]},
            changed={bills: [{"order_id": 1, "paid": 500}]},
        )
        return [found, ids]

    assert batches.run(work) == [[(1, 0)], [1, 2]]
    assert batches.bills() == [(1, 500), (2, 0)]


@BOTH_WAYS
def test_a_batch_that_the_database_refuses_leaves_nothing(batches: Batches) -> None:
    """Not even what it had written before, nor a lock."""

    def refused(transaction: BatchTransaction) -> None:
        transaction.read([1], [(BILLS, {})])
        overpaid = {"order_id": 1, "paid": BILL["total"] + 1}
        transaction.write_and_commit(new={bills: [BILL]}, changed={bills: [overpaid]})

    with pytest.raises(IntegrityError):
        batches.run(refused)
    assert batches.bills() == []
    assert batches.run(lambda transaction: transaction.read([1], [(BILLS, {})])) == [[]]


@BOTH_WAYS
def test_a_batch_that_ends_without_a_commit_holds_no_lock(batches: Batches) -> None:
    for _ in range(3):  # each in the place of the one before, or on another connection
        assert batches.run(lambda transaction: transaction.read([1, 2], [(BILLS, {})])) == [[]]
    other = open_database(batches.database.url)
    with other.batch() as transaction:
        transaction.read([2, 1], [(BILLS, {})])
        transaction.write_and_commit(new={bills: [BILL]}, changed={})
    other.close()
    assert batches.bills() == [(1, 0)]


@BOTH_WAYS
def test_a_batch_may_write_nothing(batches: Batches) -> None:
    batches.run(lambda transaction: transaction.write_and_commit(new={bills: []}, changed={bills: []}))
    assert batches.bills() == []


@pytest.mark.parametrize("way", ["run_batch"])
def test_a_statement_that_failed_when_it_was_new_and_a_changed_table_fail_no_later_batch(
    batches: Batches,
) -> None:
    """PostgreSQL keeps what a session prepared, though the batch failed; a changed table is planned anew."""

    def book(order_id: int, paid: int) -> None:
        row = BILL | {"order_id": order_id, "paid": paid}
        batches.run(lambda transaction: transaction.write_and_commit(new={bills: [row]}, changed={}))

    with pytest.raises(IntegrityError):
        book(1, BILL["total"] + 1)
    book(1, 500)
    book(2, 500)
    with batches.database.write() as connection:
        connection.execute(text("ALTER TABLE bills ADD COLUMN later BIGINT DEFAULT 7"))
    book(3, 500)
    assert batches.bills() == [(1, 500), (2, 500), (3, 500)]


@pytest.mark.parametrize("way", ["run_batch"])
def test_a_batch_that_failed_takes_nothing_from_those_after_it(batches: Batches) -> None:
    """After a rollback psycopg lets go of all that is prepared, if it has prepared anything itself."""

    def ask_and_write(order_id: int, paid: int = 0) -> None:
        def work(transaction: BatchTransaction) -> None:
            transaction.read_unlocked((BILLS, {}))
            transaction.read([order_id], [])
            row = BILL | {"order_id": order_id, "paid": paid}
            transaction.write_and_commit(new={bills: [row]}, changed={})

        batches.run(work)

    for order_id in range(1, 10):
        ask_and_write(order_id)
    with pytest.raises(IntegrityError):
        ask_and_write(10, BILL["total"] + 1)
    ask_and_write(11)
    assert [order_id for order_id, _ in batches.bills()] == [*range(1, 10), 11]
