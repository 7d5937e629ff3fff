"""POST /reconciliations: a worker compares, shows how far it is, and what it found; on both databases."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, make_url, update

from key_holders import holder
from payment.ledger.reconciliations import KEPT
from payment.storage.opening import open_current
from payment.storage.tables import notifications, payments, reconciliations
from processes import Service, Stub, wait_for, wait_until_all_told

Start = Callable[..., Service]
Answer = dict[str, Any]


def put(stub: Stub, path: str, **body: str) -> None:
    """Change a neighbour's data behind our back."""
    httpx.put(stub.url + path, json=body, verify=False).raise_for_status()


def ask(at: Service, **asked: Any) -> str:
    """Ask for a reconciliation; return its path."""
    answer = at.http.post("/reconciliations", json=asked)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/reconciliations/{answer.json()['id']}"
    return str(answer.headers["location"])


def shown(service: Service, path: str) -> Answer:
    answer: Answer = service.http.get(path).raise_for_status().json()
    return answer


def ended(service: Service, path: str, within_s: float = 30.0) -> Answer:
    """Return a reconciliation when it has ended."""
    return wait_for(lambda: (row := shown(service, path))["finished_at"] and row, within_s, "its end")


def counts(row: Answer) -> dict[str, int]:
    names = ("agrees", "waiting", "differs", "unknown", "unanswered", "told_again")
    return {name: row[name] for name in names if row[name]}


