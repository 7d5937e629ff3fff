"""Who follows the feed, written by docs/events.md: what he reads of our answers, and nothing else.

Each reader takes an answer and raises one of `json_reading.UNSERVED` if it cannot do its work with it. What
an event's data is, is known by its type alone, and a type that a reader does not know is skipped: so only
where one type was asked for is its data read.
"""

import json
import re
from typing import Any

import httpx

from json_reading import Reader, an_object, body_of, some, text, whole

BATCH = "application/cloudevents-batch+json"
VERSION = "1.0"
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
NEXT = r'^<[^>]*[?&]after=[^&>]+[^>]*>; rel="next"$'
STATUSES = {
    "payment.created": ("paid", "pending"),
    "payment.paid": ("paid",),
    "payment.failed": ("failed",),
    "payment.refunded": ("refunded",),
}
"""By type: the status of a payment to which that has happened."""


def page(answer: httpx.Response) -> None:
    """Events, and where to read on."""
    _events(body_of(answer, 200))


def end_of_log(answer: httpx.Response) -> None:
    """Nothing new; where to read on is said all the same."""
    body = body_of(answer, 200)
    assert body["events"] == []
    text(body["next_cursor"])


def payments(kind: str) -> Reader:
    """Return a reader of events of one type, which are about payments."""

    def read(answer: httpx.Response) -> None:
        for event in _events(body_of(answer, 200)):
            assert event["type"] == kind
            for name in ("id", "order_id", "amount"):
                whole(event["data"][name])
            assert event["data"]["status"] in STATUSES[kind]

    return read


def refunds(answer: httpx.Response) -> None:
    """What was given back, of which payment."""
    for event in _events(body_of(answer, 200)):
        assert event["type"] == "refund.created"
        for name in ("id", "payment_id", "amount"):
            whole(event["data"][name])


def story(answer: httpx.Response) -> None:
    """What happened to one payment, to be shown."""
    for event in some(body_of(answer, 200)["events"]):
        _event(event)


def batch(answer: httpx.Response) -> None:
    """Events as any library of CloudEvents takes them, which knows nothing of our pages."""
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == BATCH
    for event in some(json.loads(answer.content)):
        _event(event)
    assert re.search(NEXT, answer.headers["Link"])


def _events(body: dict[str, Any]) -> list[Any]:
    text(body["next_cursor"])
    for event in some(body["events"]):
        _event(event)
    found: list[Any] = body["events"]
    return found


def _event(event: Any) -> None:
    assert event["specversion"] == VERSION
    for name in ("id", "source", "type", "subject", "actor"):
        text(event[name])
    assert re.search(TIME, event["time"])
    an_object(event["data"])
