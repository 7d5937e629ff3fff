"""Told for certain: Order and User hear the newest state, whatever they do meanwhile (design, section 3)."""

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import make_url, select, update

from payment.core.neighbours import ORDER, USER
from payment.core.states import Status
from payment.ledger import outages, outbox
from payment.ledger.audience import Notification
from payment.storage.opening import open_database
from payment.storage.tables import bills, notifications, payments
from processes import Service, Stub, wait_for

Start = Callable[..., Service]


def told(stub: Stub, target_id: int, status: str = "paid", within_s: float = 10.0) -> None:
    """Wait until the neighbour knows."""
    wait_for(lambda: stub.states().get(target_id) == status, within_s, f"{stub.name} {target_id}: {status}")


def settled(service: Service, count: int, within_s: float = 10.0) -> list[dict[str, Any]]:
    """Wait until nothing waits any more; return the notifications."""

    def found() -> list[dict[str, Any]]:
        rows = service.notifications()
        return rows if len(rows) >= count and all(row["state"] != "waiting" for row in rows) else []

    return wait_for(found, within_s, f"{count} settled notifications")


def change(database_url: str, order_id: int, user_id: int, status: Status) -> None:
    """Change a payment behind the API as a later settlement or refund does, in one transaction."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        payment_id = connection.execute(
            update(payments)
            .where(payments.c.order_id == order_id)
            .values(status=status)
            .returning(payments.c.id)
        ).scalar_one()
        paid = bills.c.total if status is Status.PAID else 0
        connection.execute(update(bills).where(bills.c.order_id == order_id).values(paid=paid))
        outbox.enqueue(
            connection,
            [
                Notification(ORDER, order_id, payment_id, None),
                Notification(USER, user_id, payment_id, None),
            ],
            time.time_ns() // 1000,
        )
    database.close()


def test_both_hear_of_a_payment_within_a_second(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    assert service.pay(7, user_id=9).status_code == 201
    told(order, 7, within_s=1)
    told(user, 9, within_s=1)
    rows = settled(service, 2)
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
    told(order, 1)
    told(order, 2)
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
    told(order, 1)


def test_a_kill_right_after_201_loses_nothing(start: Start, order: Stub, user: Stub) -> None:
    service = start(LEASE_S="1")
    for order_id in range(1, 6):
        assert service.pay(order_id, user_id=order_id).status_code == 201
        service.kill()
        service.start()
    for order_id in range(1, 6):
        told(order, order_id)
        told(user, order_id)


def test_order_being_down_does_not_keep_user_waiting(start: Start, order: Stub, user: Stub) -> None:
    """Kill Order, pay ten times, start it again: User knew each within a second, Order all in ten."""
    service = start()
    order.kill()
    for n in range(1, 11):
        service.pay(n, user_id=n)
        told(user, n, within_s=1)
    order.start()
    for n in range(1, 11):
        told(order, n, within_s=10)


def test_a_passing_failure_is_tried_again(start: Start, order: Stub) -> None:
    service = start(CIRCUIT_FAILURES="1000", RESEND_AFTER_S="0.5")
    for status in (408, 425, 429, 500, 502, 503, 504):
        order.fault(answer=status, times=2, ids=[status])
        service.pay(status)
        told(order, status)
        assert [put["applied"] for put in order.received(status)][:3] == [False, False, True]
    # a gateway's 502 and 504 do not say that the PUT was not passed on: it is told once more
    for row in settled(service, 14 + 2):
        attempts = 3 if row["service"] == "order" and not row["is_repeat"] else 1
        assert (row["attempts"], row["state"], row["last_error"]) == (attempts, "delivered", None)


def test_what_a_neighbour_says_in_odd_characters_does_not_stop_its_lane(start: Start, order: Stub) -> None:
    """Half a surrogate pair, NUL, ESC: no database, log or terminal is to get them."""
    service = start()
    order.fault(answer=400, body='{"error": "\\ud83d\\u0000\\u001b[2J"}', ids=[1])
    service.pay(1)
    service.pay(2)
    told(order, 2)
    row = next(row for row in settled(service, 4) if row["target_id"] == 1 and row["service"] == "order")
    assert (row["state"], row["last_error"]) == ("dead", "HTTP 400 ???[2J")


def test_retry_after_is_honoured(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=503, times=1, retry_after_s=2)
    service.pay(1)
    told(order, 1)
    first, second = order.received(1)
    assert second["at"] - first["at"] >= 2


def test_of_an_outage_the_neighbour_gets_probes_not_a_storm(start: Start, order: Stub) -> None:
    service = start(LANE_CONCURRENCY="4")
    service.pay(1)
    told(order, 1)
    order.fault(answer=500)
    for order_id in range(2, 102):
        service.pay(order_id)
    time.sleep(3)  # the observation is what does not come
    failed = [put for put in order.received() if not put["applied"]]
    assert 3 <= len(failed) <= 3 + 2 * 4 + 8
    assert any(line["event"] == "circuit opened" for line in service.log())
    order.heal()
    for order_id in range(2, 102):
        told(order, order_id, within_s=8)


def test_what_an_outage_pushed_back_is_due_when_it_ends(start: Start, order: Stub) -> None:
    """With a first wait of up to a minute, only the circuit's probes can be this quick."""
    service = start(RETRY_INITIAL_S="60")
    order.kill()
    for order_id in range(1, 21):
        service.pay(order_id)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()), 5)
    time.sleep(1)  # let the outage last
    order.start()
    for order_id in range(1, 21):
        told(order, order_id, within_s=8)


