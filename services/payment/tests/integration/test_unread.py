"""Payments that are written unread (docs/decisions/0019): the same rows, the same answers."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import DataError

from payment.core.cause import Cause
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.batch import book, book_unread
from payment.ledger.idempotency import BookedAnswer, Key
from payment.ledger.requests import PaymentRequest
from payment.storage.base import Database
from payment.storage.batch import BatchTransaction, NotFirst
from payment.storage.errors import NotBegun
from payment.storage.opening import open_database
from payment.storage.tables import bills, events, idempotency_keys, notifications, payments
from processes import Service, wait_for

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOW_US = 1_800_000_000_000_000


SENT = text(
    "SELECT query FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%nextval%'"
)


HERE = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
"""Locks of this database alone: other tests use the same server."""

WAITING = text(f"SELECT count(*) FROM pg_locks WHERE {HERE} AND NOT granted")
LOCKED_NUMBERS = text(f"SELECT objid FROM pg_locks WHERE {HERE} AND classid = 0 AND granted ORDER BY objid")
PLANS = text("SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE name LIKE 'batch_%'")


@pytest.fixture
def database(database_url: str) -> Database:
    return open_database(make_url(database_url))


@pytest.fixture
def loop(database: Database) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop
        loop.run(database.aclose())
        database.close()


def pay(order_id: int, status: Status = Status.PAID, amount: int = 20_000) -> PaymentRequest:
    key = Key("kasir-1", "create_payment", f"k-{order_id}", "f" * 64)
    cause = Cause("kasir-1/R7mQ2xVb", f"request {order_id}", TRACE)
    return PaymentRequest(order_id, 7, amount, Method.QRIS, status, key=key, cause=cause)


def rows_of(database: Database, order_ids: range) -> list[list[dict[str, Any]]]:
    """Return all that was written of these orders, ids counted from 0."""
    with database.read() as connection:
        ids = (
            connection.execute(
                select(payments.c.id).where(payments.c.order_id.in_(order_ids)).order_by(payments.c.order_id)
            )
            .scalars()
            .all()
        )
        number = {payment_id: nth for nth, payment_id in enumerate(ids)}

        def shown(row: Any, at: str) -> dict[str, Any]:
            return {"number": number[row[at]], **{k: v for k, v in row.items() if k not in {"id", at}}}

        found = [
            [
                shown(row, "id")
                for row in connection.execute(
                    select(payments).where(payments.c.id.in_(ids)).order_by(payments.c.id)
                ).mappings()
            ]
        ]
        for table in (notifications, events):
            query = select(table).where(table.c.payment_id.in_(ids)).order_by(table.c.id)
            found.append([shown(row, "payment_id") for row in connection.execute(query).mappings()])
        for row in found[2]:
            assert next(iter(row["data"])) == "id"
            row["data"] = {**row["data"], "id": number[row["data"]["id"]]}
        keys = connection.execute(
            select(idempotency_keys).where(idempotency_keys.c.key.in_([f"k-{each}" for each in order_ids]))
        ).mappings()
        by_location = {f"/payments/{payment_id}": nth for payment_id, nth in number.items()}
        receipts = {
            nth: f'{{"message":"Pembayaran diproses","payment_id":{payment_id}}}'
            for payment_id, nth in number.items()
        }
        shown_keys = []
        for key in keys:
            nth = by_location[key["location"]]
            assert key["body"] == receipts[nth]
            shown_keys.append(
                {"number": nth, **{k: v for k, v in key.items() if k not in {"location", "body"}}}
            )
        found.append(sorted(shown_keys, key=lambda row: row["number"]))
        found.append(
            [
                dict(row)
                for row in connection.execute(
                    select(bills).where(bills.c.order_id.in_(order_ids)).order_by(bills.c.order_id)
                ).mappings()
            ]
        )
        return found


def without_orders(found: list[list[dict[str, Any]]], first: int) -> str:
    """Return rows as text, their orders counted from the first."""
    text_ = repr(found)
    for nth in range(20):
        text_ = text_.replace(str(first + nth), f"order {nth}")
    return text_


def test_what_is_written_unread_is_what_is_written_read(database: Database, loop: asyncio.Runner) -> None:
    """All at once, or one after the other: a payment alone has a statement of its own."""
    shown = []
    for first, way, at_once in ((700_100, book_unread, 1), (800_100, book, 12), (900_100, book_unread, 12)):
        batch = [
            replace(
                pay(first + nth, Status.PENDING if nth % 3 else Status.PAID, 1_000 + nth),
                reference=f"R-{first + nth}" if nth % 2 else None,
            )
            for nth in range(12)
        ]
        results = [
            result
            for begin in range(0, 12, at_once)
            for result in loop.run(
                database.run_batch(partial(way, requests=batch[begin : begin + at_once], now_us=NOW_US))
            )
        ]
        assert [result.status for result in results if isinstance(result, BookedAnswer)] == [201] * 12
        shown.append(without_orders(rows_of(database, range(first, first + 12)), first))
    alone, read, unread = shown
    assert alone == read
    assert unread == read


def test_odd_words_and_numbers_are_written_alike_to_the_letter(
    database: Database, loop: asyncio.Runner
) -> None:
    odd = Cause("kasir-1/R7mQ2xVb", 'r"\\ 1 \t é 💸 \u2028 {"id":1}', TRACE)
    qris = PaymentRequest(1, 1, 11, Method.QRIS, Status.PENDING)
    batch = [
        PaymentRequest(1, WHOLE_NUMBER_MAX, WHOLE_NUMBER_MAX, Method.CASH),
        replace(qris, order_id=2, reference="1", waits_us=500_000),
        replace(qris, order_id=3, reference="NULL", key=Key("", "create_payment", "1", "f"), cause=odd),
        replace(qris, order_id=4, reference='é"\\{}💸 1', expires_us=NOW_US + 1, cause=odd),
        replace(qris, order_id=5, key=Key('é "', "create_payment", "/payments/1", "f"), order_total=11),
    ]
    shown = []
    for way, at_once in ((book_unread, 1), (book_unread, 5), (book, 5)):
        for first in range(0, 5, at_once):
            some = batch[first : first + at_once]
            loop.run(database.run_batch(partial(way, requests=some, now_us=NOW_US)))
        tables = (bills, payments, notifications, idempotency_keys, events)
        with database.write() as connection:
            shown.append(
                [
                    connection.execute(text(f"SELECT CAST(row AS text) FROM {table.name} AS row")).all()
                    for table in tables
                ]
            )
            names = ", ".join(table.name for table in tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    alone, together, read = shown
    assert [len(rows) for rows in read] == [5, 5, 10, 2, 5]
    assert alone == read
    assert together == read


def test_however_many_payments_there_are_their_statement_is_planned_once(
    database: Database, loop: asyncio.Runner
) -> None:
    """And that of a payment alone, too."""
    orders = itertools.count(500_100)
    for size in (1, 3, 2, 8, 1, 1, 5, 16, 4, 1, 1, 2, 7, 9, 2, 1, 1, 1):
        batch = [pay(next(orders)) for _ in range(size)]
        loop.run(database.run_batch(partial(book_unread, requests=batch, now_us=NOW_US)))

    def plans(transaction: BatchTransaction) -> Sequence[Any]:
        return transaction.read_unlocked((PLANS, {}))

    seen = [(row.custom_plans, row.generic_plans) for row in loop.run(database.run_batch(plans))]
    assert sorted(seen) == [(5, 3), (5, 5)], "PostgreSQL tries five before it takes one for all"


@pytest.mark.parametrize("orders", [[1], [1, 2]])
def test_a_text_that_postgresql_cannot_keep_is_refused_and_not_cut_off(
    database: Database, loop: asyncio.Runner, orders: list[int]
) -> None:
    """The API lets no such text in; libpq would end a parameter there."""
    batch = [replace(pay(order_id), reference=f"R-{order_id}\x00{order_id}") for order_id in orders]
    with pytest.raises(DataError):
        loop.run(database.run_batch(partial(book_unread, requests=batch, now_us=NOW_US)))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM payments")).scalar_one() == 0


@pytest.mark.parametrize("others", [[], [2]], ids=["alone", "among others"])
@pytest.mark.parametrize("there", ["bill", "key", "reference"])
def test_what_is_there_already_is_noticed_and_the_batch_read(
    database: Database, loop: asyncio.Runner, there: str, others: list[int]
) -> None:
    first = replace(pay(1), reference="R-1")
    loop.run(database.run_batch(lambda transaction: book(transaction, [first], NOW_US)))
    second = {
        "bill": PaymentRequest(1, 7, 20_000, Method.CASH),
        "key": first,
        "reference": replace(pay(3), reference="R-1"),
    }[there]

    def work(transaction: BatchTransaction) -> Any:
        with pytest.raises(NotFirst):
            book_unread(transaction, [*map(pay, others), second], NOW_US)
        return book(transaction, [*map(pay, others), second], NOW_US)

    *new, old = loop.run(database.run_batch(work))
    assert [each.status for each in new] == [201] * len(others)
    assert (old.status, getattr(old, "replayed", None)) == ((201, True) if there == "key" else (409, None))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM payments")).scalar_one() == 1 + len(others)


def test_being_wrong_again_and_again_leaves_nothing_behind_in_the_session(
    database: Database, loop: asyncio.Runner
) -> None:
    loop.run(database.run_batch(lambda transaction: book(transaction, [pay(1)], NOW_US)))

    def work(transaction: BatchTransaction) -> int:
        for _ in range(20):
            with pytest.raises(NotFirst):
                book_unread(transaction, [pay(1)], NOW_US)
        prepared = transaction.read_unlocked((text("SELECT count(*) FROM pg_prepared_statements"), {}))
        return int(prepared[0][0])

    assert loop.run(database.run_batch(work)) <= 3


@pytest.mark.parametrize("orders", [[1, 2], [2]])
def test_nothing_is_taken_or_written_before_the_locks_are_held(
    database: Database, loop: asyncio.Runner, orders: list[int]
) -> None:
    async def book_behind_a_lock() -> list[Any]:
        with database.write() as holder:
            holder.execute(text("SELECT pg_advisory_xact_lock(2)"))
            booking = asyncio.create_task(
                database.run_batch(partial(book_unread, requests=[*map(pay, orders)], now_us=NOW_US))
            )
            while not holder.execute(WAITING).scalar_one():
                assert not booking.done()
                await asyncio.sleep(0.01)
            held = holder.execute(LOCKED_NUMBERS).scalars().all()
            assert held == orders, "the first lock is held already, in the order of the numbers"
            assert holder.execute(text("SELECT is_called FROM payments_id_seq")).scalar_one() is False
            assert holder.execute(text("SELECT is_called FROM events_id_seq")).scalar_one() is False
        return await booking

    assert [each.status for each in loop.run(book_behind_a_lock())] == [201] * len(orders)


def test_a_session_is_kept_until_something_goes_wrong(database: Database, loop: asyncio.Runner) -> None:
    def backend(transaction: BatchTransaction) -> int:
        return int(transaction.read_unlocked((text("SELECT pg_backend_pid()"), {}))[0][0])

    def left_open(transaction: BatchTransaction) -> None:
        transaction.read([1], [])

    first = loop.run(database.run_batch(backend))
    loop.run(database.run_batch(partial(book_unread, requests=[pay(1)], now_us=NOW_US)))
    assert loop.run(database.run_batch(backend)) == first
    loop.run(database.run_batch(left_open))
    with database.read() as connection:
        assert connection.execute(LOCKED_NUMBERS).scalars().all() == [], "it was rolled back"
        connection.execute(text(f"SELECT pg_terminate_backend({first}, 5000)"))
    wait_for(lambda: loop.run(a_batch_that_may_fail(database, backend)) not in {None, first})

    async def both() -> list[int]:
        return list(await asyncio.gather(database.run_batch(backend), database.run_batch(backend)))

    assert len(set(loop.run(both()))) == 2, "each at the same time has one of its own"


async def a_batch_that_may_fail(database: Database, work: Callable[[BatchTransaction], int]) -> int | None:
    try:
        return await database.run_batch(work)
    except NotBegun:
        return None


def test_a_payment_alone_is_one_round_trip(start: Callable[..., Service], database_url: str) -> None:
    """After it the session says neither BEGIN nor COMMIT: its last statement was the one that wrote."""
    service = start("serve", "--no-worker", BOOK_UNREAD="always")
    watcher = open_database(make_url(database_url))
    orders = itertools.count(1)

    def last_sent() -> Sequence[str]:
        for _ in range(3):  # a NOTIFY may follow the first, but none for a while after that
            assert service.pay(next(orders)).status_code == 201
        with watcher.read() as connection:
            return connection.execute(SENT).scalars().all()

    (sent,) = wait_for(last_sent)
    watcher.close()
    assert sent.startswith("WITH locked")
    assert ";" not in sent
