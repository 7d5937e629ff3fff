"""REQUIRE_IDEMPOTENCY_KEY: who must bring a key, and that nothing happens without it."""

from collections.abc import Callable
from typing import Any

import httpx

from console_visitor import Visitor
from payment_life import PENDING, booked
from processes import Service

Start = Callable[..., Service]
SHARE = {"order_total": 100_000}


def refused_without_key(answer: httpx.Response) -> None:
    assert answer.status_code == 400
    said = "Permintaan ini perlu Idempotency-Key, agar dilakukan sekali saja meskipun dikirim berkali-kali"
    assert answer.json() == {"error": said}


def count_of(service: Service, order_id: int) -> int:
    return len(service.http.get("/payments", params={"order_id": order_id}).json()["payments"])


def test_a_share_of_a_bill_must_have_a_key_where_that_is_asked_for(start: Start) -> None:
    service = start("serve", "--no-worker", REQUIRE_IDEMPOTENCY_KEY="split")
    refused_without_key(service.pay(1, fields=SHARE))
    refused_without_key(service.pay(1, amount=20_000, fields={"order_total": 20_000}))
    assert count_of(service, 1) == 0
    problem = service.pay(1, fields=SHARE, Accept="application/problem+json").json()
    assert (problem["type"], problem["field"]) == (
        "urn:payment:problem:idempotency-key-missing",
        "Idempotency-Key",
    )
    english = service.pay(1, fields=SHARE, Accept_Language="en").json()["error"]
    assert english.startswith("This request needs an Idempotency-Key")
    first, again, second = (service.pay(1, fields=SHARE, Idempotency_Key=key) for key in "aab")
    assert (first.status_code, again.content, second.status_code) == (201, first.content, 201)
    assert count_of(service, 1) == 2, "two shares that are equal, one of them sent twice"
    assert service.pay(2).status_code == 201, "what pays all of an order needs none"
    assert service.refund(booked(first)).status_code == 201


def test_every_post_that_takes_a_key_must_have_one_where_that_is_asked_for(start: Start) -> None:
    service = start("serve", "--no-worker", REQUIRE_IDEMPOTENCY_KEY="all")
    refused_without_key(service.pay(1))
    refused_without_key(service.pay(1, fields=PENDING))
    assert service.pay(1, Idempotency_Key="").json()["error"].startswith("Idempotency-Key harus 1 sampai")
    assert service.pay(1, amount=0).json()["error"].startswith("amount harus"), "what is wrong goes first"
    payment_id, waiting = (
        booked(service.pay(order_id, fields=fields, Idempotency_Key=f"{order_id}"))
        for order_id, fields in ((1, {}), (2, PENDING))
    )
    assert service.settle(waiting, "paid").status_code == 200, "a PATCH is the same however often it comes"
    refused_without_key(service.refund(payment_id))
    new_key: dict[str, Any] = {"client": "kasir-1", "scopes": ["payments:read"]}
    refused_without_key(service.http.post("/keys", json=new_key))
    assert service.http.get("/keys").json() == {"keys": []}
    made = service.http.post("/keys", json=new_key, headers={"Idempotency-Key": "k"})
    refused_without_key(service.http.post(f"/keys/{made.json()['id']}/rotate", json={}))
    retried = service.http.post("/notifications/1/retry")
    assert retried.status_code == 200, "it takes no key"
    with Visitor(service.url) as visitor:  # the console brings its own
        sure = visitor.send(visitor.open(f"/console/payments/{payment_id}").form(do="refund"))
        done = visitor.send(sure.form(sure="yes"))
        assert done.status == 200
    assert service.http.get(f"/payments/{payment_id}").json()["status"] == "refunded"
