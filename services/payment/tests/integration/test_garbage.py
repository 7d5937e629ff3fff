"""A request leaves nothing to the garbage collector: what it took is free as soon as it has its answer.

`serve` collects seldom for that (`COLLECT_AFTER`). What a library leaves behind is not ours: Marshmallow's
errors, Jinja's macros.
"""

import itertools
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from garbage import PROGRAM, left_by
from processes import Service, wait_for

REQUESTS = 20
JSON = {"Content-Type": "application/json"}

Ask = Callable[[Service], object]

_orders = itertools.count(2)


def _by_socket(head: str, *, reads: bool = True) -> Ask:
    """Return what sends this on a connection of its own, and reads to its end or goes away at once."""
    text = "\r\n".join([*head.split("\n"), "", ""]).encode()

    def ask(service: Service) -> None:
        address = urlsplit(service.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.settimeout(10)
            connection.sendall(text)
            while reads and connection.recv(65536):
                pass

    return ask


ASKED: dict[str, Ask] = {
    "a payment": lambda service: service.pay(next(_orders)),
    "a payment with a key": lambda service: service.pay(order := next(_orders), Idempotency_Key=f"k{order}"),
    "the same again": lambda service: service.pay(1, Idempotency_Key="first"),
    "a payment of an order that is paid": lambda service: service.pay(1),
    "a payment settled": lambda service: service.settle(1, "paid"),
    "a refund": lambda service: service.refund(1, {"amount": 1}),
    "a refund of too much": lambda service: service.refund(1, {"amount": 900_000}),
    "no JSON": lambda service: service.http.post("/payments", content=b"{", headers=JSON),
    "one payment": lambda service: service.http.get("/payments/1"),
    "no payment": lambda service: service.http.get("/payments/999999"),
    "a list": lambda service: service.http.get("/payments"),
    "a CSV": lambda service: service.http.get("/payments", headers={"Accept": "text/csv"}),
    "a report": lambda service: service.http.get("/reports/daily"),
    "no such method": lambda service: service.http.put("/payments"),
    "readiness": lambda service: service.http.get("/readyz"),
    "metrics": lambda service: service.http.get("/metrics"),
    "HTTP/1.0": _by_socket("GET /payments/1 HTTP/1.0"),
    "a connection of its own": _by_socket("GET /payments/1 HTTP/1.1\nHost: a\nConnection: close"),
    "requests in a row": _by_socket(
        "GET /payments/1 HTTP/1.1\nHost: a\n\nGET /payments/1 HTTP/1.1\nHost: a\nConnection: close"
    ),
    "a caller that goes away": _by_socket(
        "POST /payments HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: 99", reads=False
    ),
    "a stream that is left": _by_socket(
        "GET /events HTTP/1.1\nHost: a\nAccept: text/event-stream", reads=False
    ),
    "no HTTP": _by_socket("\0\1\2"),
}


@pytest.fixture
def service(database_url: str, end: ExitStack, tmp_path: Path) -> Service:
    service = Service({"DATABASE_URL": database_url}, "serve", "--no-worker", cwd=tmp_path, program=PROGRAM)
    end.callback(service.kill)
    assert service.pay(1, Idempotency_Key="first").status_code == 201
    return service


def test_a_request_leaves_nothing_to_the_garbage_collector(service: Service) -> None:
    left: dict[str, dict[str, int]] = {}
    for what, ask in ASKED.items():
        ask(service)  # the first of a kind is compiled, and that stays
        left_by(service)
        before = _open_files(service)
        for _ in range(REQUESTS):
            ask(service)
        _wait_until_closed(service, before, what)
        found = left_by(service)
        if sum(found.values()) >= REQUESTS:  # one each
            left[what] = found
    assert left == {}


def _wait_until_closed(service: Service, files: int, what: str) -> None:
    wait_for(lambda: _open_files(service) <= files, what=f"all connections of {what} are closed")


def _open_files(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
