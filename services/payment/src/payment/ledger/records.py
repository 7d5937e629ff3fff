"""What is stored of a bill, a payment and a refund: one dataclass each, one field for each column. Pure."""

from payment.core.record import record
from payment.core.states import Method, Resolution, Status


@record(frozen=True, slots=True)
class Bill:
    """What an order costs and what was paid towards it, whole rupiah.

    Attributes:
        paid: the amounts of the payments that are paid.
        pending: the amounts of those that still wait.
        refunded: what was given back of those that are paid (docs/decisions/0008).
    """

    order_id: int
    total: int
    paid: int
    pending: int
    refunded: int = 0

    def with_share(self, amount: int, status: Status) -> "Bill":
        """Return the bill with a payment more, which is paid or pending."""
        if status is Status.PENDING:
            return Bill(self.order_id, self.total, self.paid, self.pending + amount, self.refunded)
        return Bill(self.order_id, self.total, self.paid + amount, self.pending, self.refunded)

    @property
    def is_settled(self) -> bool:
        """Say whether nothing is left to pay."""
        return self.paid >= self.total

    @property
    def stands(self) -> bool:
        """Say whether anything is paid or pending; if not, the next payment may state another total."""
        return self.paid > 0 or self.pending > 0

    @property
    def remaining(self) -> int:
        """Return what may still be paid."""
        return self.total - self.paid - self.pending

    @property
    def net_paid(self) -> int:
        """Return what was paid and not given back."""
        return self.paid - self.refunded


@record(frozen=True, slots=True)
class Payment:
    """One payment as it is stored; times in microseconds since the epoch.

    Attributes:
        settled_us: when one that waited was settled.
        expires_us: until when one that waits may be settled; None in one that did not wait.
        reference: what its provider calls it. Once it has one, that never changes.
        late: True while late money of it waits for somebody to say what became of it (`LateMoney`).
    """

    id: int
    order_id: int
    user_id: int
    amount: int
    status: Status
    method: Method
    created_us: int
    updated_us: int
    amount_refunded: int = 0
    settled_us: int | None = None
    reference: str | None = None
    expires_us: int | None = None
    late: bool = False


@record(frozen=True, slots=True)
class Refund:
    """Money given back of a payment, of which `refunded_before` had been given back already.

    Attributes:
        method: its payment's.
        reference: what its provider calls it.
    """

    id: int
    payment_id: int
    amount: int
    reason: str | None
    created_us: int
    refunded_before: int
    method: Method
    reference: str | None = None


@record(frozen=True, slots=True)
class LateMoney:
    """Money of a payment that came after it had failed, when its bill had no room for it any more.

    Attributes:
        amount: the payment's.
        resolution: what became of it; None while nobody has said so.
        reference: what the provider calls it that gave it back, or what else tells where it is.
    """

    payment_id: int
    amount: int
    came_us: int
    resolution: Resolution | None = None
    reference: str | None = None
    resolved_us: int | None = None
