"""A batch of requests in one transaction: plan what it needs, read that, decide, write.

How each request is decided is in `booking`; when a batch is tried again is in `batch_writer`.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Table, bindparam, exists, not_, select
from sqlalchemy.exc import IntegrityError

from payment.core.errors import PaymentError
from payment.core.record import record
from payment.core.states import Method
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger import outbox
from payment.ledger.answers import LateMoneyAnswer, PaymentAnswer, RefundAnswer
from payment.ledger.booking import BookingResult, decide, number_of, receipt
from payment.ledger.books import Books, Happening, Renderers, Writes
from payment.ledger.events import Event, event_rows
from payment.ledger.lookups import BILLS_OF_ORDERS, LATE_MONEY_OF_PAYMENTS, PAYMENTS_BY_ID
from payment.ledger.records import Payment
from payment.ledger.requests import BookingRequest, PaymentRequest, RefundRequest, Settling
from payment.ledger.rows import BILLS, LATE_MONEY, PAYMENTS, REFUNDS, key_row, used_key
from payment.ledger.unread import Unread
from payment.storage.batch import BatchTransaction, NotFirst
from payment.storage.errors import ReadTooEarly, refuses_data
from payment.storage.literals import written
from payment.storage.statements import Query, Row
from payment.storage.tables import (
    HAS_REFERENCE,
    bills,
    events,
    idempotency_keys,
    late_money,
    notifications,
    payments,
    refunds,
)
from payment.storage.unread_insert import NUMBER

_RENDERERS = Renderers(payment=PaymentAnswer().text, refund=RefundAnswer().text, late=LateMoneyAnswer().text)

_newer = payments.alias()
_OF_PAYMENTS = select(payments.c.order_id, payments.c.reference).where(
    payments.c.id.in_(bindparam("ids", expanding=True))
)
_NAMED_PAYMENTS = PAYMENTS_BY_ID.add_columns(
    not_(exists().where(_newer.c.user_id == payments.c.user_id, _newer.c.id > payments.c.id)).label(
        "is_newest"
    )
)
_key = idempotency_keys.c
# Column by column: for a list of triples SQLite reads the whole table. What is found beyond what was asked
# for (a key of that name of another caller) is never looked up.
_USED_KEYS = select(idempotency_keys).where(
    _key.caller.in_(bindparam("callers", expanding=True)),
    _key.operation.in_(bindparam("operations", expanding=True)),
    _key.key.in_(bindparam("keys", expanding=True)),
)
# what holds a reference, in the words of the unique indexes
_REFERENCES = select(payments.c.id, payments.c.method, payments.c.reference).where(
    payments.c.reference.in_(bindparam("references", expanding=True)),
    payments.c.method.in_(list(map(written, Method))),
    HAS_REFERENCE,
)
_REFUND_REFERENCES = select(refunds).where(refunds.c.reference.in_(bindparam("references", expanding=True)))


class Undecided(Exception):
    """A defect in the rules."""


def fails_alone(error: BaseException) -> bool:
    """Say whether a batch failed for one of its requests: the database refused a row, or the rules failed."""
    return isinstance(error, Undecided | IntegrityError) or refuses_data(error)


def book_either_way(
    transaction: BatchTransaction, requests: Sequence[BookingRequest], now_us: int, unread: Unread
) -> list[BookingResult]:
    """Book a batch unread, where that saves a round trip and there is hope; else, or if it was wrong, read.

    Args, Returns, Raises: as `book`.
    """
    if is_hopeful(requests, now_us) and unread.is_due() and transaction.writes_unread:
        try:
            results = book_unread(transaction, requests, now_us)
        except NotFirst:
            unread.note(was_right=False)
        else:
            unread.note(was_right=True)
            return results
    return book(transaction, requests, now_us)


def book_unread(
    transaction: BatchTransaction, requests: Sequence[BookingRequest], now_us: int
) -> list[BookingResult]:
    """Book payments as if each were the first of its order and its key were new: in one round trip.

    The rules decide as always, on books in which nothing is; the constraints of the database say whether that
    was right (docs/decisions/0019).

    Args:
        transaction: a fresh one.
        requests: a batch of which `is_hopeful` is true.
        now_us: the time, microseconds since the epoch.

    Raises:
        NotFirst: it was not; nothing was written, and `book` may follow in the same transaction.
        Undecided: the rules failed unexpectedly; nothing was written.
    """
    plan = BatchPlan.of(requests)
    numbers = iter(range(1, plan.payments_new + 1))  # in place of ids
    try:
        results, writes = decide(requests, Books(), _RENDERERS, numbers, iter(()), now_us)
    except Exception as error:
        raise Undecided from error
    refused = [result for result in results if isinstance(result, PaymentError)]
    if refused:
        raise Undecided(f"refused unread: {refused[0]}")
    rows = _new_rows(writes, now_us)
    rows[idempotency_keys] = [
        {**row, NUMBER: number_of(answer)}
        for row, (_, answer) in zip(rows[idempotency_keys], writes.keys, strict=True)
    ]
    ids = transaction.write_unread(plan.locks(), rows)
    return [receipt(payment_id) for payment_id in ids]


def is_hopeful(requests: Sequence[BookingRequest], now_us: int) -> bool:
    """Say whether each may be the first payment of its order, for all that the batch tells.

    A share of a bill rarely is, and two of one order, key or reference are not. What is wrong whatever was
    booked before is no case for it either.
    """
    orders, keys, references = set[int](), set[tuple[str, str, str]](), set[str]()
    for request in requests:
        if not isinstance(request, PaymentRequest) or request.order_total not in (None, request.amount):
            return False
        if request.order_id in orders or (request.key and request.key.identity in keys):
            return False
        if request.reference in references or not request.may_expire(now_us):
            return False
        orders.add(request.order_id)
        if request.reference is not None:
            references.add(request.reference)
        if request.key:
            keys.add(request.key.identity)
    return True


def book(
    transaction: BatchTransaction, requests: Sequence[BookingRequest], now_us: int
) -> list[BookingResult]:
    """Book a batch of requests: read what it touches, decide, write all and commit.

    Args:
        transaction: a fresh one (`Database.run_batch`, `Database.batch`).
        requests: the batch, in the order in which the requests came.
        now_us: the time, microseconds since the epoch.

    Returns:
        An answer or a refusal for each request, in their order.

    Raises:
        Undecided: the rules failed unexpectedly; nothing was written.
        ReadTooEarly: a payment got its reference while this began; nothing was written.
    """
    plan = BatchPlan.of(requests)
    if plan.payment_ids:  # a payment never changes its order, so this may be read before anything is locked
        plan = plan.with_payments(transaction.read_unlocked((_OF_PAYMENTS, {"ids": plan.payment_ids})))
    found = _read(transaction, plan)
    try:
        results, writes = decide(
            requests, found.books, _RENDERERS, found.payment_ids, found.refund_ids, now_us
        )
    except Exception as error:
        raise Undecided from error
    _write(transaction, writes, now_us)
    return results


@record(frozen=True, slots=True)
class BatchPlan:
    """What a batch locks and reads.

    Attributes:
        order_ids: the orders whose bills it needs.
        payment_ids: the payments that its requests settle or refund, ascending.
        keys: the idempotency keys of its requests.
        references: those that its requests name, and those of the payments that they name.
        refund_references: those that its refunds name.
        payments_new: how many fresh ids of payments it may need.
        refunds_new: how many fresh ids of refunds it may need.
    """

    order_ids: frozenset[int]
    payment_ids: Sequence[int]
    keys: frozenset[tuple[str, str, str]]
    references: frozenset[str]
    refund_references: frozenset[str]
    payments_new: int
    refunds_new: int

    @classmethod
    def of(cls, requests: Sequence[BookingRequest]) -> "BatchPlan":
        """Return the plan as far as the requests tell: not what belongs to the payments that they name."""
        new = [item for item in requests if isinstance(item, PaymentRequest)]
        return cls(
            order_ids=frozenset(item.order_id for item in new),
            payment_ids=sorted(
                {item.payment_id for item in requests if not isinstance(item, PaymentRequest)}
            ),
            keys=frozenset(item.key.identity for item in requests if item.key),
            references=frozenset(
                item.reference
                for item in requests
                if isinstance(item, PaymentRequest | Settling) and item.reference is not None
            ),
            refund_references=frozenset(
                item.reference
                for item in requests
                if isinstance(item, RefundRequest) and item.reference is not None
            ),
            payments_new=len(new),
            refunds_new=sum(isinstance(item, RefundRequest) for item in requests),
        )

    def with_payments(self, rows: Sequence[Any]) -> "BatchPlan":
        """Return the plan with the orders and the references of these payments too."""
        return replace(
            self,
            order_ids=self.order_ids.union(row.order_id for row in rows),
            references=self.references.union(row.reference for row in rows if row.reference is not None),
        )

    def locks(self) -> set[int]:
        """Return the numbers to lock: one for each order, each key and each reference."""
        references = {("payment", each) for each in self.references}
        refund_references = {("refund", each) for each in self.refund_references}
        return {*self.order_ids, *_numbers_of({*self.keys, *references, *refund_references})}

    def queries(self, transaction: BatchTransaction) -> dict[str, Query]:
        """Return the queries to run once the locks are held, each under the name of what it finds."""
        queries: dict[str, Query] = {"bills": (BILLS_OF_ORDERS, {"order_ids": sorted(self.order_ids)})}
        if self.keys:
            callers, operations, keys = (sorted(set(each)) for each in zip(*self.keys, strict=True))
            which = {"callers": callers, "operations": operations, "keys": keys}
            queries["used_keys"] = (_USED_KEYS, which)
        if self.payment_ids:
            queries["payments"] = (_NAMED_PAYMENTS, {"ids": self.payment_ids})
            queries["late"] = (LATE_MONEY_OF_PAYMENTS, {"ids": self.payment_ids})
        if self.references:
            queries["references"] = (_REFERENCES, {"references": sorted(self.references)})
        if self.refund_references:
            queries["refund_references"] = (
                _REFUND_REFERENCES,
                {"references": sorted(self.refund_references)},
            )
        if self.payments_new:
            queries["payment_ids"] = transaction.fresh_ids(payments.c.id, self.payments_new)
        if self.refunds_new:
            queries["refund_ids"] = transaction.fresh_ids(refunds.c.id, self.refunds_new)
        return queries


class _Found(NamedTuple):
    """What a batch read: the books, and fresh ids."""

    books: Books
    payment_ids: Iterator[int]
    refund_ids: Iterator[int]


def _numbers_of(names: Collection[tuple[str, ...]]) -> set[int]:
    """Return a number for each name, beyond all orders; two may share one, and then one waits."""
    hashes = (hashlib.blake2b("\0".join(name).encode(), digest_size=7).digest() for name in names)
    return {WHOLE_NUMBER_MAX + 1 + int.from_bytes(each) for each in hashes}


def _read(transaction: BatchTransaction, plan: BatchPlan) -> _Found:
    """Lock what the plan names, then read it."""
    queries = plan.queries(transaction)
    results = transaction.read(plan.locks(), queries.values())
    rows = dict(zip(queries, results, strict=True))
    # A payment whose order is not locked was committed after `read_unlocked`: for this batch it is not there.
    named = [row for row in rows.get("payments", ()) if row.order_id in plan.order_ids]
    if any(row.reference is not None and row.reference not in plan.references for row in named):
        raise ReadTooEarly  # who else has it was not looked up
    return _Found(
        Books(
            used_keys={
                (row.caller, row.operation, row.key): used_key(row) for row in rows.get("used_keys", ())
            },
            bills={row.order_id: BILLS.from_row(row) for row in rows["bills"]},
            payments={row.id: PAYMENTS.from_row(row) for row in named},
            newest={row.id for row in named if row.is_newest},
            late={row.payment_id: LATE_MONEY.from_row(row) for row in rows.get("late", ())},
            references={(Method(row.method), row.reference): row.id for row in rows.get("references", ())},
            refund_references={
                (Method(row.method), row.reference): REFUNDS.from_row(row)
                for row in rows.get("refund_references", ())
            },
        ),
        payment_ids=(row[0] for row in rows.get("payment_ids", ())),
        refund_ids=(row[0] for row in rows.get("refund_ids", ())),
    )


def _write(transaction: BatchTransaction, writes: Writes, now_us: int) -> None:
    """Write the rows that make the results true, and commit."""
    transaction.write_and_commit(
        new=_new_rows(writes, now_us),
        changed={
            bills: [BILLS.to_changed_row(bill) for bill in writes.changed_bills],
            payments: [PAYMENTS.to_changed_row(payment) for payment in writes.changed_payments],
            late_money: [LATE_MONEY.to_changed_row(late) for late in writes.changed_late],
        },
    )


def _new_rows(writes: Writes, now_us: int) -> dict[Table, Sequence[Row]]:
    """Return the rows to insert; a table comes after those that it refers to."""
    return {
        bills: [BILLS.to_row(bill) for bill in writes.bills],
        payments: [PAYMENTS.to_row(payment) for payment in writes.payments],
        refunds: [REFUNDS.to_row(refund) for refund in writes.refunds],
        late_money: [LATE_MONEY.to_row(late) for late in writes.late],
        notifications: outbox.rows_of(writes.notifications, now_us),
        idempotency_keys: [key_row(key, answer, now_us) for key, answer in writes.keys],
        events: event_rows(map(_event_of, writes.happened), now_us),
    }


def _event_of(happening: Happening) -> Event:
    resource = happening.resource
    payment_id = resource.id if isinstance(resource, Payment) else resource.payment_id
    return Event(happening.types, payment_id, resource, happening.cause)
