"""A PUT without an answer may still arrive late: the newest state is sent once more, and wins."""

import time
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import make_url, select

from payment.storage.opening import open_database
from payment.storage.tables import leases
from payment_life import booked
from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told
from repeats import LONG, let_their_time_come, repeats_that_wait

Start = Callable[..., Service]
HANGS_S = 3600
"""Until the test heals Order."""


def wait_until_it_hangs(order: Stub) -> None:
    """Return when a PUT has met the switch that is on for one."""
    wait_for(lambda: order.faults() == [], what="the PUT that hangs")


def release(order: Stub, count: int) -> None:
    """Let a first PUT that hangs be applied; so many have come by then, and none comes for that."""
    order.heal()
    wait_for(lambda: order.received(1)[0]["applied"], what="the late one is applied")
    assert len(order.received(1)) == count


@pytest.mark.parametrize("workers", [1, 2])
def test_the_newest_state_wins_over_a_put_that_hangs_and_is_applied_late(
    start: Start, order: Stub, workers: int
) -> None:
    """The first PUT ("paid") is given up, but Order applies it after "failed".

    So "failed" is told once more when RESEND_AFTER_S has passed since the attempt without an answer.
    """
    service = start("serve", "--no-worker")
    order.fault(hang_s=HANGS_S, apply="after", times=1)
    for _ in range(workers):
        start("worker", READ_TIMEOUT_S="0.5", RESEND_AFTER_S=LONG)
    payment_id = booked(service.pay(1))
    wait_until_it_hangs(order)
    assert service.refund(payment_id).status_code == 201
    wait_until_told(order, 1, "failed")
    repeats_that_wait(service)
    before = len(order.received(1))
    release(order, before)
    assert order.states()[1] == "paid"
    let_their_time_come(service)
    wait_until_told(order, 1, "failed")
    assert len(wait_until_settled(service, 5)) == 5, "one repeat"
    assert order.states()[1] == "failed"
    assert {put["status"] for put in order.received(1)[before:]} == {"failed"}


def test_what_is_owed_since_a_put_had_no_answer_is_owed_after_a_rejection_too(
    start: Start, order: Stub
) -> None:
    """The retry is refused for good, newer news is told; then what had no answer is applied after all."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=HANGS_S, answer=500)
    worker = start("worker", READ_TIMEOUT_S="0.5", RESEND_AFTER_S=LONG)
    payment_id = service.pay(1, fields={"status": "pending"}).json()["payment_id"]
    wait_for(lambda: any(row["resend_us"] for row in service.notifications()), what="no answer")
    assert worker.stop() == 0
    order.heal()
    order.fault(answer=400)
    start("worker", RESEND_AFTER_S=LONG)
    wait_for(lambda: any(row["state"] == "dead" for row in service.notifications()))
    order.heal()
    service.settle(payment_id, "paid")
    wait_until_told(order, 1, "paid")
    url = f"{order.url}/orders/1/payment"
    httpx.put(url, json={"payment_status": "pending"}, verify=False).raise_for_status()  # the late one
    let_their_time_come(service)
    wait_until_told(order, 1, "paid")
    wait_until_settled(service, 5)


def test_two_workers_never_tell_one_target_at_the_same_time(start: Start, order: Stub) -> None:
    """While a PUT hangs, within its time-out, nobody else tells that order; others are told."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=HANGS_S, apply="after", ids=[1], times=1)
    for _ in range(2):
        start("worker", READ_TIMEOUT_S="60", LEASE_S="6")  # it is renewed every two seconds
    payment_id = booked(service.pay(1))
    wait_until_it_hangs(order)
    ends_us = lease_of_order_1(service)
    assert service.refund(payment_id).status_code == 201
    service.pay(2)
    wait_until_told(order, 2)
    wait_for(lambda: lease_of_order_1(service) > ends_us, what="the lease is renewed while the PUT hangs")
    assert len(order.received(1)) == 1
    healed_at = time.time()
    order.heal()
    wait_until_told(order, 1, "failed")
    paid, failed = order.received(1)
    assert (paid["status"], failed["status"]) == ("paid", "failed")
    assert failed["at"] >= healed_at


def lease_of_order_1(service: Service) -> int:
    """Return when the lease on order 1 ends."""
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.read() as connection:
        which = select(leases.c.until_us).where(leases.c.service == "order", leases.c.target_id == 1)
        until_us: int = connection.execute(which).scalar_one()
    database.close()
    return until_us


def test_a_killed_workers_delivery_is_taken_over_and_told_once_more(start: Start, order: Stub) -> None:
    """Its PUT may still arrive, so after the takeover the newest state is sent again."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=HANGS_S, apply="after", times=1)
    first = start("worker", READ_TIMEOUT_S="60", LEASE_S="1")
    payment_id = booked(service.pay(1))
    wait_until_it_hangs(order)
    first.kill()
    assert service.refund(payment_id).status_code == 201
    start("worker", RESEND_AFTER_S=LONG)
    wait_until_told(order, 1, "failed")
    repeats_that_wait(service)
    release(order, 2)
    assert order.states()[1] == "paid"
    let_their_time_come(service)
    wait_until_told(order, 1, "failed")
    assert [put["status"] for put in order.received(1)] == ["paid", "failed", "failed"]


def test_a_worker_killed_while_it_sends_a_repeat_leaves_another(start: Start, order: Stub) -> None:
    """The repeat that was being sent is not the one that is still owed."""
    service = start("serve", "--no-worker")
    order.fault(drop="after", times=1)
    first = start("worker", RESEND_AFTER_S=LONG, LEASE_S="1", READ_TIMEOUT_S="60")
    service.pay(1)
    repeats_that_wait(service)
    assert len(order.received(1)) == 2, "attempt and retry"
    order.fault(hang_s=HANGS_S, times=1)
    let_their_time_come(service)
    wait_until_it_hangs(order)
    first.kill()
    order.heal()
    start("worker", RESEND_AFTER_S=LONG)
    let_their_time_come(service)
    wait_for(lambda: len(order.received(1)) == 5, what="the takeover, and the repeat that is owed")
    wait_until_settled(service, 4)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_connection_dropped_without_an_answer_is_told_once_more(
    start: Start, order: Stub, drop: str
) -> None:
    service = start(RESEND_AFTER_S=LONG)
    order.fault(drop=drop, times=1)
    service.pay(1)
    let_their_time_come(service)
    wait_for(lambda: len(order.received(1)) == 3, what="attempt, retry, and once more")
    wait_until_told(order, 1)
    rows = [row for row in wait_until_settled(service, 3) if row["service"] == "order"]
    assert [row["state"] for row in rows] == ["delivered", "delivered"]


def test_a_refused_connection_needs_no_repeat(start: Start, order: Stub) -> None:
    service = start(RESEND_AFTER_S="0.5")
    order.kill()
    service.pay(1)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()))
    order.start()
    wait_until_told(order, 1)
    wait_until_settled(service, 2)
    time.sleep(1.5)  # the observation is what does not come
    assert len(order.received(1)) == 1
    assert len(service.notifications()) == 2
