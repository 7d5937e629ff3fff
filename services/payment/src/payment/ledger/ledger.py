"""The use cases as the API calls them: pay, settle, give money back, and read what came of it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import SQLAlchemyError

from payment.core.business_day import BusinessDays
from payment.core.cause import Cause
from payment.core.errors import (
    ApiKeyEnded,
    PaymentError,
    PaymentNotFound,
    RefundNotFound,
    Unavailable,
)
from payment.core.logs import facts_of, get_logger
from payment.core.metrics import watch_queue
from payment.core.tracing import Tracer
from payment.ledger import outbox
from payment.ledger.batch_writer import BatchWriter
from payment.ledger.bill_listing import BillPage, find_bill_page
from payment.ledger.comparing import Reconciliations
from payment.ledger.delivery_waiter import DeliveryWaiter
from payment.ledger.feed import Feed
from payment.ledger.group_commit import GroupCommit
from payment.ledger.idempotency import BookedAnswer, Key
from payment.ledger.keys import MadeKey, NewKey, Rotation, find_key, find_keys, make_key, revoke_key
from payment.ledger.listing import Page, Position, Selection, find_page
from payment.ledger.lookups import find_bill, find_late_money, find_payments, find_refunds
from payment.ledger.notifications import Notifications
from payment.ledger.records import Bill
from payment.ledger.refund_listing import RefundPage, find_refund_page
from payment.ledger.requests import BookingRequest
from payment.ledger.traced_bookings import TracedBookings
from payment.ledger.unread import Mode
from payment.storage.base import Database
from payment.storage.migrate import schema_revision
from payment.storage.statements import Row

if TYPE_CHECKING:
    from payment.ledger.booking import BookingResult

Result = TypeVar("Result")

DATABASE_TIMEOUT_S = 8.0
"""The longest a read may take; the database's own time-outs do not bound one that has frozen."""

CLOSE_TIMEOUT_S = 3.0
"""How long a process that ends waits for the batch that is being written; its callers have been answered."""

WAITING_PART = 4
"""Of the requests in hand at most one in four waits until the neighbours were told, and one for events."""

_log = get_logger()


def _now_us() -> int:
    return time.time_ns() // 1000


