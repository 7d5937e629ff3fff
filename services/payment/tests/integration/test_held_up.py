"""Who sends slowly, or never reads, keeps nobody else waiting."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from conftest import fresh_database
from payment.web.held_back import PAUSE_S
from payment.web.protocol import PIPELINED_MAX
from processes import Service, http_client, wait_for

Start = Callable[..., Service]

CSV = b"GET /payments HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\r\n"
LIST = b"GET /payments?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"order_id":1,"user_id":1,"amount":20000}'
MANY = 5_000
"""Payments whose CSV is larger than all that lies between a service and a caller who does not read."""


@pytest.fixture
def database_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLite alone: none of this gets as far as the database."""
    with fresh_database("sqlite", tmp_path, request) as url:
        yield url


@pytest.fixture
def wires(end: ExitStack) -> Callable[[Service, bytes], socket.socket]:
    """Return a function that opens a connection with little room for answers, and sends something."""

    def wire(service: Service, sent: bytes) -> socket.socket:
        host, port = service.url.removeprefix("http://").split(":")
        made = end.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(10)
        made.connect((host, int(port)))
        made.sendall(sent)
        return made

    return wire


Wires = Callable[[Service, bytes], socket.socket]


def begun(length: int = len(BODY)) -> bytes:
    """Return a payment of which the last byte is missing."""
    head = b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n%s" % (length, BODY[:-1])


def whole(order_id: int) -> bytes:
    """Return a payment that arrives in one packet."""
    body = b'{"order_id":%d,"user_id":1,"amount":20000}' % order_id
    return begun(len(body)).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body


