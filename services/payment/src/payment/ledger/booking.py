"""The rules of booking, as one pure function: what the batch read, the requests, now -> results and rows.

Requests that wait together are decided together, in the order in which they came. Each sees what those
before it changed. Nothing here touches a database: `batch` reads and writes, Hypothesis tests this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from payment.core.cause import Cause
from payment.core.errors import (
    BillExceeded,
    BillSettled,
    BillTotalDiffers,
    ExpiryInvalid,
    MoveNotAllowed,
    OrderTotalTooSmall,
    PaymentError,
    PaymentNotFound,
    ReferenceDiffers,
    ReferenceTaken,
    RefundedDiffers,
    RefundReferenceTaken,
    RefundTooLarge,
)
from payment.core.states import MOVES, PAID_AT_ONCE, EventType, Method, Status
from payment.core.units import DAY_US
from payment.ledger.audience import Change, news_of
from payment.ledger.books import Books, Happening, Renderers, Writes
from payment.ledger.idempotency import BookedAnswer, Key, UsedKey, replay
from payment.ledger.records import Bill, Payment, Refund

NOBODY = Cause()

WAITS_MAX_DAYS = 30
"""How far ahead a payment may be to expire."""


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A validated POST /payments. Amounts are whole rupiah.

    Attributes:
        status: `paid`, or `pending` for one that is settled later.
        order_total: what the order costs; None if this payment is all of it.
        reference: what its provider calls it; None if it does not say.
        expires_us: when it fails if nobody has settled it; None if it does not say.
        waits_us: for how long it waits if it does not say.
    """

    order_id: int
    user_id: int
    amount: int
    method: Method
    status: Status = Status.PAID
    order_total: int | None = None
    reference: str | None = None
    expires_us: int | None = None
    waits_us: int | None = None
    key: Key | None = None
    cause: Cause = NOBODY

    def may_expire(self, now_us: int) -> bool:
        """Say whether what it says of its expiry can be, if it says anything."""
        if self.expires_us is None:
            return True
        return self.status is Status.PENDING and now_us < self.expires_us <= now_us + WAITS_MAX_DAYS * DAY_US


@dataclass(frozen=True, slots=True)
class Settling:
    """A validated PATCH /payments/{payment_id}: it was paid, or it failed.

    Attributes:
        reference: what its provider calls it; None if it does not say.
    """

    payment_id: int
    status: Status
    reference: str | None = None
    key: Key | None = None
    cause: Cause = NOBODY


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A validated POST /payments/{payment_id}/refunds.

    Attributes:
        amount: whole rupiah; None for all that is left.
        expected_refunded: what the caller believes was given back so far; None if it does not say.
        reference: what the provider calls it that gives it back; None if it does not say.
    """

    payment_id: int
    amount: int | None = None
    reason: str | None = None
    expected_refunded: int | None = None
    reference: str | None = None
    key: Key | None = None
    cause: Cause = NOBODY


BookingRequest = PaymentRequest | Settling | RefundRequest


CHANGES = {
    Status.PAID: EventType.PAYMENT_PAID,
    Status.FAILED: EventType.PAYMENT_FAILED,
    Status.REFUNDED: EventType.PAYMENT_REFUNDED,
}
"""What has happened to a payment that was in another state before."""


BookingResult = BookedAnswer | PaymentError


def receipt(payment_id: int) -> BookedAnswer:
    """Return what the payer's system is told of a booked payment."""
    text = orjson.dumps({"message": "Pembayaran diproses", "payment_id": payment_id}).decode()
    return BookedAnswer(status=201, location=f"/payments/{payment_id}", body=text)


def number_of(answer: BookedAnswer) -> int:
    """Return the id of the payment that an answer is the receipt of."""
    return int(answer.location.rpartition("/")[2])


def decide(
    requests: Sequence[BookingRequest],
    books: Books,
    renderers: Renderers,
    payment_ids: Iterator[int],
    refund_ids: Iterator[int],
    now_us: int,
) -> tuple[list[BookingResult], Writes]:
    """Decide a batch of requests.

    Args:
        requests: the batch, in the order in which it is to be judged.
        books: what of it exists; not changed.
        renderers: how a payment and a refund become JSON text.
        payment_ids: fresh ids; one is taken for each payment that is booked.
        refund_ids: the same for refunds.
        now_us: the time, microseconds since the epoch.

    Returns:
        A result for each request, in their order, and the rows that make the results true.
    """
    batch = _Batch(books, renderers, payment_ids, refund_ids, now_us)
    results = [batch.result(request) for request in requests]
    return results, batch.writes()


