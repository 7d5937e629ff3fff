"""A neighbour that is down, slow or broken: tried again, probed, and a burden to nobody else."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

from processes import Service, Stub, wait_for, wait_until_settled, wait_until_told
from repeats import LONG, let_their_time_come

Start = Callable[..., Service]


def test_order_being_down_does_not_keep_user_waiting(start: Start, order: Stub, user: Stub) -> None:
    """Kill Order, pay ten times, start it again: User knew each at once, Order all in ten seconds."""
    service = start()
    order.kill()
    for n in range(1, 11):
        service.pay(n, user_id=n)
        wait_until_told(user, n)
    order.start()
    for n in range(1, 11):
        wait_until_told(order, n, within_s=10)


def test_a_passing_failure_is_tried_again(start: Start, order: Stub) -> None:
    service = start(CIRCUIT_FAILURES="1000", RESEND_AFTER_S=LONG)
    for status in (408, 425, 429, 500, 502, 503, 504):
        order.fault(answer=status, times=2, ids=[status])
        service.pay(status)
        wait_until_told(order, status)
        assert [put["applied"] for put in order.received(status)][:3] == [False, False, True]
    # a gateway's 502 and 504 do not say that the PUT was not passed on: it is told once more
    let_their_time_come(service, 2)
    for row in wait_until_settled(service, 14 + 2):
        attempts = 3 if row["service"] == "order" and not row["is_repeat"] else 1
        assert (row["attempts"], row["state"], row["last_error"]) == (attempts, "delivered", None)


def test_what_a_neighbour_says_in_odd_characters_does_not_stop_its_lane(start: Start, order: Stub) -> None:
    """Half a surrogate pair, NUL, ESC: no database, log or terminal is to get them."""
    service = start()
    order.fault(answer=400, body='{"error": "\\ud83d\\u0000\\u001b[2J"}', ids=[1])
    service.pay(1)
    service.pay(2)
    wait_until_told(order, 2)
    row = next(
        row for row in wait_until_settled(service, 4) if row["target_id"] == 1 and row["service"] == "order"
    )
    assert (row["state"], row["last_error"]) == ("dead", "HTTP 400 ???[2J")


def test_retry_after_is_honoured(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=503, times=1, retry_after_s=2)
    service.pay(1)
    wait_until_told(order, 1)
    first, second = order.received(1)
    assert second["at"] - first["at"] >= 2


def test_of_an_outage_the_neighbour_gets_probes_not_a_storm(start: Start, order: Stub) -> None:
    service = start(LANE_CONCURRENCY="4")
    service.pay(1)
    wait_until_told(order, 1)
    order.fault(answer=500)
    for order_id in range(2, 102):
        service.pay(order_id)
    wait_for(lambda: any(line["event"] == "circuit opened" for line in service.log()))
    time.sleep(3)  # the observation is what does not come
    failed = [put for put in order.received() if not put["applied"]]
    assert 3 <= len(failed) <= 3 + 2 * 4 + 8
    order.heal()
    for order_id in range(2, 102):
        wait_until_told(order, order_id, within_s=20)


def test_what_an_outage_pushed_back_is_due_when_it_ends(start: Start, order: Stub) -> None:
    """With a first wait of up to a minute, only the circuit's probes can be this quick."""
    service = start(RETRY_INITIAL_S="60")
    order.kill()
    for order_id in range(1, 21):
        service.pay(order_id)
    wait_for(lambda: any(line["event"] == "could not tell" for line in service.log()))
    time.sleep(1)  # let the outage last
    order.start()
    for order_id in range(1, 21):
        wait_until_told(order, order_id, within_s=20)


def test_an_order_that_fails_does_not_keep_the_others_waiting(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=500, ids=[1, 2, 3, 4])
    for order_id in range(1, 31):
        service.pay(order_id)
    for order_id in range(5, 31):
        wait_until_told(order, order_id)
    order.heal()
    for order_id in range(1, 5):
        wait_until_told(order, order_id)


def test_user_hears_while_order_hangs(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    order.fault(hang_s=30)
    for n in range(1, 31):
        service.pay(n, user_id=n)
    for n in range(1, 31):
        wait_until_told(user, n)
    order.heal()
    for n in range(1, 31):
        wait_until_told(order, n, within_s=15)


def test_an_answer_of_any_size_and_kind_does_no_harm(start: Start, order: Stub, end: ExitStack) -> None:
    service = start()
    order.fault(answer=404, body="[" * 50_000, times=1)  # "no such route", not a crash of the parser
    service.pay(1)
    wait_until_told(order, 1)
    wait_until_settled(service, 2)
    service.kill()

    endless = HTTPServer(("127.0.0.1", 0), EndlessAnswer)
    end.callback(endless.server_close)
    end.callback(endless.shutdown)
    threading.Thread(target=endless.serve_forever, daemon=True).start()
    patient = start(ORDER_SERVICE_URL=f"http://127.0.0.1:{endless.server_port}")
    patient.pay(2)
    assert wait_until_settled(patient, 4)[0]["state"] == "delivered"


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
    wait_for(lambda: len([line for line in service.log() if line["event"] == "could not tell"]) >= 2, 30)
    wait_until_told(user, 1)


def test_a_neighbour_that_takes_no_connection_is_given_up(start: Start, end: ExitStack, user: Stub) -> None:
    """It neither accepts nor refuses: the queue of its listener is full."""
    full = end.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(3):
        waiting = end.enter_context(socket.socket())
        waiting.setblocking(False)  # noqa: FBT003  # the standard library's signature
        waiting.connect_ex(full.getsockname())
    url = f"http://127.0.0.1:{full.getsockname()[1]}"
    service = start(ORDER_SERVICE_URL=url, CONNECT_TIMEOUT_S="0.5", READ_TIMEOUT_S="60")
    service.pay(1)
    wait_until_told(user, 1)
    failed = wait_for(lambda: [line for line in service.log() if line["event"] == "could not tell"], 20)
    assert "timed out" in str(failed[0]), failed[0]


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
