"""The use cases: pay, settle, give money back, and read what came of it."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    exists,
    not_,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from payment.core.errors import (
    BillNotFound,
    NotificationNotFound,
    NotificationSettled,
    PaymentError,
    PaymentNotFound,
    RefundNotFound,
    Unavailable,
    Unexpected,
)
from payment.core.logs import facts_of, get_logger
from payment.core.states import Method, State, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger import outbox
from payment.ledger.answers import PaymentAnswer, RefundAnswer
from payment.ledger.booking import (
    Bill,
    Books,
    Outcome,
    Payment,
    PaymentRequest,
    Refund,
    RefundRequest,
    Request,
    Show,
    Writes,
    decide,
)
from payment.ledger.delivery_waiter import Waiting
from payment.ledger.group_commit import GroupCommit
from payment.ledger.idempotency import Answer, KeptAnswer
from payment.ledger.listing import Position, Selection, find_page
from payment.ledger.reports import DailyReport, daily_report, day_of
from payment.storage.database import (
    Database,
    Query,
    can_be_repeated,
    fresh_ids,
    lock_and_read,
    read_ahead,
    schema_revision,
    wait_for_standby,
    write_all,
)
from payment.storage.tables import bills, idempotency_keys, notifications, payments, refunds

Result = TypeVar("Result")

DATABASE_TIMEOUT_S = 8.0
"""The longest a read may take; the database's own time-outs do not bound one that has frozen."""

CLOSE_TIMEOUT_S = 3.0
"""How long the end of the process waits for a batch, after its callers were answered."""

TRIES_MAX = 3
"""How often a batch is tried of which nothing could be written, see `can_be_repeated`."""

WAITING_PART = 4
"""One in so many of the requests that may be in hand may be one that waits until the neighbours were told."""

_log = get_logger()


_SHOW = Show(payment=PaymentAnswer().text, refund=RefundAnswer().text)


class Undecided(Exception):
    """A defect in the rules."""


def book(connection: Connection, requests: Sequence[Request], now_us: int) -> list[Outcome]:
    """Book a batch of requests in the caller's transaction: read what it touches, decide, write all.

    Args:
        connection: holds a transaction in which nobody else books (`Database.write`).
        requests: the batch, in the order in which the requests came.
        now_us: the time, microseconds since the epoch.

    Returns:
        An answer or a refusal for each request, in their order.

    Raises:
        Undecided: the rules failed unexpectedly; nothing was written.
    """
    named = sorted({item.payment_id for item in requests if not isinstance(item, PaymentRequest)})
    order_ids = {item.order_id for item in requests if isinstance(item, PaymentRequest)}
    if named:  # which order a payment is of never changes, so this may be read before it is locked
        order_ids.update(row.order_id for row in read_ahead(connection, _ORDERS_OF, {"ids": named}))
    keys = {item.key.identity for item in requests if item.key}
    payments_new = sum(isinstance(item, PaymentRequest) for item in requests)
    refunds_new = sum(isinstance(item, RefundRequest) for item in requests)
    queries: dict[str, Query] = {"bills": (_BILLS, {"order_ids": sorted(order_ids)})}
    if keys:
        queries["kept"] = (_KEPT, {"identities": sorted(keys)})
    if named:
        queries["named"] = (_NAMED, {"ids": named})
    if payments_new:
        queries["payment_ids"] = fresh_ids(connection, payments.c.id, payments_new)
    if refunds_new:
        queries["refund_ids"] = fresh_ids(connection, refunds.c.id, refunds_new)
    found = lock_and_read(connection, order_ids | _numbers_of(keys), *queries.values())
    rows = dict(zip(queries, found, strict=True))
    # one that was committed since we asked which order it is of is, to this batch, not there yet
    named_rows = [row for row in rows.get("named", ()) if row.order_id in order_ids]
    books = Books(
        kept={
            (row.caller, row.operation, row.key): KeptAnswer(
                row.fingerprint, Answer(row.status, row.location, row.body)
            )
            for row in rows.get("kept", ())
        },
        bills={row.order_id: _bill(row) for row in rows["bills"]},
        payments={row.id: _payment(row) for row in named_rows},
        newest={row.id for row in named_rows if row.is_newest},
    )
    payment_ids = (row[0] for row in rows.get("payment_ids", ()))
    refund_ids = (row[0] for row in rows.get("refund_ids", ()))
    try:
        outcomes, writes = decide(requests, books, _SHOW, payment_ids, refund_ids, now_us)
    except Exception as error:
        raise Undecided from error
    _write(connection, writes, now_us)
    return outcomes


