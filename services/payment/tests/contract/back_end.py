"""A restaurant's back end, written by our documentation: what it reads of our answers, and nothing else.

Each reader takes an answer and raises one of `UNSERVED` if it cannot do its work with it. Three sentences are
documented word by word (README, openapi/payment.yaml), so they are read as such; other words are only shown.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

UNSERVED = (AssertionError, KeyError, TypeError, ValueError, IndexError)
PROCESSED = "Pembayaran diproses"
REQUIRED = "order_id, user_id, dan amount wajib diisi"
UNKNOWN = "Pembayaran tidak ditemukan"
STATUSES = ("paid", "pending", "failed", "refunded")
STATES = ("waiting", "delivered", "superseded", "dead")
TAKINGS = ("payments", "gross", "refunds", "net")
_JSON = re.compile(r"application/([^;\s]+\+)?json\s*(;.*)?", re.IGNORECASE)

Reader = Callable[[httpx.Response], None]


def processed(answer: httpx.Response) -> None:
    """A payment was booked: keep its id, show the message, know where to ask for it."""
    body = _body(answer, 201)
    assert body["message"] == PROCESSED
    _whole(body["payment_id"])
    assert re.search(r"/payments/\d+$", answer.headers["Location"])


def processed_before(answer: httpx.Response) -> None:
    """The same, and it is the answer to an earlier request."""
    processed(answer)
    assert answer.headers["Idempotency-Replayed"] == "true"


def refusal(code: int, words: str | None = None) -> Reader:
    """Return a reader of an error, by its status code; the words are for people."""

    def read(answer: httpx.Response) -> None:
        said = _text(_body(answer, code)["error"])
        assert words in (None, said)

    return read


def payment(status: str) -> Reader:
    """Return a reader of one payment in this status."""
    return lambda answer: _payment(_body(answer, 200), status)


def refund(answer: httpx.Response) -> None:
    """Money was given back, this much."""
    body = _body(answer, 201)
    _whole(body["id"])
    assert _whole(body["amount"]) == 5_000


def settled_bill(answer: httpx.Response) -> None:
    """The order is paid, nothing is left."""
    body = _body(answer, 200)
    assert [_whole(body[name]) for name in ("total", "paid", "pending", "remaining")] == [
        20_000,
        20_000,
        0,
        0,
    ]
    assert body["settled"] is True


def payments(answer: httpx.Response) -> None:
    """Payments to be shown."""
    for each in _list(_body(answer, 200)["payments"]):
        _payment(each)


def first_page(answer: httpx.Response) -> None:
    """One payment, and how to ask for the next."""
    payments(answer)
    body = _body(answer, 200)
    assert len(body["payments"]) == 1
    _text(body["next_cursor"])
    assert re.search(r'cursor=[^&>]+>; rel="next"$', answer.headers["Link"])


def notifications(answer: httpx.Response) -> None:
    """Were Order and User told?"""
    for each in _list(_body(answer, 200)["notifications"]):
        assert each["service"] in ("order", "user")
        assert each["state"] in STATES


def closing(date: str | None = None) -> Reader:
    """Return a reader of a day's closing, of this day or of any."""

    def read(answer: httpx.Response) -> None:
        body = _body(answer, 200)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", body["date"])
        assert date in (None, body["date"])
        for each in (body, *_list(body["methods"])):
            for name in TAKINGS:
                _whole(each[name])
        for each in body["methods"]:
            _text(each["method"])

    return read


def _body(answer: httpx.Response, code: int) -> dict[str, Any]:
    assert answer.status_code == code
    assert _JSON.fullmatch(answer.headers["Content-Type"])
    body = json.loads(answer.content)
    assert isinstance(body, dict)
    return body


def _payment(body: dict[str, Any], status: str | None = None) -> None:
    for name in ("id", "order_id", "user_id", "amount"):
        _whole(body[name])
    assert body["status"] in STATUSES
    assert status in (None, body["status"])


def _whole(value: object) -> int:
    assert isinstance(value, int)
    assert not isinstance(value, bool)
    return value


def _text(value: object) -> str:
    assert isinstance(value, str)
    return value


def _list(value: object) -> list[Any]:
    assert isinstance(value, list)
    assert value
    return value
