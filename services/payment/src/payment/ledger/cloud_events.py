"""Events as the feed shows them: CloudEvents 1.0, whose data is the resource as it was after the change."""

import json
from typing import Any

from payment.core.units import rfc_3339
from payment.ledger.answers import (
    Answer,
    KeyAnswer,
    LateMoneyAnswer,
    NotificationAnswer,
    PaymentAnswer,
    RefundAnswer,
)
from payment.ledger.event_log import LoggedEvent

SOURCE = "urn:payment:service"

_SHOWN: dict[str, tuple[str, Answer]] = {
    "payment": ("payments/{id}", PaymentAnswer()),
    "refund": ("payments/{payment_id}/refunds/{id}", RefundAnswer()),
    "late": ("payments/{payment_id}/late", LateMoneyAnswer()),
    "notification": ("notifications/{id}", NotificationAnswer()),
    "key": ("keys/{id}", KeyAnswer()),
}
"""By the first part of an event's type: its subject, and how its data is shown."""


def cloud_event(event: LoggedEvent) -> dict[str, Any]:
    """Return an event as a CloudEvent in JSON (CloudEvents 1.0, JSON format, 3)."""
    row, data = event.row, event.row["data"]
    subject, answer = _SHOWN[event.type.partition(".")[0]]
    extensions = {"requestid": row["request_id"], "traceparent": row["traceparent"]}
    return {
        "specversion": "1.0",
        "id": str(event.place),
        "source": SOURCE,
        "type": event.type.value,
        "subject": subject.format_map(data),
        "time": rfc_3339(row["created_us"]),
        "datacontenttype": "application/json",
        "actor": row["actor"],
        **{name: value for name, value in extensions.items() if value is not None},
        "data": answer.dump(data),
    }


def server_sent(event: LoggedEvent) -> str:
    """Return an event as one of `text/event-stream` (WHATWG HTML, 9.2); its id is a cursor."""
    text = json.dumps(cloud_event(event), ensure_ascii=False, separators=(",", ":"))
    return f"id: {event.place}\nevent: {event.type}\ndata: {text}\n\n"
