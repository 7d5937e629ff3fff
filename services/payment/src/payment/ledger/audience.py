"""Who hears of a change, and what. Pure.

A notification says "tell Order about order 7", not what to say: what is sent is computed from committed
state when it is sent, so the newest state wins by construction (docs/decisions/0004).
"""

from dataclasses import dataclass

from payment.core.neighbours import Service


@dataclass(frozen=True, slots=True)
class Notification:
    """Tell this service about its order or user `target_id`, because of this payment."""

    service: Service
    target_id: int
    payment_id: int
    traceparent: str | None


def news_of_payment(
    payment_id: int, order_id: int, user_id: int, traceparent: str | None, *, is_newest: bool
) -> list[Notification]:
    """Return who hears of a new or changed payment: its order, and its guest if it is their newest."""
    news = [Notification(Service.ORDER, order_id, payment_id, traceparent)]
    if is_newest:
        news.append(Notification(Service.USER, user_id, payment_id, traceparent))
    return news
