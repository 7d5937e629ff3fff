"""Told for certain: Order and User hear the newest state, whatever they do meanwhile."""

import time
from collections.abc import Callable

from payment_life import booked
from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told

Start = Callable[..., Service]


def test_both_hear_of_a_payment_at_once(start: Start, order: Stub, user: Stub) -> None:
    """Without the wake the worker would look a minute later."""
    service = start(POLL_INTERVAL_S="60")
    assert service.pay(7, user_id=9).status_code == 201
    wait_until_told(order, 7)
    wait_until_told(user, 9)
    rows = wait_until_settled(service, 2)
    assert {(row["service"], row["target_id"], row["state"], row["told"]) for row in rows} == {
        ("order", 7, "delivered", "paid"),
        ("user", 9, "delivered", "paid"),
    }
    assert all(row["attempts"] == 1 and row["settled_us"] for row in rows)


def test_a_put_carries_a_key_of_its_own_and_the_trace_of_the_payment(start: Start, order: Stub) -> None:
    service = start()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    order.fault(answer=500, times=1)
    service.pay(1, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    service.pay(2)
    wait_until_told(order, 1)
    wait_until_told(order, 2)
    first, again = order.received(1)
    assert first["idempotency_key"] == again["idempotency_key"]
    assert first["idempotency_key"] != order.received(2)[0]["idempotency_key"]
    assert {put["traceparent"].split("-")[1] for put in (first, again)} == {trace}
    assert first["traceparent"] != again["traceparent"]


def test_a_payment_booked_without_a_worker_is_told_by_one_that_starts_later(
    start: Start, order: Stub
) -> None:
    service = start("serve", "--no-worker")
    service.pay(1)
    assert order.received() == []
    start("worker")
    wait_until_told(order, 1)


def test_a_kill_right_after_201_loses_nothing(start: Start, order: Stub, user: Stub) -> None:
    service = start(LEASE_S="1")
    for order_id in range(1, 6):
        assert service.pay(order_id, user_id=order_id).status_code == 201
        service.kill()
        service.start()
    for order_id in range(1, 6):
        wait_until_told(order, order_id)
        wait_until_told(user, order_id)


def test_many_changes_while_a_service_is_down_cost_one_put(start: Start, user: Stub) -> None:
    service = start()
    user.fault(answer=500)
    for order_id in range(1, 101):
        service.pay(order_id, user_id=5)
    user.heal()
    wait_until_told(user, 5)
    rows = [row for row in wait_until_settled(service, 200) if row["service"] == "user"]
    assert len([put for put in user.received(5) if put["applied"]]) <= 3
    assert {row["state"] for row in rows} == {"delivered", "superseded"}
    assert rows[0]["state"] == "delivered"  # the newest


def test_the_state_told_is_the_one_at_the_time_of_telling(start: Start, order: Stub, user: Stub) -> None:
    service = start("serve", "--no-worker")
    payment_id = booked(service.pay(1, user_id=1))
    assert service.refund(payment_id).status_code == 201
    start("worker")
    wait_until_told(order, 1, "failed")
    wait_until_told(user, 1, "failed")
    assert [put["status"] for put in order.received(1)] == ["failed"]


def test_user_hears_of_the_newest_payment_only(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(1, user_id=5))
    service.pay(2, user_id=5)
    wait_until_told(user, 5)
    assert service.refund(payment_id).status_code == 201
    wait_until_told(order, 1, "failed")
    wait_until_settled(service, 5)
    assert {put["status"] for put in user.received(5)} == {"paid"}


def test_sigterm_finishes_what_is_in_hand_and_gives_the_rest_back(start: Start, order: Stub) -> None:
    service = start()
    order.fault(slow_ms=300)
    for n in range(1, 41):
        service.pay(n, user_id=n)
    wait_for(order.received, 5)
    began_s = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began_s < 10
    start(LEASE_S="3600")  # no lease was left behind, else this would take an hour
    for n in range(1, 41):
        wait_until_told(order, n, within_s=10)
