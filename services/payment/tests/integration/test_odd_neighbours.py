"""A neighbour, or what is before it, that answers as HTTP allows and few do; or not as HTTP allows."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import BinaryIO

import pytest

from payment.core.neighbours import ORDER
from payment.core.settings import NeighbourSettings
from payment.core.states import Outcome, Status
from payment.telling.connection import INTERIM_MAX
from payment.telling.downstream import DeliveryResult, NeighbourClient
from processes import Service, wait_until_settled

Start = Callable[..., Service]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Raw:
    """A server that answers each request with bytes, part by part.

    Attributes:
        url: where it is.
        heard: how many requests came.
        closes: it ends the connection after each answer.
    """

    def __init__(self, parts: Sequence[bytes], pause_s: float) -> None:
        self._parts = parts
        self._pause_s = pause_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard = 0
        self.closes = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(accepted,), daemon=True).start()

    def _answer(self, accepted: socket.socket) -> None:
        with suppress(OSError), accepted, accepted.makefile("rb") as asked:
            while _read_request(asked):
                self.heard += 1
                for part in self._parts:
                    accepted.sendall(part)
                    time.sleep(self._pause_s)
                if self.closes:
                    return

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _read_request(asked: BinaryIO) -> bool:
    length = 0
    while (line := asked.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    asked.read(length)
    return line == b"\r\n"


@contextmanager
def answering(*parts: bytes, pause_s: float = 0.0, closes: bool = False) -> Iterator[Raw]:
    served = Raw(parts, pause_s)
    served.closes = closes
    try:
        yield served
    finally:
        served.close()


def client_of(served: Raw, read_timeout_s: float = 5.0) -> NeighbourClient:
    settings = NeighbourSettings(url=served.url, path=ORDER.put_path, token=None)
    return NeighbourClient(ORDER, settings, connect_timeout_s=1, read_timeout_s=read_timeout_s)


def tell(client: NeighbourClient) -> DeliveryResult:
    return client.tell(1, Status.PAID, idempotency_key="k", traceparent="t")


@pytest.mark.parametrize(
    "before",
    [
        (PROCESSING,),
        (HINTS, HINTS),
        (CONTINUE, PROCESSING, CONTINUE, HINTS),
        (b"HTTP/1.1 199 \r\n\r\n",),
        tuple(repeat(PROCESSING, INTERIM_MAX)),
    ],
)
def test_the_final_answer_counts_whatever_comes_before_it(before: Sequence[bytes]) -> None:
    """And the next call on that connection gets its own."""
    with answering(b"".join(before) + OK) as served:
        client = client_of(served)
        assert [tell(client).outcome for _ in range(3)] == [Outcome.DELIVERED] * 3
        assert client.read(1).error == "HTTP 200: the answer has no status"
    assert served.heard == 4


def test_a_final_refusal_after_an_interim_answer_is_a_refusal() -> None:
    with answering(PROCESSING, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as served:
        assert tell(client_of(served)).outcome is Outcome.REJECTED


def test_interim_answers_without_end_are_no_answer() -> None:
    with answering(PROCESSING * (INTERIM_MAX + 1) + OK) as served:
        result = tell(client_of(served))
    assert (result.outcome, result.may_come_late) == (Outcome.OUTAGE, True)
    assert "more than 100 interim answers" in (result.error or "")


def test_interim_answers_that_drip_take_no_longer_than_a_call_may() -> None:
    """Each read is in time; `end_slow_calls` bounds the whole."""
    with answering(*repeat(PROCESSING, 80), pause_s=0.4) as served:
        client = client_of(served, read_timeout_s=1)
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.05):
                client.end_slow_calls()

        threading.Thread(target=look, daemon=True).start()
        began_s = time.monotonic()
        result = tell(client)
        done.set()
    assert (result.outcome, result.may_come_late) == (Outcome.OUTAGE, True)
    assert time.monotonic() - began_s < 25, "all of it takes half a minute"


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        PROCESSING + b"HTTP/1.1 200 OK\r\nContent-Length",
    ],
)
def test_one_that_closes_in_the_middle_of_its_header_did_not_answer(
    cut: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(cut, closes=True) as served:
        result = tell(client_of(served))
    assert (result.outcome, result.may_come_late) == (Outcome.OUTAGE, True)
    assert "in the middle of its header" in (result.error or "")
    assert caplog.records == []


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 407, 421, 426])
def test_what_only_a_gateway_says_is_an_outage_that_names_the_url(status: int) -> None:
    with answering(
        f"HTTP/1.1 {status} X\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n".encode()
    ) as served:
        client = client_of(served)
        result = tell(client)
        assert client.put_route not in client.known_routes
        known = client.read(1)
    assert (result.outcome, result.may_come_late) == (Outcome.OUTAGE, False)
    assert (result.error or "").startswith(f"HTTP {status} ")
    assert (result.error or "").endswith("; see ORDER_SERVICE_URL")
    assert (known.error or "").endswith("; see ORDER_SERVICE_URL")
    assert not known.is_unknown


def test_what_is_locked_is_asked_for_later() -> None:
    locked = b"HTTP/1.1 423 Locked\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with answering(locked) as served:
        result = tell(client_of(served))
    assert (result.outcome, result.retry_after_s, result.error) == (Outcome.OUTAGE, 7.0, "HTTP 423 Locked")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_log_has_one_line_of_each_attempt_and_no_traceback(start: Start) -> None:
    """A header cut off is no answer; one that is odd does not matter; interim answers are read past."""
    odd = b"HTTP/1.1 200 OK\r\n: nothing\r\nno colon\r\nContent-Length: 0\r\n\r\n"
    parts = chain([b"HTTP/1.1 200 OK\r\nContent-Len"], repeat(PROCESSING + odd))

    class Once(Raw):
        def _answer(self, accepted: socket.socket) -> None:
            self._parts = [next(parts)]
            super()._answer(accepted)

    served = Once((), 0.0)
    served.closes = True
    service = start(ORDER_SERVICE_URL=served.url, RESEND_AFTER_S="0.2")
    service.pay(1)
    rows = wait_until_settled(service, 2)
    served.close()
    told = next(row for row in rows if row["service"] == "order" and not row["is_repeat"])
    assert (told["state"], told["attempts"]) == ("delivered", 2)
    about = [line for line in service.log() if line.get("level") in {"warning", "error"}]
    failed = [line for line in about if line["event"] == "could not tell"]
    assert len(failed) == 1
    assert "in the middle of its header" in failed[0]["error"]
    assert "Traceback" not in json.dumps(service.log())
    assert "Failed to parse headers" not in json.dumps(service.log())
