"""Events: what happened, by whom and in which request. Written in the transaction of the change itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from payment.core.cause import Cause
from payment.core.record import record
from payment.core.states import EventType
from payment.ledger.records import LateMoney, Payment, Refund
from payment.storage.event_order import begin_events
from payment.storage.statements import Row, insert_rows
from payment.storage.tables import events


@record(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        types: what; two only for a payment that is paid when it is made (`HAPPEN_TOGETHER`).
        payment_id: the payment whose story it belongs to, None if it is no payment's.
        data: the resource after the change: a payment, a refund, late money, a notification's or a key's row.
    """

    types: tuple[EventType, ...]
    payment_id: int | None
    data: Row | Payment | Refund | LateMoney
    cause: Cause


def event_rows(happened: Iterable[Event], now_us: int) -> list[dict[str, Any]]:
    """Return events as rows to be inserted."""
    return [
        {
            "types": " ".join(event.types),
            "payment_id": event.payment_id,
            "actor": event.cause.actor,
            "request_id": event.cause.request_id,
            "traceparent": event.cause.traceparent,
            "created_us": now_us,
            "data": event.data,
        }
        for event in happened
    ]


def append(connection: Connection, happened: Sequence[Event], now_us: int) -> None:
    """Write events, in the transaction of what they tell of.

    Args:
        connection: a transaction that may write, and has locked the rows that changed.
        happened: the events, in their order.
        now_us: the time, microseconds since the epoch.
    """
    if happened:
        begin_events(connection)
        rows = event_rows(happened, now_us)
        for row in rows:
            if isinstance(row["data"], Mapping):  # SQLAlchemy's names are no plain text, which JSON wants
                row["data"] = {str(name): value for name, value in row["data"].items()}
        insert_rows(connection, events, rows)
