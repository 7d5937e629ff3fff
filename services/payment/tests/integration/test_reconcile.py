"""`payment reconcile`: what Order and User say now beside what we would tell them, on both databases."""

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url, update

from payment.storage.opening import open_current
from payment.storage.tables import notifications, payments
from processes import Service, Stub, http_client, wait_for, wait_until_all_told
from promises import serve_answer

Start = Callable[..., Service]
NOTHING = {"agrees": 0, "waiting": 0, "differs": 0, "unknown": 0, "unanswered": 0, "told_again": 0}
JAKARTA = timedelta(hours=7)


def put(stub: Stub, target_id: int, status: str) -> None:
    """Change a neighbour's data behind our back."""
    path, field = {
        "order": (f"/orders/{target_id}/payment", "payment_status"),
        "user": (f"/users/{target_id}/payment-service", "status"),
    }[stub.name]
    httpx.put(stub.url + path, json={field: status}, verify=False).raise_for_status()


def all_told(service: Service) -> None:
    wait_until_all_told(service)


def reconcile(service: Service, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, int]]:
    """Return the exit code, what did not agree, and the counts."""
    run = service.cli("reconcile", "--json", *arguments)
    assert run.stderr == "", "no progress in a pipe"
    *rows, counts = map(json.loads, run.stdout.splitlines())
    assert len(rows) == sum(
        number for verdict, number in counts.items() if verdict not in ("agrees", "told_again")
    )
    return run.returncode, rows, counts


def differing(rows: list[dict[str, Any]]) -> set[tuple[str, int, str, str, str | None]]:
    return {(row["service"], row["target_id"], row["verdict"], row["expected"], row["found"]) for row in rows}