class _Batch:
    """The books as the requests of a batch change them."""

    def __init__(
        self,
        books: Books,
        renderers: Renderers,
        payment_ids: Iterator[int],
        refund_ids: Iterator[int],
        now_us: int,
    ) -> None:
        self._before = books
        self._used_keys = dict(books.used_keys)
        self._bills = dict(books.bills)
        self._payments = dict(books.payments)
        self._references = dict(books.references)
        self._refund_references = dict(books.refund_references)
        self._renderers = renderers
        self._payment_ids = payment_ids
        self._refund_ids = refund_ids
        self._now_us = now_us
        self._written = Writes()

    def result(self, request: BookingRequest) -> BookingResult:
        """Answer or refuse a request."""
        key = request.key
        try:
            if key and (used := self._used_keys.get(key.identity)):
                return replay(used, key)
            if isinstance(request, PaymentRequest):
                answer = self._pay(request)
            elif isinstance(request, Settling):
                answer = self._settle(request)
            else:
                answer = self._refund(request)
        except PaymentError as refusal:
            return refusal
        if key:
            self._used_keys[key.identity] = UsedKey(key.fingerprint, answer)
            self._written.keys.append((key, answer))
        return answer

    def writes(self) -> Writes:
        """Return the rows that make the results true."""
        before, written = self._before, self._written
        for order_id, bill in self._bills.items():
            if order_id not in before.bills:
                written.bills.append(bill)
            elif bill != before.bills[order_id]:
                written.changed_bills.append(bill)
        written.changed_payments += [
            payment for payment in self._payments.values() if payment != before.payments[payment.id]
        ]
        return written

    def _pay(self, request: PaymentRequest) -> BookedAnswer:
        total = request.amount if request.order_total is None else request.order_total
        if request.amount > total:
            raise OrderTotalTooSmall(field="order_total", amount=request.amount)
        if not request.may_expire(self._now_us):
            raise ExpiryInvalid(field="expires_at", days=WAITS_MAX_DAYS)
        self._check_reference(request.method, request.reference)
        bill = self._bills.get(request.order_id)
        if bill is None or not bill.stands:
            bill = Bill(request.order_id, total=total, paid=0, pending=0)
        if bill.is_settled:
            raise BillSettled(order_id=bill.order_id)
        if bill.total != total:
            raise BillTotalDiffers(order_id=bill.order_id, total=bill.total, given=total)
        if request.amount > bill.remaining:
            raise BillExceeded(order_id=bill.order_id, left=bill.remaining)
        bill = bill.with_share(request.amount, request.status)
        payment = Payment(
            id=next(self._payment_ids),
            order_id=request.order_id,
            user_id=request.user_id,
            amount=request.amount,
            status=request.status,
            method=request.method,
            created_us=self._now_us,
            updated_us=self._now_us,
            reference=request.reference,
            expires_us=self._expiry_of(request),
        )
        self._bills[bill.order_id] = bill
        self._written.payments.append(payment)
        self._note_reference(payment)
        what = PAID_AT_ONCE if payment.status is Status.PAID else (EventType.PAYMENT_CREATED,)
        self._written.happened.append(Happening(what, payment, request.cause))
        self._tell(payment, request.cause, is_newest=True)
        return receipt(payment.id)

    def _expiry_of(self, request: PaymentRequest) -> int | None:
        if request.expires_us is not None or request.status is not Status.PENDING:
            return request.expires_us
        return None if request.waits_us is None else self._now_us + request.waits_us

    def _settle(self, request: Settling) -> BookedAnswer:
        before = self._find(request.payment_id)
        payment = replace(before, status=request.status, reference=_reference_of(before, request.reference))
        if payment != before:
            if payment.status is not before.status:
                self._check_move(before, payment.status)
            if payment.status is not Status.FAILED:
                self._check_reference(payment.method, payment.reference, of=payment)
            payment = replace(payment, updated_us=self._now_us)
            if payment.status is before.status:
                self._keep(payment)
                self._note(EventType.PAYMENT_REFERENCED, payment, request.cause)
            else:
                bill = self._bills[payment.order_id]
                paid = bill.paid + (payment.amount if payment.status is Status.PAID else 0)
                self._bills[bill.order_id] = replace(bill, paid=paid, pending=bill.pending - payment.amount)
                payment = replace(payment, settled_us=self._now_us)
                self._change(payment, request.cause)
        return BookedAnswer(status=200, location="", body=self._renderers.payment(payment))

    def _refund(self, request: RefundRequest) -> BookedAnswer:
        payment = self._find(request.payment_id)
        self._check_refund_reference(payment.method, request.reference)
        before, expected = payment.amount_refunded, request.expected_refunded
        if expected is not None and expected != before:
            raise RefundedDiffers(payment_id=payment.id, refunded=before, expected=expected)
        self._check_move(payment, Status.REFUNDED)
        left = payment.amount - before
        amount = left if request.amount is None else request.amount
        if amount > left:
            raise RefundTooLarge(payment_id=payment.id, left=left)
        refund = Refund(
            id=next(self._refund_ids),
            payment_id=payment.id,
            amount=amount,
            reason=request.reason,
            created_us=self._now_us,
            refunded_before=before,
            method=payment.method,
            reference=request.reference,
        )
        self._written.refunds.append(refund)
        if refund.reference is not None:
            self._refund_references[refund.method, refund.reference] = refund
        self._note(EventType.REFUND_CREATED, refund, request.cause)
        bill = self._bills[payment.order_id]
        payment = replace(payment, amount_refunded=before + amount, updated_us=self._now_us)
        if amount < left:
            self._keep(payment)
            self._bills[bill.order_id] = replace(bill, refunded=bill.refunded + amount)
        else:  # all of it is given back: it no longer counts towards the bill
            bill = replace(bill, paid=bill.paid - payment.amount, refunded=bill.refunded - before)
            self._bills[bill.order_id] = bill
            self._change(replace(payment, status=Status.REFUNDED), request.cause)
        location = f"/payments/{payment.id}/refunds/{refund.id}"
        return BookedAnswer(status=201, location=location, body=self._renderers.refund(refund))

    def _find(self, payment_id: int) -> Payment:
        payment = self._payments.get(payment_id)
        if payment is None:
            raise PaymentNotFound
        return payment

    def _check_move(self, payment: Payment, wanted: Status) -> None:
        if wanted not in MOVES[payment.status]:
            raise MoveNotAllowed(status=payment.status.value, wanted=wanted.value)

    def _check_reference(self, method: Method, reference: str | None, of: Payment | None = None) -> None:
        """Let a reference pass that no payment has but this one; of those that failed it says nothing."""
        holder = None if reference is None else self._references.get((method, reference))
        if holder is not None and (of is None or holder != of.id):
            raise ReferenceTaken(reference=reference, payment_id=holder)

    def _check_refund_reference(self, method: Method, reference: str | None) -> None:
        holder = None if reference is None else self._refund_references.get((method, reference))
        if holder is not None:
            raise RefundReferenceTaken(reference=reference, payment_id=holder.payment_id, refund_id=holder.id)

    def _note_reference(self, payment: Payment) -> None:
        if payment.reference is None:
            return
        reference = payment.method, payment.reference
        if payment.status is not Status.FAILED:
            self._references[reference] = payment.id
        elif self._references.get(reference) == payment.id:
            del self._references[reference]

    def _keep(self, payment: Payment) -> None:
        self._payments[payment.id] = payment
        self._note_reference(payment)

    def _change(self, payment: Payment, cause: Cause) -> None:
        self._keep(payment)
        self._note(CHANGES[payment.status], payment, cause)
        self._tell(payment, cause, is_newest=payment.id in self._before.newest)

    def _note(self, what: EventType, resource: Payment | Refund, cause: Cause) -> None:
        self._written.happened.append(Happening((what,), resource, cause))

    def _tell(self, payment: Payment, cause: Cause, *, is_newest: bool) -> None:
        change = Change(payment.id, payment.order_id, payment.user_id, payment.status, is_newest)
        self._written.notifications.extend(news_of(change, cause))


def _reference_of(payment: Payment, given: str | None) -> str | None:
    """Return the reference that a payment has once it is settled with this one.

    Raises:
        ReferenceDiffers: it has another.
    """
    if given is not None and payment.reference not in (None, given):
        raise ReferenceDiffers(payment_id=payment.id, reference=payment.reference, given=given)
    return payment.reference if given is None else given