def test_what_fails_after_each_outage_again_is_hurried_ever_less(
    start: Start, order: Stub, database_url: str
) -> None:
    """Else a few targets that always fail would be tried without end, ahead of fresh news."""
    service = start(RETRY_INITIAL_S="3600")
    order.fault(answer=500, ids=[1])
    service.pay(1)
    wait_for(lambda: any(row["last_error"] for row in service.notifications()), what="a failed attempt")
    service.stop()
    database = open_database(make_url(database_url))
    waits_s = []
    for end_us in range(10**16, 10**16 + 5):  # long after any backoff would have begun
        with database.write() as connection:
            later = update(notifications).where(notifications.c.service == ORDER.name)
            connection.execute(later.values(next_attempt_us=2 * 10**16))
            outages.end_outage(connection, ORDER, end_us)
            due_us = connection.execute(
                select(notifications.c.next_attempt_us).where(notifications.c.service == ORDER.name)
            ).scalar_one()
        waits_s.append((due_us - end_us) / 1e6)
    database.close()
    assert waits_s[0] <= 0.25  # this process itself may have hurried it once
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] >= 16


def test_an_order_that_fails_does_not_keep_the_others_waiting(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=500, ids=[1, 2, 3, 4])
    for order_id in range(1, 31):
        service.pay(order_id)
    for order_id in range(5, 31):
        told(order, order_id)
    order.heal()
    for order_id in range(1, 5):
        told(order, order_id)


def test_an_unknown_order_is_tried_again_then_dead_then_sent_by_hand(start: Start, end: ExitStack) -> None:
    small = Stub("order", count=5)
    end.callback(small.kill)
    service = start(ORDER_SERVICE_URL=small.url, RETRY_UNKNOWN_FOR_S="1", RETRY_MAX_S="0.3")
    service.pay(1)
    told(small, 1)
    service.pay(6)
    row = next(row for row in settled(service, 4) if row["target_id"] == 6)
    assert row["state"] == "dead"
    assert row["last_error"].startswith("unknown order")
    assert row["attempts"] > 1

    listed = service.cli("notifications", "list", "--state", "dead")
    assert "unknown order" in listed.stdout
    again = service.cli("notifications", "retry", str(row["id"]))
    assert (again.returncode, again.stdout.strip()) == (0, "Dikirim lagi / to be sent again: 1")
    puts = len(small.received(6))
    wait_for(lambda: len(small.received(6)) > puts, 5, "a PUT after the retry")


def test_a_missing_route_is_retried_and_said_in_those_words(start: Start, user: Stub) -> None:
    service = start(USER_PAYMENT_PATH="/users/{user_id}/payment-status")
    service.pay(1, user_id=1)
    failed: list[dict[str, Any]] = wait_for(
        lambda: [line for line in service.log() if line["event"] == "could not tell"], 5
    )
    said = "no such route: user does not serve PUT /users/{user_id}/payment-status"
    assert said in failed[0]["error"]
    assert "USER_PAYMENT_PATH" in failed[0]["error"]
    assert said in service.cli("notifications", "list").stdout
    assert service.stop() == 0  # a killed one leaves its lease behind

    mended = start()  # the setting is put right: nothing was lost
    told(user, 1)
    settled(mended, 2)