def all_told_before(service: Service) -> None:
    """Let the notifications look as if everything had been told."""
    database = open_current(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(update(notifications).values(state="delivered", told="paid", settled_us=1))
    database.close()


def let_leases_end(service: Service) -> None:
    """Let the lease of a worker that was killed be over."""
    database = open_current(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(update(reconciliations).values(until_us=1))
    database.close()


def test_what_differs_is_found_shown_and_told_again(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    for number in range(1, 6):
        service.pay(number, user_id=number)
    wait_until_all_told(service)
    put(order, "/orders/2/payment", payment_status="failed")
    put(user, "/users/4/payment-service", status="pending")

    looked = ended(service, ask(service))
    assert (looked["state"], looked["progress"], looked["error"]) == ("finished", 1, None)
    assert counts(looked) == {"agrees": 8, "differs": 2}
    assert looked["created_at"] <= looked["started_at"] <= looked["finished_at"]
    assert (order.states()[2], user.states()[4]) == ("failed", "pending"), "looking changes nothing"

    path = f"/reconciliations/{looked['id']}/findings"
    first = service.http.get(path, params={"limit": 1})
    rest = service.http.get(first.links["next"]["url"])
    assert "next" not in rest.links
    findings = [*first.json()["findings"], *rest.json()["findings"]]
    assert findings == [
        {
            "service": name,
            "target_id": target_id,
            "payment_id": target_id,
            "verdict": "differs",
            "expected": "paid",
            "found": found,
            "error": None,
        }
        for name, target_id, found in (("order", 2, "failed"), ("user", 4, "pending"))
    ]

    only = ended(service, ask(service, service="order", repair=True))
    assert counts(only) == {"agrees": 4, "differs": 1, "told_again": 1}
    wait_for(lambda: order.states()[2] == "paid")
    assert user.states()[4] == "pending"
    assert order.received(2)[-1]["idempotency_key"], "told by the worker, through the outbox"
    assert counts(ended(service, ask(service, since="2999-01-01"))) == {}
    newest_first = shown(service, "/reconciliations")["reconciliations"]
    assert [row["since"] for row in newest_first] == ["2999-01-01", None, None]
    assert [row["id"] for row in newest_first[1:]] == [only["id"], looked["id"]]


def test_one_at_a_time_and_it_waits_for_a_worker(start: Start, rounds: range) -> None:
    pair = [start("serve", "--no-worker") for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for _ in rounds:
            answers = list(
                pool.map(lambda n: pair[n % 2].http.post("/reconciliations"), range(8))  # no body at all
            )
            (made,) = [answer.json() for answer in answers if answer.status_code == 202]
            assert made["state"] == "waiting"
            assert {answer.status_code for answer in answers} == {202, 409}
            problem = {"Accept": "application/problem+json"}
            refused = pair[0].http.post("/reconciliations", headers=problem).json()
            assert refused["type"] == "urn:payment:problem:reconciliation-running"
            assert refused["reconciliation_id"] == made["id"]
            for _ in range(2):
                cancelled = pair[1].http.post(f"/reconciliations/{made['id']}/cancel")
                assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    kept = shown(pair[0], "/reconciliations")["reconciliations"]
    assert len(kept) == min(len(rounds), 20)
    assert kept[0]["id"] == made["id"]


class Gate:
    """An Order that answers some questions, and holds all others until it is opened."""

    def __init__(self, answers: int, status: str = "pending") -> None:
        self.left = threading.Semaphore(answers)
        self.held = threading.Event()
        gate = self

        class Orders(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle(self) -> None:
                with suppress(ConnectionError):  # who asked was killed
                    super().handle()

            def do_GET(self) -> None:
                if not gate.left.acquire(blocking=False):
                    gate.held.set()
                    gate.left.acquire()
                body = json.dumps({"status": status}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Orders)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def open(self) -> None:
        """Answer whatever is asked."""
        self.left.release(1_000_000)

    def close(self) -> None:
        """End."""
        self.open()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """One that holds what is asked after 700 questions: of 200 orders twice, 200 once, some again."""
    gate = Gate(700)
    yield gate
    gate.close()


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_another_worker_goes_on_where_one_ended(start: Start, gate: Gate, signal: str) -> None:
    """Of 450 payments, the chunks are of 200: what was counted is not counted again, nor listed twice."""
    service = start("serve", "--no-worker")
    service.book(range(1, 451), user_id=1)
    all_told_before(service)
    worker = start("worker", ORDER_SERVICE_URL=gate.url)
    path = ask(service, service="order")
    wait_for(lambda: gate.held.is_set() and shown(service, path)["differs"] == 200, 30, "half of it")
    half = shown(service, path)
    assert half["state"] == "running"
    assert 0 < half["progress"] < 1
    if signal == "SIGKILL":
        worker.kill()
        let_leases_end(service)
    else:
        gate.open()
        assert worker.stop() == 0
    gate.open()
    start("worker", ORDER_SERVICE_URL=gate.url)
    whole = ended(service, path)
    assert (whole["state"], counts(whole)) == ("finished", {"differs": 450})
    listed: list[int] = []
    page = service.http.get(f"{path}/findings", params={"limit": 200})
    while True:
        listed += [finding["target_id"] for finding in page.json()["findings"]]
        if "next" not in page.links:
            break
        page = service.http.get(page.links["next"]["url"])
    assert listed == list(range(1, 451))


def test_it_is_cancelled_while_it_asks(start: Start, gate: Gate) -> None:
    service = start("serve", "--no-worker")
    service.book(range(1, 451), user_id=1)
    all_told_before(service)
    start("worker", ORDER_SERVICE_URL=gate.url)
    path = ask(service, service="order", repair=True)
    wait_for(lambda: gate.held.is_set() and shown(service, path)["differs"] == 200, 30, "half of it")
    cancelled = service.http.post(f"{path}/cancel").json()
    gate.open()
    again = ask(service, since="2999-01-01")
    assert ended(service, again)["state"] == "finished", "the worker has left the first"
    assert shown(service, path) == cancelled
    assert (cancelled["state"], cancelled["told_again"]) == ("cancelled", 200)


@pytest.fixture
def closed() -> Iterator[Gate]:
    """An Order that answers nothing before it is opened."""
    gate = Gate(0)
    yield gate
    gate.close()


def begun(start: Start, closed: Gate, payments_made: int, **asked: Any) -> tuple[Service, Service, str]:
    """Return a service, its worker, and a reconciliation whose first question hangs."""
    service = start("serve", "--no-worker")
    service.book(range(1, payments_made + 1), user_id=1)
    all_told_before(service)
    worker = start("worker", READ_TIMEOUT_S="60", ORDER_SERVICE_URL=closed.url)
    path = ask(service, service="order", **asked)
    wait_for(closed.held.is_set, what="a question that hangs")
    return service, worker, path


def test_a_worker_that_stops_leaves_a_service_that_hangs(start: Start, closed: Gate) -> None:
    service, worker, path = begun(start, closed, 60)
    began_s = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began_s < 15, "and not the minute that each question may take"
    assert counts(shown(service, path)) == {}
    closed.open()
    start("worker", LEASE_S="600", ORDER_SERVICE_URL=closed.url)
    assert counts(ended(service, path)) == {"differs": 60}, "its lease was given back"


def test_one_that_is_cancelled_leaves_a_service_that_hangs(start: Start, closed: Gate) -> None:
    service = start("serve", "--no-worker")
    service.book(range(1, 61), user_id=1)
    all_told_before(service)
    start("worker", READ_TIMEOUT_S="60", LEASE_S="1", ORDER_SERVICE_URL=closed.url)
    path = ask(service, service="order")
    wait_for(closed.held.is_set, what="a question that hangs")
    service.http.post(f"{path}/cancel").raise_for_status()
    assert ended(service, ask(service, since="2999-01-01"), 15)["state"] == "finished"


def test_what_is_pruned_meanwhile_is_left_out(start: Start, closed: Gate) -> None:
    service, _, path = begun(start, closed, 10, repair=True)
    database = open_current(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(delete(notifications).where(notifications.c.payment_id <= 5))
        connection.execute(delete(payments).where(payments.c.id <= 5))
    database.close()
    closed.open()
    row = ended(service, path)
    assert (row["state"], counts(row)) == ("finished", {"differs": 5, "told_again": 5})


def test_it_ends_at_the_last_payment_that_was_there_when_it_began(start: Start, closed: Gate) -> None:
    service, _, path = begun(start, closed, 10)
    service.book(range(11, 31), user_id=1)
    closed.open()
    assert counts(ended(service, path)) == {"differs": 10}


def test_a_service_that_restarts_is_waited_for(start: Start, order: Stub) -> None:
    service = start("serve", "--no-worker")
    service.book(range(1, 101), user_id=1)
    all_told_before(service)
    order.kill()
    worker = start("worker")
    path = ask(service, service="order")
    worker.process.line_with("does not answer and is asked again")
    order.start()
    row = ended(service, path)
    assert row["state"] == "finished"
    assert counts(row).keys().isdisjoint({"unanswered"})


def test_a_clock_that_was_ahead_does_not_make_the_newest_the_oldest(start: Start) -> None:
    service = start("serve", "--no-worker")
    for _ in range(KEPT):
        service.http.post(f"{ask(service)}/cancel").raise_for_status()
    database = open_current(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        later = reconciliations.c.created_us + 3_600_000_000
        connection.execute(update(reconciliations).values(created_us=later))
    database.close()
    assert shown(service, ask(service))["state"] == "waiting"
    assert len(shown(service, "/reconciliations")["reconciliations"]) == KEPT


def test_a_service_that_is_silent_is_no_difference_and_no_failure(start: Start, order: Stub) -> None:
    service = start()
    service.pay(1)
    wait_until_all_told(service)
    order.kill()
    row = ended(service, ask(service))
    assert (row["state"], counts(row)) == ("finished", {"agrees": 1, "unanswered": 1})
    (finding,) = shown(service, f"/reconciliations/{row['id']}/findings")["findings"]
    assert (finding["verdict"], finding["found"]) == ("unanswered", None)
    assert finding["error"]


def test_whatever_a_service_says_can_be_kept(start: Start) -> None:
    """PostgreSQL can store neither a zero nor half of a character."""
    odd = Gate(100, status="\x00 \ud800 paid\n")
    service = start("serve", "--no-worker")
    service.book(range(1, 4), user_id=1)
    all_told_before(service)
    start("worker", ORDER_SERVICE_URL=odd.url)
    try:
        row = ended(service, ask(service, service="order"))
    finally:
        odd.close()
    assert (row["state"], counts(row)) == ("finished", {"differs": 3})
    found = shown(service, f"/reconciliations/{row['id']}/findings")["findings"]
    assert {finding["found"] for finding in found} == {"? ? paid?"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"since": "kemarin"}, "since"),
        ({"since": 20260131}, "since"),
        ({"service": "menu"}, "service"),
        ({"repair": "true"}, "repair"),
        ({"repair": None}, "repair"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(shared: Service, body: Answer, field: str) -> None:
    refused = shared.http.post("/reconciliations", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(f"{field} ")
    assert shown(shared, "/reconciliations") == {"reconciliations": []}


@pytest.mark.parametrize("path", ["", "/findings"])
def test_one_that_is_not_there_is_404(shared: Service, path: str) -> None:
    missing = shared.http.get(f"/reconciliations/Kx3fT9aB{path}")
    assert (missing.status_code, missing.json()) == (404, {"error": "Rekonsiliasi tidak ditemukan"})
    assert shared.http.post("/reconciliations/Kx3fT9aB/cancel").status_code == 404
    assert shared.http.get(f"/reconciliations/x{path}").status_code == 400


def test_it_is_asked_for_with_the_scope_that_tells_again(start_keyed: Start) -> None:
    service = start_keyed()
    reader, teller = holder(service, "payments:read"), holder(service, "notifications:write")
    assert reader.post("/reconciliations").status_code == 403
    path = teller.post("/reconciliations").headers["location"]
    assert reader.get(path).json()["state"] == "waiting"
    assert reader.post(f"{path}/cancel").status_code == 403
    assert teller.post(f"{path}/cancel").status_code == 200