class Ledger:
    """The use cases: awaitable, in batches; a database error becomes `Unavailable`.

    Every method runs on the event loop. The attributes are set once, here; what changes is within the
    objects that they name.

    Args:
        database: where the payments are.
        batch_max: the most payments in one transaction.
        queue_max: the most payments that wait for a transaction.
        booked: called on the event loop after each commit that booked something.
        days: the restaurant's.
        waits_us: for how long a payment waits that does not say when it expires; None for what a worker's
            settings say.
        tracer: begins the spans of bookings; None for none.
        unread: whether batches are written unread, see `Unread`.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch_max: int,
        queue_max: int,
        booked: Callable[[], None],
        days: BusinessDays,
        waits_us: int | None = None,
        tracer: Tracer | None = None,
        unread: Mode = "auto",
    ) -> None:
        self._database = database
        self.days = days
        self.waits_us = waits_us
        self._booked = booked
        write = BatchWriter(database, committed=self._tell_workers, unread=unread).write
        self._bookings: GroupCommit[BookingRequest, BookingResult] | TracedBookings = (
            TracedBookings(tracer, write, batch_max=batch_max, queue_max=queue_max)
            if tracer
            else GroupCommit(write, batch_max=batch_max, queue_max=queue_max)
        )
        watch_queue(self._bookings.waiting)
        # looked up in groups too: one query for all that wait
        self._lookups = GroupCommit[int, RowMapping | None](
            self._look_up, batch_max=batch_max, queue_max=queue_max
        )
        waiting_max = max(1, queue_max // WAITING_PART)
        self._waiter = DeliveryWaiter(self._look_for_told, waiting_max=waiting_max)
        self.feed = Feed(self._read, readers_max=waiting_max)
        self.notifications = Notifications(self._read, self._write, sent_again=self._tell_workers)
        self.reconciliations = Reconciliations(self._read, self._write)

    async def book(self, request: BookingRequest) -> BookedAnswer:
        """Book a payment, settle one, give money back, or note what became of late money; then it is durable.

        Raises:
            PaymentError: it is refused; see `booking`.
            KeyReused: the key was used with another body.
            Unavailable: the database does not answer, or too many requests wait.
        """
        result = await self._bookings.submit(request)
        if isinstance(result, PaymentError):
            try:
                raise result
            finally:
                del result  # which holds this frame now
        return result

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

    async def bill_page(self, after_order_id: int | None, limit: int, *, only_open: bool) -> BillPage:
        """Return a page of bills; see `bill_listing.find_bill_page`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(
            lambda connection: find_bill_page(connection, after_order_id, limit, only_open=only_open)
        )

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

    async def late_money(self, payment_id: int) -> RowMapping:
        """Return the late money of a payment.

        Raises:
            PaymentNotFound: there is no such payment.
            LateMoneyNotFound: none of it came late.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_late_money(connection, payment_id))

    async def page(self, selection: Selection, after: Position | None, limit: int) -> Page:
        """Return a page of payments; see `listing.find_page`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_page(connection, selection, after, limit))

    async def refund_page(
        self, from_us: int | None, to_us: int | None, after: Position | None, limit: int
    ) -> RefundPage:
        """Return a page of all refunds; see `refund_listing.find_refund_page`.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_refund_page(connection, from_us, to_us, after, limit))

    async def was_told(self, payment_id: int, within_s: float) -> bool:
        """Wait until the neighbours were told of a payment; False if that takes longer."""
        return await self._waiter.wait(payment_id, within_s)

    async def keys(self) -> Sequence[Row]:
        """Return all API keys that ever were, newest first.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_keys(connection, _now_us()))

    async def key(self, key_id: str) -> Row:
        """Return one API key.

        Raises:
            ApiKeyNotFound: there is none with this id.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_key(connection, key_id, _now_us()))

    async def make_key(self, asked: NewKey | Rotation, key: Key | None, cause: Cause) -> MadeKey:
        """Make an API key, one for each idempotency key; every process takes it at once. See `keys.make_key`.

        Raises:
            ApiKeyNotFound, ApiKeyEnded: the old one is not there, or good no more.
            ApiKeyMade: it was made before.
            KeyReused: the idempotency key was used with another body.
            Unavailable: the database does not answer.
        """
        return await self._write(lambda connection: make_key(connection, asked, key, cause, _now_us()))

    async def revoke_key(self, key_id: str, cause: Cause) -> Row:
        """Let an API key be good no more, and return it; one that is good no more stays as it is.

        Raises:
            ApiKeyNotFound: there is none with this id.
            Unavailable: the database does not answer.
        """

        def revoke(connection: Connection) -> Row:
            with contextlib.suppress(ApiKeyEnded):
                revoke_key(connection, key_id, cause, _now_us())
            return find_key(connection, key_id, _now_us())

        return await self._write(revoke)

    async def report(
        self, of: Callable[[Connection, date, BusinessDays], Result], day: date | None
    ) -> Result:
        """Return the report of a day that `reports` makes so, `daily_report` say; None is today.

        Raises:
            Unavailable: the database does not answer.
        """
        which = day or self.days.day_of(_now_us())
        return await self._read(lambda connection: of(connection, which, self.days))

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
        """Answer everybody who waits, and everybody who comes from now on, with `Unavailable`."""
        self._bookings.end()
        self._waiter.end()
        self.feed.end()
        self._lookups.end()

    async def close(self) -> None:
        """Wait a little for the batch that is being written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._bookings.drain()

    def _tell_workers(self) -> None:
        """Wake the worker of this process, and announce the commit to those of others."""
        self._booked()
        self.feed.notice()
        self._database.announce()

    async def _read(self, query: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                return await self._database.run_read(query, is_short=is_short)
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("read failed", **facts_of(error))
            raise Unavailable from error

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        try:
            return await self._database.run_write(work)
        except SQLAlchemyError as error:
            _log.error("write failed", **facts_of(error))
            raise Unavailable from error

    async def _look_for_told(self, payment_ids: Collection[int]) -> Collection[int]:
        return await self._read(lambda connection: outbox.find_told(connection, payment_ids))

    async def _look_up(self, payment_ids: Sequence[int]) -> list[RowMapping | None]:
        return await self._read(lambda connection: find_payments(connection, payment_ids), is_short=True)