def test_a_rejection_is_dead_at_once_and_can_be_sent_again(start: Start, order: Stub) -> None:
    """A redirect is one: it is not followed."""
    service = start()
    statuses = (400, 409, 422, 301, 302, 307)
    for count, status in enumerate(statuses, start=1):
        order.fault(answer=status)
        service.pay(status)
        row = next(row for row in settled(service, 2 * count) if row["target_id"] == status)
        assert (row["state"], row["attempts"], row["told"]) == ("dead", 1, None)
        assert f"HTTP {status}" in row["last_error"]
    assert order.states() == {}
    order.heal()
    again = service.cli("notifications", "retry", "--all-dead")
    assert again.stdout.strip() == f"Dikirim lagi / to be sent again: {len(statuses)}"
    for status in statuses:
        told(order, status)


def test_what_cannot_be_told_in_time_is_dead_not_dropped(start: Start, order: Stub) -> None:
    service = start(RETRY_FOR_S="1", RETRY_MAX_S="0.2")
    order.fault(answer=500)
    service.pay(1)
    row = next(row for row in settled(service, 2) if row["service"] == "order")
    assert (row["state"], row["last_error"]) == ("dead", "HTTP 500 Internal Server Error")


def test_retry_refuses_what_is_not_there_or_settled(start: Start, order: Stub) -> None:
    service = start()
    service.pay(1)
    told(order, 1)
    for arguments in ([str(settled(service, 2)[0]["id"])], ["999"]):
        refused = service.cli("notifications", "retry", *arguments)
        assert refused.returncode == 1
        assert "tidak ada atau sudah selesai" in refused.stderr
    assert service.cli("notifications", "retry").returncode == 2
    assert service.cli("notifications", "retry", "1", "--all-dead").returncode == 2
    for nonsense in ("0", "99999999999999999999"):
        refused = service.cli("notifications", "retry", nonsense)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr


def test_many_changes_while_a_service_is_down_cost_one_put(start: Start, user: Stub) -> None:
    service = start()
    user.fault(answer=500)
    for order_id in range(1, 101):
        service.pay(order_id, user_id=5)
    user.heal()
    told(user, 5)
    rows = [row for row in settled(service, 200) if row["service"] == "user"]
    assert len([put for put in user.received(5) if put["applied"]]) <= 3
    assert {row["state"] for row in rows} == {"delivered", "superseded"}
    assert rows[0]["state"] == "delivered"  # the newest


def test_the_state_told_is_the_one_at_the_time_of_telling(
    start: Start, database_url: str, order: Stub, user: Stub
) -> None:
    service = start("serve", "--no-worker")
    service.pay(1, user_id=1)
    change(database_url, 1, 1, Status.FAILED)
    start("worker")
    told(order, 1, "failed")
    told(user, 1, "failed")
    assert [put["status"] for put in order.received(1)] == ["failed"]


def test_user_hears_of_the_newest_payment_only(
    start: Start, database_url: str, order: Stub, user: Stub
) -> None:
    service = start()
    service.pay(1, user_id=5)
    service.pay(2, user_id=5)
    told(user, 5)
    change(database_url, order_id=1, user_id=5, status=Status.FAILED)
    told(order, 1, "failed")
    settled(service, 6)
    assert {put["status"] for put in user.received(5)} == {"paid"}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_newest_state_wins_over_a_put_that_hangs_and_is_applied_late(
    start: Start, database_url: str, order: Stub, workers: int
) -> None:
    """The first PUT ("paid") is given up, but Order applies it three seconds later, after "failed".

    So "failed" is told once more when RESEND_AFTER_S has passed since the attempt without an answer.
    """
    service = start("serve", "--no-worker")
    order.fault(hang_s=3, apply="after", times=1)
    for _ in range(workers):
        start("worker", READ_TIMEOUT_S="0.5", RESEND_AFTER_S="5", LEASE_S="2")
    service.pay(1)
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    change(database_url, 1, 1, Status.FAILED)
    told(order, 1, "failed", within_s=3)
    told(order, 1, "paid", within_s=5)  # the late one
    told(order, 1, "failed", within_s=5)
    settled(service, 5)
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
    told(order, 1, "paid", within_s=3)
    told(order, 1, "pending", within_s=5)  # the late one
    told(order, 1, "paid", within_s=5)
    settled(service, 5)


