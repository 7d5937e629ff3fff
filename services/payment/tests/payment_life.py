"""What tests of a payment's whole life ask of a service, and orders that no other test pays."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx

from processes import Service

PENDING = {"status": "pending", "method": "qris"}
_orders: Iterator[int] = count(1_000)


def new_order_id() -> int:
    """Return an order that no other test of this process pays."""
    return next(_orders)


def booked(answer: httpx.Response) -> int:
    assert answer.status_code == 201, answer.text
    payment_id: int = answer.json()["payment_id"]
    return payment_id


def status_of(service: Service, payment_id: int) -> tuple[str, int]:
    payment = service.http.get(f"/payments/{payment_id}").json()
    return payment["status"], payment["amount_refunded"]


def bill_of(service: Service, order_id: int) -> tuple[int, int, int, int, bool]:
    """Return total, paid, pending, remaining, settled."""
    bill = service.http.get(f"/bills/{order_id}").json()
    assert list(bill) == ["order_id", "total", "paid", "pending", "remaining", "settled"]
    assert bill["order_id"] == order_id
    return bill["total"], bill["paid"], bill["pending"], bill["remaining"], bill["settled"]


def every_payment(service: Service) -> Iterator[dict[str, Any]]:
    """Yield all payments, newest first."""
    url = "/payments?limit=200"
    while url:
        answer = service.http.get(url)
        yield from answer.json()["payments"]
        url = answer.links.get("next", {}).get("url", "")
