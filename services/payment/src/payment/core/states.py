"""The states of payments and notifications, the types of events, and what state a bill is in. Pure."""

from enum import StrEnum


class Status(StrEnum):
    """The state of a payment. Order and User understand all but `refunded`."""

    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"
    REFUNDED = "refunded"


MOVES: dict[Status, tuple[Status, ...]] = {
    Status.PENDING: (Status.PAID, Status.FAILED),
    Status.PAID: (Status.REFUNDED,),
    Status.FAILED: (Status.PAID,),  # its money came after all, and its bill has room for it
    Status.REFUNDED: (),
}
"""What may become of a payment in each state."""


class Resolution(StrEnum):
    """What became of money that came late."""

    RETURNED = "returned"  # to the guest
    BOOKED = "booked"  # as this payment after all, or as another
    KEPT = "kept"  # by the house


class Method(StrEnum):
    """How the guest paid."""

    CASH = "cash"
    CARD = "card"
    QRIS = "qris"
    TRANSFER = "transfer"
    EWALLET = "ewallet"


class State(StrEnum):
    """What became of a notification."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"


class EventType(StrEnum):
    """What the log of events tells of."""

    PAYMENT_CREATED = "payment.created"
    PAYMENT_PAID = "payment.paid"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_REFERENCED = "payment.referenced"
    PAYMENT_LATE = "payment.late"
    LATE_RESOLVED = "late.resolved"
    REFUND_CREATED = "refund.created"
    NOTIFICATION_DEAD = "notification.dead"
    NOTIFICATION_RETRIED = "notification.retried"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"


PAID_AT_ONCE = (EventType.PAYMENT_CREATED, EventType.PAYMENT_PAID)
"""What happens to a payment that is paid when it is made."""

HAPPEN_TOGETHER: tuple[tuple[EventType, ...], ...] = (*((each,) for each in EventType), PAID_AT_ONCE)
"""What one row of the log may tell of: one event, or both of a payment that is paid at once."""


class Outcome(StrEnum):
    """How an attempt to tell a neighbour ended."""

    DELIVERED = "delivered"
    OUTAGE = "outage"  # down, too slow, or asked for patience: says something of the whole service
    NO_ROUTE = "no-route"  # it does not have our path: a wrong setting, treated as an outage
    DENIED = "denied"  # it does not take our token: a wrong setting too
    UNKNOWN = "unknown"  # it does not know this order or user (yet)
    REJECTED = "rejected"  # it will never take this


FAILED = tuple(outcome for outcome in Outcome if outcome is not Outcome.DELIVERED)
"""Why an attempt failed: what the API calls a `cause`."""

OUTAGES = (Outcome.OUTAGE, Outcome.NO_ROUTE, Outcome.DENIED)


class ReconciliationState(StrEnum):
    """What became of a reconciliation that somebody asked for."""

    OPEN = "open"  # it waits for a worker, or one is at it
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What came of comparing one order or guest with what its neighbour says."""

    AGREES = "agrees"
    WAITING = "waiting"  # the news is on its way: no difference
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # the neighbour has no such order or user
    UNANSWERED = "unanswered"  # it could not be asked


DISAGREEMENTS = (Verdict.DIFFERS, Verdict.UNKNOWN, Verdict.UNANSWERED)

FINDINGS_MAX = 10_000
"""So many orders and guests that disagree are listed of a reconciliation; all are counted."""


def bill_status(total: int, paid: int, pending: int) -> Status:
    """Say what the Order service should hear of a bill.

    Args:
        total: what the order costs, whole rupiah.
        paid: what has been paid towards it, whole rupiah.
        pending: what payments that still wait hold of it, whole rupiah.

    Returns:
        `paid` once the bill is settled, `pending` while part of it is paid or waits, else `failed`.
    """
    if paid >= total:
        return Status.PAID
    if paid > 0 or pending > 0:
        return Status.PENDING
    return Status.FAILED


def user_status(newest_payment: str) -> Status:
    """Say what User should hear, given the status of that guest's newest payment; it knows no `refunded`."""
    status = Status(newest_payment)
    return Status.FAILED if status is Status.REFUNDED else status
