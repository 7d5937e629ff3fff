"""A PUT without an answer may still arrive late: the newest state is sent once more, and wins."""

import time
from collections.abc import Callable

import pytest

from payment_life import booked
from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told

Start = Callable[..., Service]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_newest_state_wins_over_a_put_that_hangs_and_is_applied_late(
    start: Start, order: Stub, workers: int
) -> None:
    """The first PUT ("paid") is given up, but Order applies it three seconds later, after "failed".

    So "failed" is told once more when RESEND_AFTER_S has passed since the attempt without an answer.
    """
    service = start("serve", "--no-worker")
    order.fault(hang_s=3, apply="after", times=1)
    for _ in range(workers):
        start("worker", READ_TIMEOUT_S="0.5", RESEND_AFTER_S="5", LEASE_S="2")
    payment_id = booked(service.pay(1))
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    assert service.refund(payment_id).status_code == 201
    wait_until_told(order, 1, "failed", within_s=3)
    wait_until_told(order, 1, "paid", within_s=5)  # the late one
    wait_until_told(order, 1, "failed", within_s=5)
    wait_until_settled(service, 5)
    assert order.states()[1] == "failed"
    assert [put["status"] for put in order.received(1)] == ["paid", "failed", "failed"]


def test_what_is_owed_since_a_put_had_no_answer_is_owed_after_a_rejection_too(
    start: Start, order: Stub
) -> None:
    """The retry is refused for good, newer news is told; then what had no answer is applied after all."""
    service = start(READ_TIMEOUT_S="0.5", RESEND_AFTER_S="5")
    order.fault(hang_s=3, apply="after", times=1)
    payment_id = service.pay(1, fields={"status": "pending"}).json()["payment_id"]
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    order.fault(answer=400, times=1)
    wait_for(lambda: any(row["state"] == "dead" for row in service.notifications()), 5)
    service.settle(payment_id, "paid")
    wait_until_told(order, 1, "paid", within_s=3)
    wait_until_told(order, 1, "pending", within_s=5)  # the late one
    wait_until_told(order, 1, "paid", within_s=5)
    wait_until_settled(service, 5)


def test_two_workers_never_tell_one_target_at_the_same_time(start: Start, order: Stub) -> None:
    """While a PUT hangs, within its time-out, nobody else tells that order; others are told."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=4, apply="after", ids=[1], times=1)
    for _ in range(2):
        start("worker", READ_TIMEOUT_S="20", LEASE_S="1")  # the lease is renewed while the PUT hangs
    payment_id = booked(service.pay(1))
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    assert service.refund(payment_id).status_code == 201
    service.pay(2)
    wait_until_told(order, 2, within_s=3)
    wait_until_told(order, 1, "failed", within_s=15)
    paid, failed = order.received(1)
    assert (paid["status"], failed["status"]) == ("paid", "failed")
    assert failed["at"] - paid["at"] >= 4


def test_a_killed_workers_delivery_is_taken_over_and_told_once_more(start: Start, order: Stub) -> None:
    """Its PUT may still arrive, so after the takeover the newest state is sent again."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=4, apply="after", times=1)
    first = start("worker", READ_TIMEOUT_S="20", LEASE_S="1")
    payment_id = booked(service.pay(1))
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    first.kill()
    assert service.refund(payment_id).status_code == 201
    start("worker", LEASE_S="1", RESEND_AFTER_S="5")
    wait_until_told(order, 1, "failed", within_s=5)
    wait_for(lambda: len(order.received(1)) == 3, 10, "the newest state once more")
    wait_until_told(order, 1, "failed")
    assert [put["status"] for put in order.received(1)] == ["paid", "failed", "failed"]


def test_a_worker_killed_while_it_sends_a_repeat_leaves_another(start: Start, order: Stub) -> None:
    """The repeat that was being sent is not the one that is still owed."""
    service = start("serve", "--no-worker")
    order.fault(drop="after", times=1)
    first = start("worker", RESEND_AFTER_S="1", LEASE_S="1", READ_TIMEOUT_S="30")
    service.pay(1)
    wait_for(lambda: len(order.received(1)) == 2, 10, "attempt and retry")
    order.fault(hang_s=30, times=1)
    wait_for(lambda: len(order.received(1)) == 3, 10, "the repeat, hanging")
    first.kill()
    order.heal()
    start("worker", RESEND_AFTER_S="1", LEASE_S="1")
    wait_for(lambda: len(order.received(1)) == 5, 15, "the takeover, and the repeat that is owed")
    wait_until_settled(service, 4)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_connection_dropped_without_an_answer_is_told_once_more(
    start: Start, order: Stub, drop: str
) -> None:
    service = start(RESEND_AFTER_S="1")
    order.fault(drop=drop, times=1)
    service.pay(1)
    wait_for(lambda: len(order.received(1)) == 3, 10, "attempt, retry, and once more")
    wait_until_told(order, 1)
    rows = [row for row in wait_until_settled(service, 3) if row["service"] == "order"]
    assert [row["state"] for row in rows] == ["delivered", "delivered"]


def test_a_refused_connection_needs_no_repeat(start: Start, order: Stub) -> None:
    service = start(RESEND_AFTER_S="0.5")
    order.kill()
    service.pay(1)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()), 5)
    order.start()
    wait_until_told(order, 1)
    wait_until_settled(service, 2)
    time.sleep(1.5)  # the observation is what does not come
    assert len(order.received(1)) == 1
    assert len(service.notifications()) == 2
