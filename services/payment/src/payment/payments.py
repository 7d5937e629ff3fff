"""The use cases: pay, and read a payment."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, bindparam, select, tuple_
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from payment import outbox
from payment.booking import Bill, Outcome, Payment, PaymentRequest, Writes, decide
from payment.database import (
    Database,
    fresh_ids,
    insert_all,
    is_conflict,
    lock,
    schema_revision,
    wait_for_standby,
)
from payment.errors import PaymentError, PaymentNotFound, Unavailable, Unexpected
from payment.group_commit import GroupCommit
from payment.idempotency import Answer, KeptAnswer
from payment.logs import facts_of, get_logger
from payment.tables import WHOLE_NUMBER_MAX, bills, idempotency_keys, notifications, payments

Result = TypeVar("Result")

DATABASE_TIMEOUT_S = 8.0
"""The longest a read may take; the database's own time-outs do not bound one that has frozen."""

CLOSE_TIMEOUT_S = 3.0
"""How long the end of the process waits for a batch, after its callers were answered."""

CONFLICTS_MAX = 3
"""How often a batch is tried that the database ended for the sake of another transaction."""

_log = get_logger()


def book(connection: Connection, requests: Sequence[PaymentRequest], now_us: int) -> list[Outcome]:
    """Book a batch of payments in the caller's transaction: read what it touches, decide, write all.

    Args:
        connection: holds a transaction in which nobody else books (`Database.write`).
        requests: the batch, in the order in which the requests came.
        now_us: the time, microseconds since the epoch.

    Returns:
        An answer or a refusal for each request, in their order.
    """
    lock(connection, _locks(requests))
    outcomes, writes = decide(
        requests,
        _kept_answers(connection, requests),
        _bills(connection, requests),
        fresh_ids(connection, payments.c.id, len(requests)),
        now_us,
    )
    _write(connection, writes, now_us)
    return outcomes


def _locks(requests: Sequence[PaymentRequest]) -> set[int]:
    """Return a number for each order and each key of a batch; two keys may share one, which only waits."""
    orders = {request.order_id for request in requests}
    keys = {"\0".join(request.key.identity) for request in requests if request.key}
    hashes = (hashlib.blake2b(key.encode(), digest_size=7).digest() for key in keys)
    return orders | {WHOLE_NUMBER_MAX + 1 + int.from_bytes(each) for each in hashes}


def _kept_answers(
    connection: Connection, requests: Sequence[PaymentRequest]
) -> dict[tuple[str, str, str], KeptAnswer]:
    identities = sorted({request.key.identity for request in requests if request.key})
    if not identities:
        return {}
    table = idempotency_keys.c
    rows = connection.execute(
        select(idempotency_keys).where(tuple_(table.caller, table.operation, table.key).in_(identities))
    )
    return {
        (row.caller, row.operation, row.key): KeptAnswer(
            row.fingerprint, Answer(row.status, row.location, row.body)
        )
        for row in rows
    }


def _bills(connection: Connection, requests: Sequence[PaymentRequest]) -> dict[int, Bill]:
    order_ids = sorted({request.order_id for request in requests})
    rows = connection.execute(select(bills).where(bills.c.order_id.in_(order_ids)))
    return {row.order_id: Bill(row.order_id, row.total, row.paid, row.pending) for row in rows}


def _write(connection: Connection, writes: Writes, now_us: int) -> None:
    insert_all(
        connection,
        {
            bills: [_row(bill) for bill in writes.bills],
            payments: [_row(payment) for payment in writes.payments],
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
    )
    if not writes.payments:
        wait_for_standby(connection)  # a replay, or the refusal of a second payment, is only read


def _row(item: Bill | Payment) -> dict[str, Any]:
    """Return the columns of a row; `asdict` copies what it finds, ten times as long."""
    return {name: getattr(item, name) for name in item.__slots__}


_PAYMENTS = select(payments).where(payments.c.id.in_(bindparam("ids", expanding=True)))


def find_payments(connection: Connection, payment_ids: Sequence[int]) -> list[RowMapping | None]:
    """Return the row of each payment in the order of the ids, None where there is none."""
    rows = connection.execute(_PAYMENTS, {"ids": payment_ids}).mappings()
    found = {row["id"]: row for row in rows}
    return [found.get(payment_id) for payment_id in payment_ids]


class Ledger:
    """The use cases as the API calls them: awaitable, in batches, with database trouble translated.

    Args:
        database: where the payments are.
        batch_max: the most payments in one transaction.
        queue_max: the most payments that wait for theirs.
        booked: called after each commit that booked something.
    """

    def __init__(
        self, database: Database, *, batch_max: int, queue_max: int, booked: Callable[[], None]
    ) -> None:
        self._database = database
        self._booked = booked
        self._group = GroupCommit[PaymentRequest, Outcome](
            self._write, batch_max=batch_max, queue_max=queue_max
        )
        # looked up in groups too: one query for all that wait
        self._lookups = GroupCommit[int, RowMapping | None](
            self._look_up, batch_max=batch_max, queue_max=queue_max
        )

    async def pay(self, request: PaymentRequest) -> Answer:
        """Book a payment; when this returns, it is durable.

        Raises:
            BillSettled: the order is paid already.
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

    async def schema_revision(self) -> str | None:
        """Return the migration that the database is at.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(schema_revision)

    def end(self) -> None:
        """Tell all who still wait for their payment, and all who come, that it is too late."""
        self._group.end()

    async def close(self) -> None:
        """Let the batch that is being written be written, if the database lets us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._group.drain()

    async def _read(self, query: Callable[[Connection], Result]) -> Result:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                return await self._database.run_read(query)
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("read failed", **facts_of(error))
            raise Unavailable from error

    async def _look_up(self, payment_ids: Sequence[int]) -> list[RowMapping | None]:
        return await self._read(lambda connection: find_payments(connection, payment_ids))

    async def _write(self, batch: Sequence[PaymentRequest]) -> list[Outcome]:
        for _ in range(CONFLICTS_MAX):
            try:
                outcomes = await self._database.run_write(
                    lambda connection: book(connection, batch, now_us=time.time_ns() // 1000)
                )
            except IntegrityError as error:
                # The database refused a row that the rules let through. It must fail alone.
                if len(batch) > 1:
                    return [outcome for request in batch for outcome in await self._write([request])]
                _log.error("the database refused a payment", order_id=batch[0].order_id, **facts_of(error))
                return [Unexpected()]
            except SQLAlchemyError as error:
                if is_conflict(error):
                    continue
                # Nobody knows whether it was committed, so nobody is told 201 and nothing is tried again
                # here: that would answer 409 to one's own payment. The caller's key makes its retry safe.
                _log.error("batch failed", size=len(batch), **facts_of(error))
                break
            self._booked()
            self._database.announce()
            return outcomes
        return [Unavailable() for _ in batch]
