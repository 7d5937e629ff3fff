"""GET /bills: all bills, and of which orders something is left to pay."""

from typing import Any

import pytest

from processes import Service
from walked import walk


@pytest.fixture
def booked(start_alone: Service) -> Service:
    """Bills in each state: 1 and 6 settled; 2, 3 and 5 open; 4 failed, so that nothing stands of it."""
    a_share, waits = {"order_total": 50_000}, {"status": "pending"}
    fields: dict[int, dict[str, Any]] = {1: {}, 2: a_share, 3: waits, 4: waits, 5: a_share, 6: {}}
    for order_id, said in fields.items():
        assert start_alone.pay(order_id, fields=said).status_code == 201
    assert start_alone.http.patch("/payments/4", json={"status": "failed"}).status_code == 200
    return start_alone


def test_pages_hold_each_bill_once_the_highest_order_first(booked: Service) -> None:
    def orders(**asked: Any) -> list[int]:
        bills = walk(booked, "/bills", **asked)
        for bill in bills:
            assert bill == booked.http.get(f"/bills/{bill['order_id']}").json()
        return [bill["order_id"] for bill in bills]

    for limit in (1, 2, 6, 200):
        assert orders(limit=limit) == [6, 5, 4, 3, 2, 1]
        assert orders(limit=limit, open="true") == [5, 3, 2]


def test_a_bill_is_open_from_its_first_share_to_its_last_and_again_after_a_refund(booked: Service) -> None:
    def is_open(order_id: int) -> bool:
        bills = booked.http.get("/bills?open=true").json()["bills"]
        return order_id in [bill["order_id"] for bill in bills]

    assert is_open(5)
    assert booked.pay(5, amount=30_000, fields={"order_total": 50_000}).status_code == 201
    assert not is_open(5)
    assert booked.refund(7, {}).status_code == 201
    assert is_open(5)
    assert booked.refund(1, {}).status_code == 201
    assert not is_open(1), "all of it was given back: nothing stands"


@pytest.mark.parametrize(
    ("asked", "field"),
    [("open=false", "open"), ("open=ya", "open"), ("limit=0", "limit"), ("cursor=5", "cursor")],
)
def test_what_is_asked_wrongly_is_named(booked: Service, asked: str, field: str) -> None:
    refused = booked.http.get(f"/bills?{asked}")
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(f"{field} ")


def test_a_cursor_is_of_its_own_list(booked: Service) -> None:
    cursor = booked.http.get("/bills?limit=1").json()["next_cursor"]
    for path in ("/bills?open=true", "/refunds?", "/payments?"):
        assert booked.http.get(f"{path}&cursor={cursor}").status_code == 400