def find_expired(
    connection: Connection, created_before_us: int, *, limit: int, but: Collection[int] = ()
) -> Sequence[int]:
    """Return the ids of payments that have waited too long to be settled, the oldest first.

    Args:
        connection: to read from.
        created_before_us: those made before this, microseconds since the epoch.
        limit: the most payments.
        but: these are left out.
    """
    too_old = (
        select(payments.c.id)
        .where(
            payments.c.status == Status.PENDING,
            text("status <> 'paid'"),  # SQLite takes an index for its own words only
            payments.c.created_us < created_before_us,
            payments.c.id.not_in(but),
        )
        .order_by(payments.c.created_us)
        .limit(limit)
    )
    return connection.execute(too_old).scalars().all()


def _numbers_of(keys: Collection[tuple[str, str, str]]) -> set[int]:
    """Return a number for each key, beyond all orders; two may share one, which only waits."""
    hashes = (hashlib.blake2b("\0".join(key).encode(), digest_size=7).digest() for key in keys)
    return {WHOLE_NUMBER_MAX + 1 + int.from_bytes(each) for each in hashes}


def _bill(row: Any) -> Bill:
    return Bill(row.order_id, row.total, row.paid, row.pending, row.refunded)


def _payment(row: Any) -> Payment:
    return Payment(
        id=row.id,
        order_id=row.order_id,
        user_id=row.user_id,
        amount=row.amount,
        status=Status(row.status),
        method=Method(row.method),
        created_us=row.created_us,
        updated_us=row.updated_us,
        amount_refunded=row.amount_refunded,
        settled_us=row.settled_us,
    )


_newer = payments.alias()
_BILLS = select(bills).where(bills.c.order_id.in_(bindparam("order_ids", expanding=True)))
_KEPT = select(idempotency_keys).where(
    tuple_(idempotency_keys.c.caller, idempotency_keys.c.operation, idempotency_keys.c.key).in_(
        bindparam("identities", expanding=True)
    )
)
_PAYMENTS = select(payments).where(payments.c.id.in_(bindparam("ids", expanding=True)))
_ORDERS_OF = select(payments.c.order_id).where(payments.c.id.in_(bindparam("ids", expanding=True)))
_NAMED = _PAYMENTS.add_columns(
    not_(exists().where(_newer.c.user_id == payments.c.user_id, _newer.c.id > payments.c.id)).label(
        "is_newest"
    )
)


def _write(connection: Connection, writes: Writes, now_us: int) -> None:
    if not (writes.payments or writes.changed_bills or writes.changed_payments):
        wait_for_standby(connection)  # a replay, or the refusal of a second payment, is only read
    write_all(
        connection,
        new={
            bills: [_row(bill) for bill in writes.bills],
            payments: [_row(payment) for payment in writes.payments],
            refunds: [_row(refund) for refund in writes.refunds],
            notifications: outbox.rows_of(writes.notifications, now_us),
            idempotency_keys: [
                {
                    "caller": key.caller,
                    "operation": key.operation,
                    "key": key.key,
                    "fingerprint": key.fingerprint,
                    "status": answer.status,
                    "location": answer.location,
                    "body": answer.body,
                    "created_us": now_us,
                }
                for key, answer in writes.keys
            ],
        },
        changed={
            bills: [_row(bill) for bill in writes.changed_bills],
            payments: [
                _row(payment, "id", "status", "amount_refunded", "updated_us", "settled_us")
                for payment in writes.changed_payments
            ],
        },
    )


def _row(item: Bill | Payment | Refund, *names: str) -> dict[str, Any]:
    """Return these columns of a row, or all; `asdict` copies what it finds, ten times as long."""
    return {name: getattr(item, name) for name in names or item.__slots__}