def status_of(wire: socket.socket) -> tuple[int, bytes]:
    """Return the status that comes, and the head that it came with."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = wire.recv(65536)
        assert chunk, received
        received += chunk
    head = received.partition(b"\r\n\r\n")[0].lower()
    return int(head.split()[1]), head


def says_nothing(wire: socket.socket) -> bool:
    """Say whether the connection stands and nothing has come."""
    wire.settimeout(0)
    try:
        return wire.recv(1, socket.MSG_PEEK) is None
    except BlockingIOError:
        return True
    finally:
        wire.settimeout(10)


def broken_off(service: Service) -> int:
    """Return how many answers were broken off because nobody read them."""
    return sum(line["event"] == "an answer was broken off: nobody takes it" for line in service.log())


def everything(wire: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := wire.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def test_readers_that_never_read_take_no_place_from_payments_and_are_ended(
    start: Start, wires: Wires
) -> None:
    service = start("serve", "--no-worker", REQUESTS_MAX="2", WRITE_TIMEOUT_S="2")
    service.book(range(1, MANY + 1))
    stalled = [wires(service, CSV) for _ in range(6)]
    time.sleep(0.5)  # all of them are being answered
    assert [service.pay(MANY + n).status_code for n in range(1, 9)] == [201] * 8
    assert service.http.get("/payments/1").status_code == 200
    wait_for(lambda: broken_off(service) == 6, 60, "all of them are ended")
    assert not any(everything(wire).endswith(b"0\r\n\r\n") for wire in stalled)


def test_files_take_turns_and_rest(start: Start) -> None:
    """Four files at once, each read as fast as it comes, leave room for who reads one payment."""
    service = start("serve", "--no-worker")
    service.book(range(1, 1001))

    def read_file() -> int:
        with http_client(service.url, timeout_s=30) as http:
            return http.get("/payments", headers={"Accept": "text/csv"}).text.count("\n")

    def fifty_reads_come_before_any_file_ends() -> bool:
        """They take a tenth of its time, but this process may be the one that stalls."""
        files = [pool.submit(read_file) for _ in range(4)]
        read = [service.http.get("/payments/1").status_code for _ in range(50)]
        came_first = not any(file.done() for file in files)
        assert read == [200] * 50
        assert {file.result() for file in files} == {1001}
        return came_first

    with ThreadPoolExecutor(4) as pool:
        wait_for(fifty_reads_come_before_any_file_ends, 60)


def test_a_reader_that_is_only_slow_gets_all_of_it(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", WRITE_TIMEOUT_S="7")
    service.book(range(1, MANY + 1))
    wire = wires(service, CSV.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    received = b""
    began_s = time.monotonic()
    while time.monotonic() - began_s < 8:  # longer than it may take nothing
        time.sleep(0.3)
        received += wire.recv(16_384)
    received += everything(wire)
    assert received.endswith(b"0\r\n\r\n")
    assert received.count(b"\r\n%d," % MANY) == 1
    assert broken_off(service) == 0


def test_answers_that_nobody_reads_hold_no_place_either(start: Start, wires: Wires) -> None:
    """Pipelined lists: each waits to be sent until the one before it was taken."""
    service = start("serve", "--no-worker", REQUESTS_MAX="1", WRITE_TIMEOUT_S="6")
    service.book(range(1, 301))
    stalled: list[socket.socket] = []

    def reads_as_if_alone() -> bool:
        return all(service.http.get("/payments/1").status_code == 200 for _ in range(8))

    for _ in range(2):  # one after the other: there is one place for reads
        stalled.append(wires(service, LIST * 100))
        wait_for(lambda: not says_nothing(stalled[-1]), what="it is being answered")
        wait_for(reads_as_if_alone, what="it is stalled")
    wait_for(lambda: broken_off(service) == 2, 60, "both are ended")
    assert all(everything(wire).count(b"HTTP/1.1 200") < 100 for wire in stalled)


def test_bodies_that_dribble_take_no_place_from_payments(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", REQUESTS_MAX="2")
    dribbling = [wires(service, begun()) for _ in range(8)]
    time.sleep(0.3)
    assert [service.pay(n).status_code for n in range(2, 8)] == [201] * 6
    assert all(map(says_nothing, dribbling))
    dribbling[0].sendall(BODY[-1:])
    assert status_of(dribbling[0])[0] == 201


def test_of_too_many_that_arrive_the_slowest_goes_first(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", ARRIVING_MAX="3")
    slow: list[socket.socket] = []
    for _ in range(5):
        slow.append(wires(service, begun()))
        for _ in range(2):  # when the second is answered, what came before the first has been read
            assert service.http.get("/healthz").status_code == 200
    for wire in slow[:2]:
        status, head = status_of(wire)
        assert status == 503
        assert b"retry-after: 1" in head
        assert b"connection: close" in head
        everything(wire)
    for order_id in range(2, 8):
        assert status_of(wires(service, whole(order_id)))[0] == 201
    assert all(map(says_nothing, slow[2:])), "what arrives whole pushes nobody out"
    slow[4].sendall(BODY[-1:])
    assert status_of(slow[4])[0] == 201


def test_who_was_refused_and_comes_again_at_once_is_read_later(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", STREAMS_MAX="1")
    assert status_of(wires(service, STREAM))[0] == 200
    began_s = time.monotonic()
    refused = wires(service, STREAM)
    assert status_of(refused)[0] == 503
    refused.sendall(PROBE)
    assert service.http.get("/healthz").status_code == 200
    # a machine that stalls may do so for longer than the pause
    assert says_nothing(refused) or time.monotonic() - began_s > PAUSE_S * 0.8, "others are not kept waiting"
    assert status_of(refused)[0] == 200
    assert time.monotonic() - began_s > PAUSE_S * 0.8


def test_of_requests_that_wait_on_a_connection_there_are_a_hundred_at_most(
    start: Start, wires: Wires
) -> None:
    """A packet may hold thousands, each of which would take memory until it is answered."""
    service = start("serve", "--no-worker")
    last = PROBE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert everything(wires(service, PROBE * PIPELINED_MAX + last)).count(b"HTTP/1.1 200") == 101
    assert everything(wires(service, PROBE * 1000 + last)).count(b"HTTP/1.1 200") < 101


def test_of_too_many_connections_the_one_that_waits_longest_for_a_request_ends(
    start: Start, wires: Wires
) -> None:
    """So nobody who opens many keeps payments or a probe away; and the log says it once a minute."""
    service = start("serve", "--no-worker", CONNECTIONS_MAX="6")
    streams = [wires(service, STREAM) for _ in range(2)]
    assert [status_of(wire)[0] for wire in streams] == [200, 200]
    silent = [wires(service, b"") for _ in range(40)]
    assert [status_of(wires(service, PROBE))[0] for _ in range(3)] == [200] * 3
    assert [status_of(wires(service, whole(n)))[0] for n in range(2, 6)] == [201] * 4
    assert all(everything(wire) == b"" for wire in silent), "ended, and told nothing"
    for stream in streams:  # what is served goes on
        told = b""
        while b"payment.created" not in told:
            told += stream.recv(65536) or pytest.fail("it ended")
    said = [line for line in service.log() if line["event"] == "too many connections"]
    assert [(line["most"], line["ended"]) for line in said] == [(6, 1)]


def test_when_all_connections_are_served_one_more_ends_at_once(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", CONNECTIONS_MAX="2")
    streams = [wires(service, STREAM) for _ in range(2)]
    assert [status_of(wire)[0] for wire in streams] == [200, 200]
    assert everything(wires(service, b"")) == b""

    def is_answered() -> bool:
        try:
            return status_of(wires(service, PROBE))[0] == 200
        except (ConnectionError, AssertionError):
            return False

    assert not is_answered()
    streams[0].close()
    assert wait_for(is_answered, 30, "its place is free")


def test_streams_have_places_of_their_own(start: Start, wires: Wires) -> None:
    service = start("serve", "--no-worker", REQUESTS_MAX="1", STREAMS_MAX="2")
    service.book([1])
    streams = [wires(service, STREAM) for _ in range(2)]
    assert [status_of(wire)[0] for wire in streams] == [200, 200]
    for one_more in (STREAM, CSV):
        status, head = status_of(wires(service, one_more))
        assert status == 503
        assert b"retry-after: 1" in head
    assert service.pay(2).status_code == 201
    assert service.http.get("/payments").status_code == 200
    streams[0].close()
    assert wait_for(lambda: status_of(wires(service, CSV))[0] == 200, 30, "its place is free")
