"""What callers ask, validated: book a payment, settle it, give it back; what became of late money. Pure."""

from payment.core.cause import Cause
from payment.core.record import record
from payment.core.states import Method, Resolution, Status
from payment.core.units import DAY_US
from payment.ledger.idempotency import Key

NOBODY = Cause()

WAITS_MAX_DAYS = 30
"""How far ahead a payment may be to expire."""


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
class LateResolution:
    """A validated POST /payments/{payment_id}/late: what became of money that came late.

    Attributes:
        reference: what the provider calls it that gave it back, or where else it is; None for nothing.
    """

    payment_id: int
    resolution: Resolution
    reference: str | None = None
    key: Key | None = None
    cause: Cause = NOBODY


BookingRequest = PaymentRequest | Settling | RefundRequest | LateResolution