def test_two_workers_never_tell_one_target_at_the_same_time(
    start: Start, database_url: str, order: Stub
) -> None:
    """While a PUT hangs, within its time-out, nobody else tells that order; others are told."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=2, apply="after", ids=[1], times=1)
    for _ in range(2):
        start("worker", READ_TIMEOUT_S="10", LEASE_S="1")  # the lease is renewed while the PUT hangs
    service.pay(1)
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    change(database_url, 1, 1, Status.FAILED)
    service.pay(2)
    told(order, 2, within_s=1)
    told(order, 1, "failed", within_s=10)
    paid, failed = order.received(1)
    assert (paid["status"], failed["status"]) == ("paid", "failed")
    assert failed["at"] - paid["at"] >= 2


def test_a_killed_workers_delivery_is_taken_over_and_told_once_more(
    start: Start, database_url: str, order: Stub
) -> None:
    """Its PUT may still arrive, so after the takeover the newest state is sent again."""
    service = start("serve", "--no-worker")
    order.fault(hang_s=4, apply="after", times=1)
    first = start("worker", READ_TIMEOUT_S="20", LEASE_S="1")
    service.pay(1)
    wait_for(lambda: order.received(1), 5, "the PUT that hangs")
    first.kill()
    change(database_url, 1, 1, Status.FAILED)
    start("worker", LEASE_S="1", RESEND_AFTER_S="5")
    told(order, 1, "failed", within_s=5)
    wait_for(lambda: len(order.received(1)) == 3, 10, "the newest state once more")
    told(order, 1, "failed")
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
    settled(service, 4)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_connection_dropped_without_an_answer_is_told_once_more(
    start: Start, order: Stub, drop: str
) -> None:
    service = start(RESEND_AFTER_S="1")
    order.fault(drop=drop, times=1)
    service.pay(1)
    wait_for(lambda: len(order.received(1)) == 3, 10, "attempt, retry, and once more")
    told(order, 1)
    rows = [row for row in settled(service, 3) if row["service"] == "order"]
    assert [row["state"] for row in rows] == ["delivered", "delivered"]


def test_a_refused_connection_needs_no_repeat(start: Start, order: Stub) -> None:
    service = start(RESEND_AFTER_S="0.5")
    order.kill()
    service.pay(1)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()), 5)
    order.start()
    told(order, 1)
    settled(service, 2)
    time.sleep(1.5)  # the observation is what does not come
    assert len(order.received(1)) == 1
    assert len(service.notifications()) == 2


def test_user_hears_while_order_hangs(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    order.fault(hang_s=30)
    for n in range(1, 31):
        service.pay(n, user_id=n)
        told(user, n, within_s=2)
    order.heal()
    for n in range(1, 31):
        told(order, n, within_s=15)


def test_an_answer_of_any_size_and_kind_does_no_harm(start: Start, order: Stub, end: ExitStack) -> None:
    service = start()
    order.fault(answer=404, body="[" * 50_000, times=1)  # "no such route", not a crash of the parser
    service.pay(1)
    told(order, 1)
    settled(service, 2)
    service.kill()

    endless = HTTPServer(("127.0.0.1", 0), EndlessAnswer)
    end.callback(endless.server_close)
    end.callback(endless.shutdown)
    threading.Thread(target=endless.serve_forever, daemon=True).start()
    patient = start(ORDER_SERVICE_URL=f"http://127.0.0.1:{endless.server_port}")
    patient.pay(2)
    assert settled(patient, 4)[0]["state"] == "delivered"


def test_an_answer_that_drips_is_given_up(start: Start, end: ExitStack, user: Stub) -> None:
    """Each read is in time, the whole is not: without a deadline it would hold the lane for ever."""
    dripping = ThreadingHTTPServer(("127.0.0.1", 0), DrippingAnswer)
    dripping.daemon_threads = True
    end.callback(dripping.server_close)
    end.callback(dripping.shutdown)
    threading.Thread(target=dripping.serve_forever, daemon=True).start()
    service = start(
        ORDER_SERVICE_URL=f"http://127.0.0.1:{dripping.server_port}",
        READ_TIMEOUT_S="1",
        CONNECT_TIMEOUT_S="0.5",
    )
    service.pay(1)
    wait_for(lambda: len([line for line in service.log() if line["event"] == "could not tell"]) >= 2, 10)
    told(user, 1)


class DrippingAnswer(BaseHTTPRequestHandler):
    """Sends a byte of a status line that never ends now and then."""

    def do_PUT(self) -> None:  # the standard library's name
        """Answer, slowly."""
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class EndlessAnswer(BaseHTTPRequestHandler):
    """Answers 200 and then a gigabyte, unless the caller has had enough."""

    def do_PUT(self) -> None:  # the standard library's name
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", str(2**30))
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2**10):
                self.wfile.write(b"x" * 2**20)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


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
        told(order, n, within_s=10)
