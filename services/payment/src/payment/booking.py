"""The rules of booking, as one pure function: what the batch read, the requests, now -> outcomes and rows.

Requests that wait together are decided together, in the order in which they came, each seeing what those
before it changed. Nothing here touches a database: `payments` reads and writes, Hypothesis tests this.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from payment.errors import BillSettled, PaymentError
from payment.idempotency import Answer, KeptAnswer, Key, judge
from payment.lifecycle import Method, Status
from payment.notifications import Notification, news_of_payment


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A validated POST /payments. `amount` is whole rupiah."""

    order_id: int
    user_id: int
    amount: int
    method: Method
    key: Key | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """What an order costs and what has been paid towards it, whole rupiah."""

    order_id: int
    total: int
    paid: int
    pending: int

    @property
    def is_settled(self) -> bool:
        """Say whether nothing is left to pay."""
        return self.paid >= self.total


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as it is stored; times in microseconds since the epoch."""

    id: int
    order_id: int
    user_id: int
    amount: int
    status: Status
    method: Method
    created_us: int
    updated_us: int


@dataclass(slots=True)
class Writes:
    """The rows that a batch adds, in the order of its requests."""

    bills: list[Bill] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    keys: list[tuple[Key, Answer]] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)


Outcome = Answer | PaymentError


def receipt(payment_id: int) -> Answer:
    """Return what the payer's system is told of a booked payment."""
    body = {"message": "Pembayaran diproses", "payment_id": payment_id}
    text = json.dumps(body, separators=(",", ":"))
    return Answer(status=201, location=f"/payments/{payment_id}", body=text)


def decide(
    requests: Sequence[PaymentRequest],
    kept: Mapping[tuple[str, str, str], KeptAnswer],
    bills: Mapping[int, Bill],
    payment_ids: Iterator[int],
    now_us: int,
) -> tuple[list[Outcome], Writes]:
    """Decide a batch of payment requests.

    Args:
        requests: the batch, in the order in which it is to be judged.
        kept: the keys among the batch's that were used before.
        bills: the bills among the batch's orders that exist.
        payment_ids: fresh ids; one is taken for each payment that is booked.
        now_us: the time, microseconds since the epoch.

    Returns:
        An outcome for each request, in their order, and the rows that make the outcomes true.
    """
    kept, bills = dict(kept), dict(bills)
    writes = Writes()

    def book(request: PaymentRequest) -> Answer:
        if request.key and (earlier := kept.get(request.key.identity)):
            return judge(earlier, request.key)
        if request.order_id in bills:  # a plain payment settles its order, so a bill is a settled one
            raise BillSettled(order_id=request.order_id)
        bill = Bill(request.order_id, total=request.amount, paid=request.amount, pending=0)
        payment_id = next(payment_ids)
        answer = receipt(payment_id)
        bills[bill.order_id] = bill
        writes.bills.append(bill)
        writes.payments.append(
            Payment(
                id=payment_id,
                order_id=request.order_id,
                user_id=request.user_id,
                amount=request.amount,
                status=Status.PAID,
                method=request.method,
                created_us=now_us,
                updated_us=now_us,
            )
        )
        writes.notifications.extend(
            news_of_payment(payment_id, request.order_id, request.user_id, request.traceparent)
        )
        if request.key:
            kept[request.key.identity] = KeptAnswer(request.key.fingerprint, answer)
            writes.keys.append((request.key, answer))
        return answer

    def outcome(request: PaymentRequest) -> Outcome:
        try:
            return book(request)
        except PaymentError as refusal:
            return refusal

    return [outcome(request) for request in requests], writes
