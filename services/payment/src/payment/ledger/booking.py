"""The rules of booking, as one pure function: what the batch read, the requests, now -> results and rows.

Requests that wait together are decided together, in the order in which they came. Each sees what those
before it changed. Nothing here touches a database: `batch` reads and writes, Hypothesis tests this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from payment.core.cause import Cause
from payment.core.errors import (
    BillExceeded,
    BillSettled,
    BillTotalDiffers,
    ExpiryInvalid,
    LateMoneyNotFound,
    LateMoneyResolved,
    LatePayment,
    MoveNotAllowed,
    OrderTotalTooSmall,
    PaymentError,
    PaymentNotFound,
    RefundedDiffers,
    RefundTooLarge,
)
from payment.core.states import MOVES, PAID_AT_ONCE, EventType, Resolution, Status
from payment.ledger.audience import Change, news_of
from payment.ledger.books import Books, Happening, Renderers, Writes
from payment.ledger.idempotency import BookedAnswer, UsedKey, replay
from payment.ledger.records import Bill, LateMoney, Payment, Refund
from payment.ledger.references import References, reference_of
from payment.ledger.requests import (
    WAITS_MAX_DAYS,
    BookingRequest,
    LateResolution,
    PaymentRequest,
    RefundRequest,
    Settling,
)

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
        self._references = References(books)
        self._late = dict(books.late)
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
            elif isinstance(request, RefundRequest):
                answer = self._refund(request)
            else:
                answer = self._resolve(request)
        except PaymentError as refusal:
            return refusal.with_traceback(None)  # else it holds all that the batch has read
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
        written.late += [late for late in self._late.values() if late.payment_id not in before.late]
        written.changed_late += [
            late for late in self._late.values() if late != before.late.get(late.payment_id, late)
        ]
        return written

    def _pay(self, request: PaymentRequest) -> BookedAnswer:
        total = request.amount if request.order_total is None else request.order_total
        if request.amount > total:
            raise OrderTotalTooSmall(field="order_total", amount=request.amount)
        if not request.may_expire(self._now_us):
            raise ExpiryInvalid(field="expires_at", days=WAITS_MAX_DAYS)
        self._references.check(request.method, request.reference)
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
        self._references.note(payment)
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
        payment = replace(before, status=request.status, reference=reference_of(before, request.reference))
        if payment != before:
            if payment.status is not before.status:
                self._check_move(before, payment.status)
            if payment.status is not Status.FAILED:
                self._references.check(payment.method, payment.reference, of=payment)
            payment = replace(payment, updated_us=self._now_us)
            if payment.status is before.status:
                self._keep(payment)
                self._note(EventType.PAYMENT_REFERENCED, payment, request.cause)
            else:
                if before.status is Status.FAILED:
                    self._check_room(before, payment, request.cause)
                self._move_share(before, payment.status)
                payment = replace(payment, settled_us=self._now_us, late=False)
                self._change(payment, request.cause)
        return BookedAnswer(status=200, location="", body=self._renderers.payment(payment))

    def _move_share(self, payment: Payment, status: Status) -> None:
        """Let a payment count towards its bill as one that is paid, or failed."""
        bill = self._bills[payment.order_id]
        pending = payment.amount if payment.status is Status.PENDING else 0
        paid = payment.amount if status is Status.PAID else 0
        self._bills[bill.order_id] = replace(bill, paid=bill.paid + paid, pending=bill.pending - pending)

    def _check_room(self, failed: Payment, paid: Payment, cause: Cause) -> None:
        """Let the money of a payment that failed pass if its bill has room for it; else keep it as late.

        What somebody has said of late money stays: it is not there any more.

        Raises:
            LatePayment: it has no room, or had none and somebody has said what became of the money.
        """
        late = self._late.get(failed.id)
        is_resolved = late is not None and late.resolution is not None
        if not is_resolved and paid.amount <= self._bills[paid.order_id].remaining:
            if late is not None:
                self._say(replace(late, resolution=Resolution.BOOKED), cause)
            return
        kept = replace(failed, reference=paid.reference, late=not is_resolved)
        if kept != failed:
            kept = replace(kept, updated_us=self._now_us)
            self._keep(kept)
            self._note(EventType.PAYMENT_REFERENCED if late else EventType.PAYMENT_LATE, kept, cause)
        if late is None:
            self._late[failed.id] = LateMoney(failed.id, failed.amount, came_us=self._now_us)
        raise LatePayment(payment_id=failed.id, order_id=failed.order_id)

    def _resolve(self, request: LateResolution) -> BookedAnswer:
        payment = self._find(request.payment_id)
        late = self._late.get(payment.id)
        if late is None:
            raise LateMoneyNotFound(payment_id=payment.id)
        said = replace(late, resolution=request.resolution, reference=request.reference)
        if late.resolution is None:
            self._keep(replace(payment, late=False, updated_us=self._now_us))
            late = self._say(said, request.cause)
        elif late != said:
            raise LateMoneyResolved(payment_id=payment.id, resolution=late.resolution.value)
        return BookedAnswer(status=200, location="", body=self._renderers.late(late))

    def _say(self, late: LateMoney, cause: Cause) -> LateMoney:
        """Note what became of late money."""
        late = self._late[late.payment_id] = replace(late, resolved_us=self._now_us)
        self._note(EventType.LATE_RESOLVED, late, cause)
        return late

    def _refund(self, request: RefundRequest) -> BookedAnswer:
        payment = self._find(request.payment_id)
        self._references.check_refund(payment.method, request.reference)
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
        self._references.note_refund(refund)
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

    def _keep(self, payment: Payment) -> None:
        self._payments[payment.id] = payment
        self._references.note(payment)

    def _change(self, payment: Payment, cause: Cause) -> None:
        self._keep(payment)
        self._note(CHANGES[payment.status], payment, cause)
        self._tell(payment, cause, is_newest=payment.id in self._before.newest)

    def _note(self, what: EventType, resource: Payment | Refund | LateMoney, cause: Cause) -> None:
        self._written.happened.append(Happening((what,), resource, cause))

    def _tell(self, payment: Payment, cause: Cause, *, is_newest: bool) -> None:
        change = Change(payment.id, payment.order_id, payment.user_id, payment.status, is_newest)
        self._written.notifications.extend(news_of(change, cause))