def test_what_was_changed_behind_our_back_is_found_and_mended(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    for number in range(1, 6):
        service.pay(number, user_id=number)
    all_told(service)
    assert reconcile(service) == (0, [], NOTHING | {"agrees": 10})

    put(order, 2, "failed")
    put(user, 4, "pending")
    expected = {("order", 2, "differs", "paid", "failed"), ("user", 4, "differs", "paid", "pending")}
    code, rows, counts = reconcile(service)
    assert (code, differing(rows), counts) == (1, expected, NOTHING | {"agrees": 8, "differs": 2})
    table = service.cli("reconcile")
    assert table.returncode == 1
    assert table.stdout.splitlines() == [
        "service         target_id  verdict     expected  found     error",
        "order                   2  differs     paid      failed",
        "user                    4  differs     paid      pending",
        (
            "Sama / agree: 8; menunggu / waiting: 0; berbeda / differ: 2; tidak dikenal / unknown: 0; "
            "tidak terjawab / unanswered: 0; diberitahukan lagi / told again: 0"
        ),
    ]
    assert (order.states()[2], user.states()[4]) == ("failed", "pending"), "looking changes nothing"

    code, rows, counts = reconcile(service, "--repair")
    assert (code, differing(rows)) == (1, expected)
    assert counts == NOTHING | {"agrees": 8, "differs": 2, "told_again": 2}
    wait_for(lambda: order.states()[2] == user.states()[4] == "paid")
    all_told(service)
    assert reconcile(service) == (0, [], NOTHING | {"agrees": 10})
    by_worker = order.received(2)[-1]
    assert by_worker["idempotency_key"], "told by the worker, through the outbox"
    assert [len(order.received(n)) for n in range(1, 6)] == [1, 3, 1, 1, 1]


def test_a_service_that_lost_everything_is_told_everything(start: Start, order: Stub, user: Stub) -> None:
    """More than one chunk; the walk-in guest who is on every payment is asked about once."""
    service = start("serve", "--no-worker")
    service.book(range(1, 251), user_id=1)  # the chunk is of 200
    database = open_current(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(update(notifications).values(state="delivered", told="paid", settled_us=1))
    database.close()
    put(user, 1, "paid")  # this one has lost nothing
    code, rows, counts = reconcile(service, "--repair")
    assert (code, len(rows)) == (1, 250)
    assert counts == NOTHING | {"agrees": 1, "differs": 250, "told_again": 250}
    start("worker")
    wait_for(lambda: set(order.states().values()) == {"paid"} and len(order.states()) == 250, within_s=20)
    all_told(service)
    assert reconcile(service) == (0, [], NOTHING | {"agrees": 251})
    assert len(user.received(1)) <= 250


def test_each_state_is_compared_as_it_was_told(start: Start) -> None:
    """A bill half paid, one given back, one failed; a guest's newest payment, not another."""
    service = start()

    def pay(order_id: int, user_id: int, **more: Any) -> str:
        body = {"order_id": order_id, "user_id": user_id, "amount": 10_000} | more
        answer = service.http.post("/payments", json=body).raise_for_status()
        return str(answer.headers["location"])

    pay(1, 1, order_total=20_000)
    refunded = pay(2, 2)
    service.http.post(f"{refunded}/refunds", json={"reason": "habis"}).raise_for_status()
    failed = pay(3, 3, status="pending")
    service.http.patch(failed, json={"status": "failed"}).raise_for_status()
    pay(4, 2, status="pending")
    pay(5, 3)
    pay(1, 4, order_total=20_000, status="pending")
    all_told(service)
    assert reconcile(service) == (0, [], NOTHING | {"agrees": 9})


def test_what_waits_to_be_told_is_no_difference(start: Start, order: Stub) -> None:
    service = start(RETRY_INITIAL_S="30")
    order.fault(answer=503)
    service.pay(7, user_id=7)
    wait_for(lambda: order.received(7))
    wait_for(lambda: any(row["state"] == "delivered" for row in service.notifications()), what="user is told")
    for arguments in ([], ["--repair"]):
        code, rows, counts = reconcile(service, *arguments)
        assert (code, counts) == (0, NOTHING | {"agrees": 1, "waiting": 1})
        assert differing(rows) == {("order", 7, "waiting", "paid", None)}
    assert len(service.notifications()) == 2


def test_an_unknown_order_is_a_difference_that_telling_again_does_not_mend(start: Start) -> None:
    service = start(RETRY_UNKNOWN_FOR_S="0.1")
    service.pay(1)
    service.pay(2_000_000)
    all_told(service)
    code, (row,), counts = reconcile(service, "--repair")
    assert (code, counts) == (1, NOTHING | {"agrees": 2, "unknown": 1})
    assert (row["target_id"], row["verdict"], row["found"]) == (2_000_000, "unknown", None)
    assert row["error"] == "unknown order: HTTP 404 Pesanan tidak ditemukan"
    assert len(service.notifications()) == 4


def test_many_unknown_ones_in_a_row_are_answers_too(start: Start, user: Stub) -> None:
    """Only silence counts towards giving up: those who differ behind them are found."""
    service = start()
    service.book(range(2_000_001, 2_000_061))  # guests of these ids too
    service.book(range(1, 4))
    wait_for(lambda: len(user.states()) == 3, within_s=30, what="those who are known were told")
    for number in (1, 2, 3):
        put(user, number, "failed")
    code, rows, counts = reconcile(service, "--service", "user")
    assert code == 1
    assert (counts["differs"], counts["unanswered"]) == (3, 0)
    assert {row["target_id"] for row in rows if row["verdict"] == "differs"} == {1, 2, 3}


def test_a_route_that_only_ever_answered_404_is_no_answer_about_an_order(start: Start) -> None:
    service = start()
    service.pay(1)
    all_told(service)
    with serve_answer() as elsewhere:
        elsewhere.status = 404
        service.environment["ORDER_SERVICE_URL"] = elsewhere.url
        code, (row,), counts = reconcile(service, "--service", "order")
    assert (code, counts["unanswered"]) == (1, 1)
    assert "no such route: order does not serve GET /orders/{order_id}" in row["error"]
    assert "see ORDER_SERVICE_URL" in row["error"]


def test_a_service_that_does_not_answer_is_not_asked_for_ever(start: Start, order: Stub) -> None:
    service = start()
    service.book(range(1, 101))
    all_told(service)
    order.kill()
    code, rows, counts = reconcile(service, "--repair")
    assert (code, counts) == (1, NOTHING | {"agrees": 100, "unanswered": 100})
    errors = {row["error"] for row in rows}
    not_asked = next(error for error in errors if error.startswith("not asked: order did not answer"))
    assert "Connection refused" in not_asked, "and it says what came"
    assert len(service.notifications()) == 200, "what could not be asked is not told again"


def test_it_can_be_bounded_to_a_service_and_to_the_last_days(
    start: Start, order: Stub, user: Stub, database_url: str
) -> None:
    service = start()
    for number in (1, 2):
        service.pay(number, user_id=number)
    all_told(service)
    week_us = 7 * 24 * 3_600_000_000
    database = open_current(make_url(database_url))
    with database.write() as connection:
        made_us = payments.c.created_us - week_us
        connection.execute(update(payments).where(payments.c.order_id == 1).values(created_us=made_us))
    database.close()
    for stub in (order, user):
        put(stub, 1, "failed")
        put(stub, 2, "failed")
    today = datetime.now(UTC) + JAKARTA
    days = {ago: f"{today - timedelta(days=ago):%Y-%m-%d}" for ago in (-1, 1, 8)}
    for arguments, differ in (
        ([], {("order", 1), ("order", 2), ("user", 1), ("user", 2)}),
        (["--service", "user"], {("user", 1), ("user", 2)}),
        (["--since", days[1]], {("order", 2), ("user", 2)}),
        (["--since", days[8]], {("order", 1), ("order", 2), ("user", 1), ("user", 2)}),
        (["--since", days[1], "--service", "order"], {("order", 2)}),
        (["--since", days[-1]], set()),
    ):
        code, rows, _ = reconcile(service, *arguments)
        assert {(row["service"], row["target_id"]) for row in rows} == differ, arguments
        assert code == (1 if differ else 0)


def test_payments_that_are_booked_meanwhile_are_no_differences(start: Start, order: Stub) -> None:
    """One guest on every payment, pending and paid in turn, told all the time."""
    service = start()
    done = threading.Event()

    def pay() -> None:
        with http_client(service.url) as http:
            for number in count(1):
                status = ("paid", "pending")[number % 2]
                body = {"order_id": number, "user_id": 1, "amount": 1_000, "status": status}
                http.post("/payments", json=body).raise_for_status()
                if done.wait(0.01):
                    return

    guest = threading.Thread(target=pay)
    guest.start()
    try:
        wait_for(lambda: len(order.states()) > 20)
        for _ in range(3):
            code, rows, _ = reconcile(service)
            assert code == 0, rows
    finally:
        done.set()
        guest.join()


@pytest.fixture
def dripping() -> Iterator[str]:
    """The URL of a neighbour whose answers drip: every byte comes in time, the whole never."""
    ended = threading.Event()

    class Drips(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "10000")
            self.end_headers()
            while not ended.wait(0.1):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Drips)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_that_drips_holds_nothing_up(start: Start, dripping: str) -> None:
    service = start()
    service.pay(1)
    all_told(service)
    service.environment |= {
        "ORDER_SERVICE_URL": dripping,
        "CONNECT_TIMEOUT_S": "0.5",
        "READ_TIMEOUT_S": "0.5",
    }
    began_s = time.monotonic()
    code, (row,), counts = reconcile(service)
    assert (code, row["verdict"], counts["agrees"]) == (1, "unanswered", 1)
    assert time.monotonic() - began_s < 10


def test_nothing_to_compare_is_all_well(shared: Service) -> None:
    assert reconcile(shared, "--since", "2026-01-01", "--service", "order")[0] == 0


@pytest.mark.parametrize("arguments", [["--since", "kemarin"], ["--service", "menu"]])
def test_nonsense_is_refused(shared: Service, arguments: list[str]) -> None:
    refused = shared.cli("reconcile", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert arguments[1] in refused.stderr


@pytest.mark.parametrize("command", ["reconcile", "prune"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_terminal_shows_progress(start: Start, command: str) -> None:
    service = start()
    service.pay(1)
    all_told(service)
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "payment", command, "--json"],
        env={"PATH": os.environ["PATH"], "TERM": "xterm"} | service.environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=30,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert command in shown
    assert "100%" in shown
    json.loads(run.stdout)
