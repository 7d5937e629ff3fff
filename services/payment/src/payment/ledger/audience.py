"""Who hears of a change: one function for each neighbour. Pure.

A notification says "tell Order about order 7", not what to say. What is sent is computed when it is sent
(`standing`), from committed state, so the newest state wins by construction (docs/decisions/0004).
"""

from collections.abc import Callable

from payment.core.cause import Cause
from payment.core.neighbours import NEIGHBOURS, ORDER, USER, Neighbour
from payment.core.record import record
from payment.core.states import Status


@record(frozen=True, slots=True)
class Notification:
    """Tell this neighbour about its target (its order, its user), because of this payment."""

    neighbour: Neighbour
    target_id: int
    payment_id: int
    cause: Cause


@record(frozen=True, slots=True)
class Change:
    """A payment that is new, or whose status or refunds changed.

    Attributes:
        status: what it is now.
        is_newest: True if it is its guest's newest payment.
    """

    payment_id: int
    order_id: int
    user_id: int
    status: Status
    is_newest: bool


def order_hears(change: Change) -> int | None:
    """Order hears of every change, about the payment's order."""
    return change.order_id


def user_hears(change: Change) -> int | None:
    """User hears of a guest's newest payment, about the guest."""
    return change.user_id if change.is_newest else None


HEARS: dict[str, Callable[[Change], int | None]] = {ORDER.name: order_hears, USER.name: user_hears}
"""By the neighbour's name: a function that returns the target that a change is about, None if the neighbour
does not hear of it."""


def news_of(change: Change, cause: Cause) -> list[Notification]:
    """Return what the neighbours are to be told because of a change."""
    return [
        Notification(NEIGHBOURS[name], target_id, change.payment_id, cause)
        for name, hears in HEARS.items()
        if (target_id := hears(change)) is not None
    ]
