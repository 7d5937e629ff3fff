"""The rules once more, said as simply as can be: what a restaurant's payments are, and what must be refused.

The model knows payments only: what a bill has is added up from them, so that it cannot be wrong in the way in
which the service may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from payment.core.states import Method, Resolution, Status
from payment.ledger.requests import BookingRequest, LateResolution, PaymentRequest, RefundRequest, Settling

MAY_BECOME = {
    Status.PENDING: (Status.PAID, Status.FAILED),
    Status.PAID: (),
    Status.FAILED: (Status.PAID,),
    Status.REFUNDED: (),
}
"""By PATCH."""


@dataclass
class Late:
    """Late money, and what was said of it."""

    came_us: int
    said: tuple[Resolution, str | None] | None = None


@dataclass
class Paid:
    """What the model knows of a payment."""

    order_id: int
    user_id: int
    amount: int
    status: Status
    method: Method
    created_us: int
    waited: bool
    reference: str | None = None
    expires_us: int | None = None
    refunds: list[int] = field(default_factory=list)
    late: Late | None = None

    @property
    def refunded(self) -> int:
        """Return what was given back, whole rupiah."""
        return sum(self.refunds)

    @property
    def is_late(self) -> bool:
        """Say whether late money waits for somebody to say what became of it."""
        return self.late is not None and self.late.said is None


class Model:
    """All payments, and by which error a request must be refused."""

    def __init__(self) -> None:
        self.payments: dict[int, Paid] = {}
        self.totals: dict[int, int] = {}
        self.refund_references: set[tuple[Method, str]] = set()

    def bill(self, order_id: int) -> tuple[int, int, int]:
        """Return what is paid, pending and partly given back of an order, whole rupiah."""
        of_order = [each for each in self.payments.values() if each.order_id == order_id]
        paid = [each for each in of_order if each.status is Status.PAID]
        pending = [each for each in of_order if each.status is Status.PENDING]
        return (
            sum(each.amount for each in paid),
            sum(each.amount for each in pending),
            sum(each.refunded for each in paid),
        )

    def newest(self, user_id: int) -> int:
        """Return the id of a guest's newest payment, 0 if there is none."""
        return max((number for number, each in self.payments.items() if each.user_id == user_id), default=0)

    def _is_taken(self, method: Method, reference: str | None, but: int = 0) -> bool:
        return reference is not None and any(
            each.method is method and each.reference == reference and each.status is not Status.FAILED
            for number, each in self.payments.items()
            if number != but
        )

    def refusal(self, request: BookingRequest) -> str | None:
        """Say by which error a request must be refused."""
        if isinstance(request, PaymentRequest):
            return self._refusal_to_pay(request)
        payment = self.payments.get(request.payment_id)
        if payment is None:
            return "PaymentNotFound"
        if isinstance(request, Settling):
            return self._refusal_to_settle(request, payment)
        if isinstance(request, LateResolution):
            return _refusal_to_resolve(request, payment)
        return self._refusal_to_give_back(request, payment)

    def _refusal_to_give_back(self, request: RefundRequest, payment: Paid) -> str | None:
        if (payment.method, request.reference) in self.refund_references:
            return "RefundReferenceTaken"
        if request.expected_refunded not in {None, payment.refunded}:
            return "RefundedDiffers"
        if payment.status is not Status.PAID:
            return "MoveNotAllowed"
        fits = request.amount is None or request.amount <= payment.amount - payment.refunded
        return None if fits else "RefundTooLarge"

    def _refusal_to_pay(self, request: PaymentRequest) -> str | None:
        stated = request.order_total or request.amount
        paid, pending, _ = self.bill(request.order_id)
        if request.amount > stated:
            return "OrderTotalTooSmall"
        if self._is_taken(request.method, request.reference):
            return "ReferenceTaken"
        if not paid and not pending:
            return None
        total = self.totals[request.order_id]
        if paid == total:
            return "BillSettled"
        if stated != total:
            return "BillTotalDiffers"
        return "BillExceeded" if paid + pending + request.amount > total else None

    def _refusal_to_settle(self, request: Settling, payment: Paid) -> str | None:
        if request.reference and payment.reference not in {None, request.reference}:
            return "ReferenceDiffers"
        reference = request.reference or payment.reference
        if (request.status, reference) == (payment.status, payment.reference):
            return None
        if request.status is not payment.status and request.status not in MAY_BECOME[payment.status]:
            return "MoveNotAllowed"
        if request.status is not Status.FAILED and self._is_taken(
            payment.method, reference, but=request.payment_id
        ):
            return "ReferenceTaken"
        if payment.status is Status.FAILED and request.status is Status.PAID:
            paid, pending, _ = self.bill(payment.order_id)
            has_room = paid + pending + payment.amount <= self.totals[payment.order_id]
            if not has_room or (payment.late and payment.late.said):
                return "LatePayment"
        return None

    def note_late(self, request: Settling, now_us: int) -> None:
        """Keep the money that a refusal was about."""
        payment = self.payments[request.payment_id]
        payment.reference = request.reference or payment.reference
        payment.late = payment.late or Late(now_us)

    def apply(self, request: BookingRequest, body: Mapping[str, Any], now_us: int) -> None:
        """Do what a request that was answered with success does."""
        if isinstance(request, PaymentRequest):
            self._pay(request, body["payment_id"], now_us)
            return
        payment = self.payments[request.payment_id]
        if isinstance(request, Settling):
            if request.status is Status.PAID and payment.late and payment.late.said is None:
                payment.late.said = (Resolution.BOOKED, None)
            payment.status = request.status
            payment.reference = request.reference or payment.reference
        elif isinstance(request, LateResolution):
            assert payment.late is not None
            payment.late.said = (request.resolution, request.reference)
        else:
            self._give_back(request, payment)

    def _pay(self, request: PaymentRequest, payment_id: int, now_us: int) -> None:
        if not any(self.bill(request.order_id)[:2]):
            self.totals[request.order_id] = request.order_total or request.amount
        assert payment_id not in self.payments
        self.payments[payment_id] = Paid(
            order_id=request.order_id,
            user_id=request.user_id,
            amount=request.amount,
            status=request.status,
            method=request.method,
            created_us=now_us,
            waited=request.status is Status.PENDING,
            reference=request.reference,
            expires_us=request.expires_us,
        )

    def _give_back(self, request: RefundRequest, payment: Paid) -> None:
        payment.refunds.append(request.amount or payment.amount - payment.refunded)
        if request.reference:
            self.refund_references.add((payment.method, request.reference))
        if payment.refunded == payment.amount:
            payment.status = Status.REFUNDED


def _refusal_to_resolve(request: LateResolution, payment: Paid) -> str | None:
    if payment.late is None:
        return "LateMoneyNotFound"
    return (
        None if payment.late.said in {None, (request.resolution, request.reference)} else "LateMoneyResolved"
    )
