"""A ledger without a database: each batch that `decide` books is what the next one finds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from payment.core.cause import Cause
from payment.core.errors import (
    PaymentError,
)
from payment.core.neighbours import Neighbour
from payment.core.states import Method, Resolution, Status
from payment.ledger.answers import LateMoneyAnswer, PaymentAnswer, RefundAnswer
from payment.ledger.booking import BookingResult, decide
from payment.ledger.books import Books, Renderers, Writes
from payment.ledger.idempotency import BookedAnswer, Key, UsedKey, fingerprint
from payment.ledger.records import Payment
from payment.ledger.requests import BookingRequest, LateResolution, PaymentRequest, RefundRequest, Settling
from payment.ledger.rows import LATE_MONEY, PAYMENTS

NOW_US = 1_700_000_000_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CAUSE = Cause("kasir-1/Ab3dE6gH", "r-1", TRACE)
RENDERERS = Renderers(payment=PaymentAnswer().text, refund=RefundAnswer().text, late=LateMoneyAnswer().text)


@dataclass
class Ledger:
    """What a database would hold: each batch's writes are fed to the next one."""

    ids: Iterator[int] = field(default_factory=lambda: count(1))
    refund_ids: Iterator[int] = field(default_factory=lambda: count(1))
    books: Books = field(default_factory=Books)
    written: Writes = field(default_factory=Writes)
    now_us: int = NOW_US

    def decide(self, requests: Sequence[BookingRequest]) -> list[BookingResult]:
        """Decide a batch, and write what it writes."""
        outcomes, writes = decide(requests, self.books, RENDERERS, self.ids, self.refund_ids, self.now_us)
        for bill in writes.bills:
            assert bill.order_id not in self.books.bills, "the primary key of `bills` refuses this"
        for key, answer in writes.keys:
            assert key.identity not in self.books.used_keys, (
                "the primary key of `idempotency_keys` refuses this"
            )
            self.books.used_keys[key.identity] = UsedKey(key.fingerprint, answer)
        self._keep_late(writes)
        for payment in writes.changed_payments:
            updated = replace(self.books.payments[payment.id], **PAYMENTS.to_changed_row(payment))
            assert updated == payment, "the UPDATE leaves out what is said to be fixed"
        for bill in [*writes.bills, *writes.changed_bills]:
            self.books.bills[bill.order_id] = bill
        for payment in [*writes.payments, *writes.changed_payments]:
            self.books.payments[payment.id] = payment
        open_ = {each.payment_id for each in self.books.late.values() if each.resolution is None}
        assert {each.id for each in self.payments if each.late} == open_, "the list has exactly what is open"
        held = [each for each in self.payments if each.status is not Status.FAILED and each.reference]
        self.books.references = {(each.method, str(each.reference)): each.id for each in held}
        assert len(self.books.references) == len(held), "the unique index of `payments` refuses this"
        for refund in writes.refunds:
            if refund.reference is not None:
                name = refund.method, refund.reference
                assert name not in self.books.refund_references, "the unique index of `refunds` refuses this"
                self.books.refund_references[name] = refund
        newest = {payment.user_id: payment.id for payment in sorted(self.payments, key=lambda p: p.id)}
        self.books.newest = set(newest.values())
        self.written.bills += writes.bills
        self.written.payments += writes.payments
        self.written.refunds += writes.refunds
        self.written.late += writes.late
        self.written.keys += writes.keys
        self.written.notifications += writes.notifications
        self.written.happened += writes.happened
        self.written.changed_bills += writes.changed_bills
        self.written.changed_payments += writes.changed_payments
        return outcomes

    def _keep_late(self, writes: Writes) -> None:
        for late in writes.late:
            assert late.payment_id not in self.books.late, "the primary key of `late_money` refuses this"
        for late in writes.changed_late:
            changed = replace(self.books.late[late.payment_id], **LATE_MONEY.to_changed_row(late))
            assert changed == late, "the UPDATE leaves out what is said to be fixed"
        for late in [*writes.late, *writes.changed_late]:
            self.books.late[late.payment_id] = late

    @property
    def payments(self) -> list[Payment]:
        """Return every payment as it is now."""
        return list(self.books.payments.values())

    def news_since(self, before: int) -> list[tuple[Neighbour, int]]:
        """Return who was told of something after the first `before` notifications."""
        return [(news.neighbour, news.target_id) for news in self.written.notifications[before:]]


def pay(
    order_id: int = 1,
    user_id: int = 1,
    amount: int = 20_000,
    method: Method = Method.CASH,
    status: Status = Status.PAID,
    order_total: int | None = None,
    key: str | None = None,
    caller: str = "",
    **more: Any,
) -> PaymentRequest:
    request = PaymentRequest(
        order_id=order_id,
        user_id=user_id,
        amount=amount,
        method=method,
        status=status,
        order_total=order_total,
        cause=CAUSE,
        **more,
    )
    return replace(request, key=_key("create_payment", key, caller, request))


def later(amount: int = 20_000, **changes: int) -> PaymentRequest:
    return replace(pay(amount=amount, status=Status.PENDING), **changes)  # type: ignore[arg-type]


def settle(
    payment_id: int, status: Status = Status.PAID, key: str | None = None, reference: str | None = None
) -> Settling:
    request = Settling(payment_id, status, reference, cause=CAUSE)
    return replace(request, key=_key("settle_payment", key, "", request))


def refund(
    payment_id: int,
    amount: int | None = None,
    expected_refunded: int | None = None,
    key: str | None = None,
    reference: str | None = None,
) -> RefundRequest:
    request = RefundRequest(payment_id, amount, "salah pesan", expected_refunded, reference, cause=CAUSE)
    return replace(request, key=_key("create_refund", key, "", request))


def resolve(
    payment_id: int, resolution: Resolution = Resolution.RETURNED, reference: str | None = None
) -> LateResolution:
    return LateResolution(payment_id, resolution, reference, cause=CAUSE)


def _key(operation: str, key: str | None, caller: str, request: BookingRequest) -> Key | None:
    return Key(caller, operation, key, fingerprint({"request": repr(request)})) if key else None


def answers(outcomes: Sequence[BookingResult]) -> list[BookedAnswer]:
    assert all(isinstance(outcome, BookedAnswer) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, BookedAnswer)]


def refusals(outcomes: Sequence[BookingResult]) -> list[PaymentError]:
    assert all(isinstance(outcome, PaymentError) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, PaymentError)]


def comparable(outcome: BookingResult) -> object:
    """Two exceptions are never equal; what they say is."""
    if isinstance(outcome, BookedAnswer):
        return outcome
    return (type(outcome), outcome.status, outcome.field, outcome.facts)


def payment_id_of(answer: BookedAnswer) -> int:
    return int(json.loads(answer.body)["payment_id"])
