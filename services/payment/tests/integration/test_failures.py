"""Notifications remember why they failed: when, by what, in the neighbour's words; and are found by that."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from payment.ledger.judgements import FAILURES_MAX
from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told

Start = Callable[..., Service]


def of_order(service: Service, payment_id: int) -> dict[str, Any]:
    """Return the oldest notification of Order for a payment."""
    found = service.http.get(f"/payments/{payment_id}/notifications").json()["notifications"]
    shown: dict[str, Any] = [row for row in found if row["service"] == "order"][-1]
    return shown


def failed_by(service: Service, cause: str, /, **more: str) -> list[dict[str, Any]]:
    """Return the notifications that a filter by cause shows."""
    answer = service.http.get("/notifications", params={"cause": cause} | more)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["notifications"]
    return rows


def test_an_outage_shows_each_failed_attempt_with_its_time(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=503)
    began_s = time.time()
    service.pay(1)
    row = wait_for(lambda: len((now := of_order(service, 1))["failures"]) >= 3 and now)
    assert isinstance(row, dict)
    times_s = [datetime.fromisoformat(failure["at"]).timestamp() for failure in row["failures"]]
    assert began_s < times_s[0] < times_s[1] < times_s[2] < time.time()
    assert {(each["cause"], each["error"]) for each in row["failures"]} == {
        ("outage", "HTTP 503 Service Unavailable")
    }
    assert (row["state"], row["cause"], row["attempts"]) == ("waiting", "outage", len(row["failures"]))
    assert [each["id"] for each in failed_by(service, "outage", service="order")] == [row["id"]]

    order.heal()
    wait_until_told(order, 1)
    wait_for(lambda: of_order(service, 1)["state"] == "delivered")
    told = of_order(service, 1)
    assert (told["cause"], told["last_error"]) == (None, None)
    assert told["failures"][: len(row["failures"])] == row["failures"], "it is history"
    assert failed_by(service, "outage") == []


def test_the_last_ten_failures_are_remembered(start: Start, order: Stub) -> None:
    service = start(RETRY_MAX_S="0.1", CIRCUIT_FAILURES="1000")
    service.pay(1)
    wait_until_told(order, 1)  # else it would be probed, which takes its time
    order.fault(answer=500)
    service.pay(2)
    first = wait_for(lambda: (now := of_order(service, 2))["attempts"] >= FAILURES_MAX and now)
    assert isinstance(first, dict)
    later = wait_for(lambda: (now := of_order(service, 2))["attempts"] > first["attempts"] and now)
    assert isinstance(later, dict)
    gone = later["attempts"] - first["attempts"]
    assert len(first["failures"]) == len(later["failures"]) == FAILURES_MAX
    assert later["failures"][:-gone] == first["failures"][gone:], "the oldest are forgotten"


def test_each_cause_is_named_and_found(start: Start, order: Stub) -> None:
    service = start(CIRCUIT_FAILURES="1000", RETRY_INITIAL_S="60")
    causes = {401: "denied", 400: "rejected", 503: "outage"}
    for status, cause in causes.items():
        order.fault(answer=status, ids=[status])
        service.pay(status)
        (row,) = wait_for(lambda cause=cause: failed_by(service, cause))  # type: ignore[misc]
        assert (row["target_id"], row["service"]) == (status, "order")
        assert [failure["cause"] for failure in row["failures"]] == [cause]
    assert (
        failed_by(service, "rejected", state="waiting")
        == failed_by(service, "rejected", service="user")
        == []
    )
    assert failed_by(service, "denied", state="delivered") == failed_by(service, "unknown") == []
    listed = service.cli("notifications", "list", "--cause", "rejected", "--json").stdout.splitlines()
    assert len(listed) == 1
    assert '"cause": "rejected"' in listed[0]


def test_pages_of_a_cause_hold_each_once(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=400)
    for order_id in range(1, 8):
        service.pay(order_id)
    wait_for(lambda: len(failed_by(service, "rejected")) == 7)
    ids: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = service.http.get("/notifications", params={"cause": "rejected", "limit": "3"} | cursor).json()
        ids += [row["id"] for row in page["notifications"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(ids) == 7
    assert ids == sorted(set(ids), reverse=True)


def test_sent_again_or_superseded_it_keeps_its_failures(start: Start, order: Stub) -> None:
    service = start(CIRCUIT_FAILURES="1000", RETRY_INITIAL_S="60")
    order.fault(answer=400, times=1)
    service.pay(1)
    (dead,) = wait_for(lambda: failed_by(service, "rejected"))
    again = service.http.post(f"/notifications/{dead['id']}/retry").json()
    assert (again["state"], again["failures"]) == ("waiting", dead["failures"])
    wait_until_told(order, 1)
    wait_until_settled(service, 2)
    assert of_order(service, 1)["failures"] == dead["failures"]

    order.fault(answer=503, times=1)
    halves = {"order_total": 40_000}
    payment_id = service.pay(2, fields=halves).json()["payment_id"]
    waiting = wait_for(lambda: (now := of_order(service, payment_id))["failures"] and now)
    service.pay(2, fields=halves)
    wait_until_told(order, 2)
    wait_for(lambda: of_order(service, payment_id)["state"] == "superseded")
    row = of_order(service, payment_id)
    assert (row["failures"], row["cause"]) == (waiting["failures"], "outage")


@pytest.mark.parametrize("status", [400, 503])
def test_what_failed_is_told_beside_what_was_delivered(start: Start, order: Stub, status: int) -> None:
    """Both are written by one statement: no delivery gets another's failure, none loses its own."""
    service = start("serve", "--no-worker")
    service.book(range(1, 41))
    order.fault(answer=status, ids=list(range(1, 41, 2)), times=20)
    start("worker", CIRCUIT_FAILURES="1000")
    wait_for(lambda: len(order.received()) >= 40)
    wait_for(service.has_told_all)
    rows = service.notifications()
    for row in rows:
        failed = row["attempts"] - (row["state"] == "delivered")
        assert len(row["failures"] or []) == failed, row
        assert failed == 0 or (row["service"] == "order" and row["target_id"] % 2), row
    assert sum(len(row["failures"] or []) for row in rows) == 20
