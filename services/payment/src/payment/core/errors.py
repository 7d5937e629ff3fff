"""What can go wrong with a payment: domain errors that carry their facts. `web.http_errors` has a request's.

Each error names its problem `code` (stable: the RFC 9457 `type` is made of it), its HTTP `status` and the
English message whose translation is in `web/locale/`. `web.messages` chooses the words, `web.problems` writes
the answer.
"""

from typing import Any, ClassVar


class PaymentError(Exception):
    """A refusal or failure that the caller is told about.

    Attributes:
        status: HTTP status code of the answer.
        code: stable name of the problem, part of its RFC 9457 `type`.
        message: English text with `{placeholders}` for the facts; also the key of its translation.
        field: the request field or parameter at fault, if one is.
        members: the facts that a problem (RFC 9457) has as members of its own, for machines.
        headers: further response headers.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad-request"
    message: ClassVar[str] = "The request is not valid"
    members: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, field: str | None = None, **facts: Any) -> None:
        super().__init__(self.message)
        self.field = field
        self.facts = facts
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return self.message.format(field=self.field, **self.facts)


class OrderTotalTooSmall(PaymentError):
    """A bill's total is less than the one payment towards it."""

    code = "order-total-too-small"
    message = "{field} must be at least amount, {amount}"


class ExpiryInvalid(PaymentError):
    """A payment is to expire in the past or too far ahead, or is paid at once and cannot expire."""

    code = "expires-at-invalid"
    message = "{field} must be a time to come, at most {days} days ahead, and the payment pending"


class KeyInvalid(PaymentError):
    """The Idempotency-Key header is not 1 to 255 visible ASCII characters."""

    code = "idempotency-key-invalid"
    message = "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"


class KeyMissing(PaymentError):
    """The request has no Idempotency-Key, and the service is set to ask for one."""

    code = "idempotency-key-missing"
    message = "This request needs an Idempotency-Key, so that it is done once however often it is sent"


class CursorInvalid(PaymentError):
    """A cursor that was not given for this list, or not by us."""

    code = "cursor-invalid"
    message = "{field} is not one that this list gave"


class CursorGone(PaymentError):
    """The event that a cursor names is not in this log: deleted as old, or another database's."""

    status = 410
    code = "cursor-gone"
    message = "The event that {field} names is not here, or no longer; begin again, or after the newest"


class DayPruned(PaymentError):
    """A day's report would lack payments that were deleted as old."""

    status = 410
    code = "day-pruned"
    message = "Payments from before {since} were deleted as old; {date} has no report any more"


class PaymentNotFound(PaymentError):
    """No payment has this id."""

    status = 404
    code = "payment-not-found"
    message = "Payment not found"


class BillNotFound(PaymentError):
    """Nothing was ever to be paid for this order."""

    status = 404
    code = "bill-not-found"
    message = "Order {order_id} has no bill"


class RefundNotFound(PaymentError):
    """The payment has no refund with this id."""

    status = 404
    code = "refund-not-found"
    message = "Refund not found"


class LateMoneyNotFound(PaymentError):
    """No money of this payment came late."""

    status = 404
    code = "late-money-not-found"
    message = "No money of payment {payment_id} came late"


class NotificationNotFound(PaymentError):
    """No notification has this id."""

    status = 404
    code = "notification-not-found"
    message = "Notification not found"


class ApiKeyNotFound(PaymentError):
    """No API key has this id."""

    status = 404
    code = "api-key-not-found"
    message = "API key not found"


class ReconciliationNotFound(PaymentError):
    """No reconciliation has this id, or it was so long ago that it was forgotten."""

    status = 404
    code = "reconciliation-not-found"
    message = "Reconciliation not found"


class ReconciliationRunning(PaymentError):
    """Another reconciliation waits or is under way; one at a time asks the neighbours."""

    status = 409
    code = "reconciliation-running"
    message = "Reconciliation {reconciliation_id} is under way"
    members = ("reconciliation_id",)


class BillSettled(PaymentError):
    """The order is paid in full already."""

    status = 409
    code = "bill-settled"
    message = "Order {order_id} is already paid"