def find_payments(connection: Connection, payment_ids: Sequence[int]) -> list[RowMapping | None]:
    """Return the row of each payment in the order of the ids, None where there is none."""
    rows = connection.execute(_PAYMENTS, {"ids": payment_ids}).mappings()
    found = {row["id"]: row for row in rows}
    return [found.get(payment_id) for payment_id in payment_ids]


def _subject(request: Request) -> dict[str, int]:
    """Return what a request is about, for the log."""
    if isinstance(request, PaymentRequest):
        return {"order_id": request.order_id}
    return {"payment_id": request.payment_id}


def find_bill(connection: Connection, order_id: int) -> Bill:
    """Return the bill of an order.

    Raises:
        BillNotFound: nothing was ever to be paid for it.
    """
    row = connection.execute(_BILLS, {"order_ids": [order_id]}).first()
    if row is None:
        raise BillNotFound(order_id=order_id)
    return _bill(row)


def find_refunds(
    connection: Connection, payment_id: int, refund_id: int | None = None
) -> Sequence[RowMapping]:
    """Return the refunds of a payment, oldest first, or this one of them.

    Raises:
        PaymentNotFound: there is no such payment.
    """
    query = select(refunds).where(refunds.c.payment_id == payment_id).order_by(refunds.c.refunded_before)
    if refund_id is not None:
        query = query.where(refunds.c.id == refund_id)
    rows = connection.execute(query).mappings().all()
    if not rows and find_payments(connection, [payment_id]) == [None]:
        raise PaymentNotFound
    return rows


