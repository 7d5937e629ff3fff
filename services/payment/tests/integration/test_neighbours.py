"""GET /neighbours: what each has not been told, since when, why, and whether it answers."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import make_url

from key_holders import Caller, holder
from payment.core.states import State
from payment.ledger import backlog
from payment.storage.opening import open_database
from processes import Service, Stub, wait_for, wait_until_settled

Start = Callable[..., Service]


def neighbour(service: Service, name: str) -> dict[str, Any]:
    """Return what is said of one; the answer is held against the description."""
    answer = service.http.get("/neighbours")
    assert answer.status_code == 200, answer.text
    shown = answer.json()["neighbours"]
    assert [each["service"] for each in shown] == ["order", "user"]
    found: dict[str, Any] = next(each for each in shown if each["service"] == name)
    return found


def test_one_that_is_down_has_an_open_circuit_and_what_waits_says_why(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=503)
    service.pay(1)
    wait_for(lambda: neighbour(service, "order")["circuit"] == "open")
    for order_id in (2, 3):
        service.pay(order_id)
    shown = wait_for(lambda: (now := neighbour(service, "order"))["waiting"] == 3 and now)
    assert isinstance(shown, dict)
    oldest = service.http.get("/payments/1/notifications").json()["notifications"][-1]
    assert oldest["service"] == "order"
    assert (shown["dead"], shown["oldest_waiting_at"]) == (0, oldest["created_at"])
    assert sum(each["notifications"] for each in shown["causes"]) == 3
    assert {each["state"] for each in shown["causes"]} == {"waiting"}
    assert "outage" in {each["cause"] for each in shown["causes"]}
    wait_for(lambda: neighbour(service, "user")["waiting"] == 0)
    assert neighbour(service, "user") == {
        "service": "user",
        "waiting": 0,
        "dead": 0,
        "oldest_waiting_at": None,
        "circuit": "closed",
        "causes": [],
    }
    order.heal()
    wait_until_settled(service, 6)
    well = neighbour(service, "order")
    assert (well["circuit"], well["waiting"], well["causes"]) == ("closed", 0, [])


def test_what_is_dead_says_why_and_what_was_not_tried_says_nothing(start: Start, order: Stub) -> None:
    api = start("serve", "--no-worker")
    order.fault(answer=400, ids=[1, 2])
    api.pay(1, user_id=1)
    api.pay(2, user_id=2)
    worker = start("worker")
    wait_until_settled(api, 4)
    assert worker.stop() == 0
    for order_id in (3, 4, 5):
        api.pay(order_id)
    shown = neighbour(api, "order")
    assert (shown["waiting"], shown["dead"], shown["circuit"]) == (3, 2, None), "no worker, no circuit"
    assert shown["causes"] == [
        {"state": "dead", "cause": "rejected", "notifications": 2},
        {"state": "waiting", "cause": None, "notifications": 3},
    ]


def test_no_more_are_counted_than_is_said(start_alone: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "COUNTED_MAX", 2)
    start_alone.book(range(1, 6))
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    with database.read() as connection:
        seen = backlog.find_backlog(connection, "order")
    database.close()
    assert (seen.waiting, seen.dead) == (2, 0)
    assert seen.causes == [backlog.FailedBy(State.WAITING, None, 2)]


def test_it_asks_for_its_scope(start_keyed: Start) -> None:
    service = start_keyed()
    assert Caller(service).get("/neighbours").status_code == 401
    assert holder(service, "notifications:write").get("/neighbours").status_code == 403
    assert holder(service, "payments:read").get("/neighbours").status_code == 200