class BillTotalDiffers(PaymentError):
    """The payment states another total than those that the bill already has."""

    status = 409
    code = "bill-total-differs"
    message = "The bill of order {order_id} is {total}, not {given}"


class BillExceeded(PaymentError):
    """Paid and pending together would pass the bill's total."""

    status = 409
    code = "bill-exceeded"
    message = "Only {left} is left to pay of order {order_id}"


class ReferenceTaken(PaymentError):
    """Another payment of this method, one that did not fail, has the provider's reference."""

    status = 409
    code = "reference-taken"
    message = "Reference {reference} is that of payment {payment_id} already"
    members = ("payment_id",)


class RefundReferenceTaken(PaymentError):
    """Another refund of this method has the provider's reference."""

    status = 409
    code = "refund-reference-taken"
    message = "Reference {reference} is that of refund {refund_id} of payment {payment_id} already"
    members = ("payment_id", "refund_id")


class ReferenceDiffers(PaymentError):
    """The payment has another reference already; once it has one, that never changes."""

    status = 409
    code = "reference-differs"
    message = "Payment {payment_id} has reference {reference}, not {given}"
    members = ("payment_id",)


class MoveNotAllowed(PaymentError):
    """A payment cannot go from its state to that one (`states.MOVES`)."""

    status = 409
    code = "move-not-allowed"
    message = "A payment that is {status} cannot become {wanted}"


class LatePayment(PaymentError):
    """The money of a payment came after it had failed, when its bill had no room for it: it is late."""

    status = 409
    code = "late-payment"
    message = (
        "The money of payment {payment_id} came too late for order {order_id}; "
        "it is noted at /payments/{payment_id}/late"
    )
    members = ("payment_id",)


class LateMoneyResolved(PaymentError):
    """What became of late money was said already, and it was something else."""

    status = 409
    code = "late-money-resolved"
    message = "The late money of payment {payment_id} is {resolution} already"


class NotificationSettled(PaymentError):
    """A notification that was delivered, or superseded by a newer one, cannot be sent again."""

    status = 409
    code = "notification-settled"
    message = "Notification {id} is {state}; only one that is waiting or dead can be sent again"


class ApiKeyEnded(PaymentError):
    """An API key that is good no more cannot be rotated or revoked."""

    status = 409
    code = "api-key-ended"
    message = "API key {id} is {state} already"


class ApiKeyMade(PaymentError):
    """The same request has made an API key before; nobody can show its text again."""

    status = 409
    code = "api-key-made"
    message = "API key {key_id} was made by this request already; its text is shown once"

    def __init__(self, *, key_id: str) -> None:
        super().__init__(key_id=key_id)
        self.headers = {"Location": f"/keys/{key_id}"}


class RefundTooLarge(PaymentError):
    """More would be given back than was paid."""

    status = 409
    code = "refund-too-large"
    message = "Only {left} is left to refund of payment {payment_id}"


class RefundedDiffers(PaymentError):
    """Another sum was given back so far than the caller believes: it may be asking a second time."""

    status = 409
    code = "refunded-differs"
    message = "{refunded} was refunded of payment {payment_id} so far, not {expected}"


class KeyReused(PaymentError):
    """The Idempotency-Key was used for another request body before."""

    status = 422
    code = "idempotency-key-reused"
    message = "This Idempotency-Key was used with another request"


class CannotBeStored(PaymentError):
    """The database takes no row with what the request holds; to ask again is no use."""

    status = 422
    code = "cannot-be-stored"
    message = "The database cannot store what this request holds"


class Unexpected(PaymentError):
    """A defect of ours. The log has what the caller is not shown."""

    status = 500
    code = "internal-error"
    message = "An internal error occurred"


class Unavailable(PaymentError):
    """The service cannot book right now; with an Idempotency-Key it is safe to ask again."""

    status = 503
    code = "unavailable"
    message = "The payment service is busy or its database does not answer; please try again"

    def __init__(self, *, retry_after_s: int = 1, closes: bool = False) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(retry_after_s)} | ({"Connection": "close"} if closes else {})