class Ledger:
    """The use cases as the API calls them: awaitable, in batches, with database trouble translated.

    Args:
        database: where the payments are.
        batch_max: the most payments in one transaction.
        queue_max: the most payments that wait for theirs.
        booked: called after each commit that booked something.
        time_zone: what a day is.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch_max: int,
        queue_max: int,
        booked: Callable[[], None],
        time_zone: ZoneInfo,
    ) -> None:
        self._database = database
        self._time_zone = time_zone
        self._booked = booked
        self._group = GroupCommit[Request, Outcome](self._write, batch_max=batch_max, queue_max=queue_max)
        self._waiting = Waiting(self._look_for_told, waiting_max=max(1, queue_max // WAITING_PART))
        # looked up in groups too: one query for all that wait
        self._lookups = GroupCommit[int, RowMapping | None](
            self._look_up, batch_max=batch_max, queue_max=queue_max
        )

    async def book(self, request: Request) -> Answer:
        """Book a payment, settle one, or give money back; when this returns, it is durable.

        Raises:
            PaymentError: it is refused; see `booking`.
            KeyReused: the key was used with another body.
            Unavailable: the database does not answer, or too many requests wait.
        """
        outcome = await self._group.submit(request)
        if isinstance(outcome, PaymentError):
            raise outcome
        return outcome

    async def payment(self, payment_id: int) -> RowMapping:
        """Return the row of a payment.

        Raises:
            PaymentNotFound: there is none with this id.
            Unavailable: the database does not answer, or too many requests wait.
        """
        row = await self._lookups.submit(payment_id)
        if row is None:
            raise PaymentNotFound
        return row

    async def bill(self, order_id: int) -> Bill:
        """Return the bill of an order.

        Raises:
            BillNotFound: nothing was ever to be paid for it.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_bill(connection, order_id), is_short=True)

    async def refunds(self, payment_id: int) -> Sequence[RowMapping]:
        """Return the refunds of a payment, oldest first.

        Raises:
            PaymentNotFound: there is no such payment.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_refunds(connection, payment_id))

    async def refund(self, payment_id: int, refund_id: int) -> RowMapping:
        """Return one refund of a payment.

        Raises:
            PaymentNotFound: there is no such payment.
            RefundNotFound: it has no such refund.
            Unavailable: the database does not answer.
        """
        rows = await self._read(lambda connection: find_refunds(connection, payment_id, refund_id))
        if not rows:
            raise RefundNotFound
        return rows[0]

    async def page(self, selection: Selection, after: Position | None, limit: int) -> Sequence[RowMapping]:
        """Return payments, newest first; see `listing.find_page`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_page(connection, selection, after, limit))

    async def was_told(self, payment_id: int, within_s: float) -> bool:
        """Wait until the neighbours were told of a payment; False if that takes longer."""
        return await self._waiting.wait(payment_id, within_s)

    async def notifications(
        self,
        *,
        service: str | None = None,
        state: State | None = None,
        before_id: int | None = None,
        limit: int,
    ) -> Sequence[RowMapping]:
        """Return notifications, newest first; see `outbox.find_notifications`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(
            lambda connection: outbox.find_notifications(
                connection, service=service, state=state, before_id=before_id, limit=limit
            )
        )

    async def notifications_of(self, payment_id: int) -> Sequence[RowMapping]:
        """Return what each neighbour was told of a payment, newest first.

        Raises:
            PaymentNotFound: there is no such payment.
            Unavailable: the database does not answer.
        """

        def find(connection: Connection) -> Sequence[RowMapping]:
            if find_payments(connection, [payment_id]) == [None]:
                raise PaymentNotFound
            return outbox.find_notifications(connection, payment_id=payment_id)

        return await self._read(find)

    async def send_again(self, notification_id: int) -> RowMapping:
        """Send a notification again that is dead, or try one at once that waits.

        Raises:
            NotificationNotFound: there is none with this id.
            NotificationSettled: it is neither dead nor waiting.
            Unavailable: the database does not answer.
        """

        def send(connection: Connection) -> RowMapping:
            sent = outbox.send_again(connection, time.time_ns() // 1000, notification_id=notification_id)
            row = outbox.find_notification(connection, notification_id)
            if row is None:
                raise NotificationNotFound
            if not sent:
                raise NotificationSettled(id=notification_id, state=row["state"])
            return row

        try:
            row = await self._database.run_write(send)
        except SQLAlchemyError as error:
            _log.error("write failed", **facts_of(error))
            raise Unavailable from error
        self._booked()
        self._database.announce()
        return row

    async def daily_report(self, day: date | None) -> DailyReport:
        """Return the closing of a day; None is today.

        Raises:
            Unavailable: the database does not answer.
        """
        zone = self._time_zone
        which = day or day_of(time.time_ns() // 1000, zone)
        return await self._read(lambda connection: daily_report(connection, which, zone))

    async def condition(self) -> tuple[str | None, str | None]:
        """Return the migration that the database is at, and why it can only be read, if it can.

        Raises:
            Unavailable: the database does not answer.
        """

        def look(connection: Connection) -> tuple[str | None, str | None]:
            why = self._database.why_read_only(connection)  # first: a missing table ends the transaction
            return schema_revision(connection), why

        return await self._read(look, is_short=True)

    def end(self) -> None:
        """Tell all who still wait, and all who come, that it is too late."""
        self._group.end()
        self._waiting.end()
        self._lookups.end()

    async def close(self) -> None:
        """Let the batch that is being written be written, if the database lets us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._group.drain()

    async def _read(self, query: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                return await self._database.run_read(query, is_short=is_short)
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("read failed", **facts_of(error))
            raise Unavailable from error

    async def _look_for_told(self, payment_ids: Collection[int]) -> Collection[int]:
        return await self._read(lambda connection: outbox.find_told(connection, payment_ids))

    async def _look_up(self, payment_ids: Sequence[int]) -> list[RowMapping | None]:
        return await self._read(lambda connection: find_payments(connection, payment_ids), is_short=True)

    async def _write(self, batch: Sequence[Request]) -> list[Outcome]:
        for _ in range(TRIES_MAX):
            try:
                outcomes = await self._database.run_batch(
                    lambda connection: book(connection, batch, now_us=time.time_ns() // 1000)
                )
            except (IntegrityError, Undecided) as error:
                # The database refused a row that the rules let through, or they failed. It must fail alone.
                if len(batch) > 1:
                    return [outcome for request in batch for outcome in await self._write([request])]
                _log.error("a request failed", **_subject(batch[0]), **facts_of(error), exc_info=error)
                return [Unexpected()]
            except SQLAlchemyError as error:
                if can_be_repeated(error):
                    continue
                # Nobody knows whether it was committed, so nobody is told 201 and nothing is tried again
                # here: that would answer 409 to one's own payment. The caller's key makes its retry safe.
                _log.error("batch failed", size=len(batch), **facts_of(error))
                break
            self._booked()
            self._database.announce()
            return outcomes
        return [Unavailable() for _ in batch]
