"""A restaurant's back end, written by our documentation: what it reads of our answers, and nothing else.

Each reader takes an answer and raises one of `json_reading.UNSERVED` if it cannot do its work with it. Three
sentences are documented word by word (README, openapi/payment.yaml), so they are read as such; other words
are only shown.
"""

import re
from typing import Any

import httpx

from json_reading import Reader, body_of, some, text, whole

PROCESSED = "Pembayaran diproses"
REQUIRED = "order_id, user_id, dan amount wajib diisi"
UNKNOWN = "Pembayaran tidak ditemukan"
STATUSES = ("paid", "pending", "failed", "refunded")
STATES = ("waiting", "delivered", "superseded", "dead")
TAKINGS = ("payments", "gross", "refunds", "net")


def processed(answer: httpx.Response) -> None:
    """A payment was booked: keep its id, show the message, know where to ask for it."""
    body = body_of(answer, 201)
    assert body["message"] == PROCESSED
    whole(body["payment_id"])
    assert re.search(r"/payments/\d+$", answer.headers["Location"])


def processed_before(answer: httpx.Response) -> None:
    """The same, and it is the answer to an earlier request."""
    processed(answer)
    assert answer.headers["Idempotency-Replayed"] == "true"


def payment(status: str) -> Reader:
    """Return a reader of one payment in this status."""
    return lambda answer: _payment(body_of(answer, 200), status)


def named_payment(status: str) -> Reader:
    """Return a reader of one payment in this status that its provider has named."""

    def read(answer: httpx.Response) -> None:
        body = body_of(answer, 200)
        _payment(body, status)
        text(body["reference"])

    return read


def late_money(answer: httpx.Response) -> None:
    """What became of late money is noted."""
    body = body_of(answer, 200)
    whole(body["amount"])
    assert (body["resolution"], body["reference"]) == ("returned", "RF-6")


def refund(answer: httpx.Response) -> None:
    """Money was given back, this much."""
    body = body_of(answer, 201)
    whole(body["id"])
    assert whole(body["amount"]) == 5_000


def settled_bill(answer: httpx.Response) -> None:
    """The order is paid, nothing is left."""
    body = body_of(answer, 200)
    assert [whole(body[name]) for name in ("total", "paid", "pending", "remaining")] == [
        20_000,
        20_000,
        0,
        0,
    ]
    assert body["settled"] is True


def payments(answer: httpx.Response) -> None:
    """Payments to be shown."""
    for each in some(body_of(answer, 200)["payments"]):
        _payment(each)


def first_page(answer: httpx.Response) -> None:
    """One payment, and how to ask for the next."""
    payments(answer)
    body = body_of(answer, 200)
    assert len(body["payments"]) == 1
    text(body["next_cursor"])
    assert re.search(r'cursor=[^&>]+>; rel="next"$', answer.headers["Link"])


def notifications(answer: httpx.Response) -> None:
    """Were Order and User told?"""
    for each in some(body_of(answer, 200)["notifications"]):
        assert each["service"] in ("order", "user")
        assert each["state"] in STATES


def closing(date: str | None = None) -> Reader:
    """Return a reader of a day's closing, of this day or of any."""

    def read(answer: httpx.Response) -> None:
        body = body_of(answer, 200)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", body["date"])
        assert date in (None, body["date"])
        for each in (body, *some(body["methods"])):
            for name in TAKINGS:
                whole(each[name])
        for each in body["methods"]:
            text(each["method"])

    return read


def _payment(body: dict[str, Any], status: str | None = None) -> None:
    for name in ("id", "order_id", "user_id", "amount"):
        whole(body[name])
    assert body["status"] in STATUSES
    assert status in (None, body["status"])
