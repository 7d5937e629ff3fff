"""What no HTTP library would send: our shape and our limits hold in the server's own layer too."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from processes import Service

VALID = b'{"order_id":%d,"user_id":1,"amount":20000}'


def serving(folder: Path, **settings: str) -> Iterator[Service]:
    database = {"DATABASE_URL": f"sqlite:///{folder / 'payment.db'}"}
    service = Service(database | settings, "serve", "--no-worker", cwd=folder)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that waits for a request as long as it does by default."""
    yield from serving(tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that waits a second for a request: only for what never arrives."""
    yield from serving(tmp_path_factory.mktemp("hasty"), REQUEST_TIMEOUT_S="1")


def connect(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(service: Service, *pieces: bytes) -> bytes:
    """Send the pieces, return all that comes until the server closes."""
    with connect(service) as wire:
        try:
            for piece in pieces:
                wire.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return everything(wire)


def everything(wire: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := wire.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def an_answer(wire: socket.socket) -> None:
    """Wait for the answer of /healthz."""
    received = b""
    while not received.endswith(b'{"status":"ok"}'):
        more = wire.recv(65536)
        assert more, received
        received += more


def read_answer(received: bytes) -> tuple[int, dict[str, str]]:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), received[:200]
    assert b"application/json" in head.lower(), received[:500]
    said: dict[str, str] = json.loads(body)
    return int(head.split()[1]), said


def post(order_id: int, *headers: bytes, body: bytes | None = None) -> bytes:
    content = VALID % order_id if body is None else body
    lines = [b"POST /payments HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", b""]) + content


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client hello
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",  # 2.0 has no such lines
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /payments/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /payments HTTP/1.1\r\nHost: localhost\r\nBad Header: 1\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:30]),
)
def test_what_is_not_http_is_400_in_our_shape(calm: Service, sent: bytes) -> None:
    status, said = read_answer(exchange(calm, sent))
    assert status == 400
    assert said["error"]


def test_a_chunk_that_is_none_is_400_and_books_nothing(calm: Service) -> None:
    chunked = [b"Transfer-Encoding: chunked", b"Content-Type: application/json"]
    status, said = read_answer(exchange(calm, post(50, *chunked, body=b"zz\r\n")))
    assert (status, said) == (400, {"error": "Ini bukan permintaan HTTP yang sah"})
    assert calm.pay(50).status_code == 201


def test_an_offer_of_http_2_is_declined_and_the_request_is_served(calm: Service) -> None:
    """What every Java HttpClient sends: RFC 9110, 7.8 lets us ignore the offer, not the body."""
    offer = [b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB"]
    content = VALID % 90
    head = b"\r\n".join(
        [
            b"POST /payments HTTP/1.1",
            b"Host: localhost",
            b"Connection: Upgrade, HTTP2-Settings",
            *offer,
            b"Content-Length: %d" % len(content),
            b"Content-Type: application/json",
            b"",
            b"",
        ]
    )
    again = post(90, b"Content-Length: %d" % len(content))
    for pieces in ([head + content + again], [head, content, again], [head[:60], head[60:] + content[:5]]):
        with connect(calm) as wire:
            for piece in pieces:
                wire.sendall(piece)
                time.sleep(0.05)  # so that they arrive apart
            if len(pieces) == 2:
                wire.sendall(content[5:] + again)
            received = everything(wire)
        statuses = [int(part.split()[0]) for part in received.split(b"HTTP/1.1 ")[1:]]
        assert statuses in ([201, 409], [409, 409])
    chunked = head.replace(b"Content-Length: %d" % len(content), b"Transfer-Encoding: chunked")
    chunked = chunked.replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), VALID % 91)
    assert read_answer(exchange(calm, chunked + body))[0] == 201


NO_REQUESTS = {
    "empty lines": (b"", b"\r\n"),
    "a body that nobody reads": (b"Content-Length: 1000\r\n", b"x"),
    "a body after its answer": (b"Content-Length: 1\r\n", b"x"),
    "a body without an end": (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n"),
}


def test_only_another_request_keeps_an_answered_connection(hasty: Service) -> None:
    """Whether it is sent once, or again and again."""

    def held_s(kind: str, times: int) -> float:
        head, then = NO_REQUESTS[kind]
        with connect(hasty) as wire:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
            an_answer(wire)
            began_s = time.monotonic()
            wire.settimeout(0.3)
            for turn in range(200):  # of 0.3 s or more
                try:
                    if turn < times:
                        wire.sendall(then)
                    if not wire.recv(65536):
                        break
                except TimeoutError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            return time.monotonic() - began_s

    cases = [(kind, times) for kind in NO_REQUESTS for times in (1, 200)]
    with ThreadPoolExecutor(len(cases)) as pool:
        held = dict(zip(cases, pool.map(lambda case: held_s(*case), cases), strict=True))
    assert max(held.values()) < 30, held


def test_a_body_that_comes_after_its_answer_is_followed_by_another_request(calm: Service) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    with connect(calm) as wire:
        wire.sendall(ask + b"Content-Length: 2\r\n\r\n")
        an_answer(wire)
        wire.sendall(b"{}" + ask + b"Connection: close\r\n\r\n")
        assert read_answer(everything(wire))[0] == 200


def test_http_1_0_gets_csv_without_chunks(calm: Service) -> None:
    assert calm.pay(95).status_code == 201
    received = exchange(calm, b"GET /payments?order_id=95 HTTP/1.0\r\nAccept: text/csv\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    wanted = calm.http.get("/payments?order_id=95", headers={"Accept": "text/csv"})
    assert wanted.headers["transfer-encoding"] == "chunked"
    assert body == wanted.content
    kept = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert read_answer(exchange(calm, kept)) == (200, {"status": "ok"})


def test_a_large_body_that_asks_first_is_not_asked_for(calm: Service) -> None:
    ask = post(51, b"Content-Length: 100000000", b"Expect: 100-continue", body=b"")
    status, said = read_answer(exchange(calm, ask))
    assert (status, said) == (413, {"error": "Isi permintaan lebih besar dari 65536 byte"})


def test_headers_larger_than_the_limit_are_431(calm: Service) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(400))
    short = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(70))
    with connect(calm) as wire:  # at once: the whole head is there when its size is first looked at
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + short + b"\r\n")
        assert read_answer(everything(wire))[0] == 431
    for sent in (b"GET / HTTP/1.1\r\n" + many, b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000):
        received = exchange(calm, *(sent[at : at + 10_000] for at in range(0, len(sent), 10_000)))
        if received:  # the answer may be lost to the reset that our unread bytes cause
            status, said = read_answer(received)
            assert (status, said) == (431, {"error": "Header permintaan lebih besar dari 65536 byte"})


def test_more_header_fields_than_anybody_needs_are_431(calm: Service) -> None:
    def answer(fields: int) -> tuple[int, dict[str, str]]:
        more = b"X: 1\r\n" * (fields - 2)
        ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n" % more
        return read_answer(exchange(calm, ask))

    assert answer(100)[0] == 200
    for fields in (101, 5_000):
        assert answer(fields) == (431, {"error": "Permintaan membawa lebih dari 100 header"})


def test_fields_after_the_body_are_not_kept(calm: Service) -> None:
    """Trailers, of which nothing of ours reads any: a million of them take no memory."""
    chunked = [b"Transfer-Encoding: chunked", b"Content-Type: application/json"]
    whole = b"%x\r\n%s\r\n0\r\n" % (len(VALID % 96), VALID % 96)
    before_kib = memory_kib(calm)
    received = exchange(calm, post(96, *chunked, body=whole), *[b"X: 1\r\n" * 10_000] * 100, b"\r\n")
    assert received == b"" or read_answer(received)[0] == 201
    assert memory_kib(calm) - before_kib < 30_000
    assert calm.pay(97).status_code == 201


def memory_kib(service: Service) -> int:
    """Return the largest memory that its process has had."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]  # Linux has it


def test_a_request_that_does_not_arrive_is_408(hasty: Service) -> None:
    for pieces in (
        [b"POST /payments HT"],
        [b"POST /payments HTTP/1.1\r\nHost: localhost\r\n"],
        [post(60, b"Content-Length: 1000", b"Content-Type: application/json", body=b'{"order')],
        [b"POST /payments HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n"],
        [],
    ):
        began_s = time.monotonic()
        status, said = read_answer(exchange(hasty, *pieces))
        assert (status, said) == (408, {"error": "Permintaan tidak tiba dalam 1 detik"}), pieces
        assert time.monotonic() - began_s < 8, "ten seconds is what others have"


def test_a_head_that_trickles_is_408_on_a_connection_that_was_good_before(hasty: Service) -> None:
    with connect(hasty) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        an_answer(wire)
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert read_answer(everything(wire))[0] == 408


def test_a_caller_that_goes_away_in_the_middle_books_nothing(calm: Service) -> None:
    with connect(calm) as wire:
        wire.sendall(post(70, b"Content-Length: 1000", b"Content-Type: application/json"))
    assert calm.pay(70).status_code == 201


def test_requests_in_a_row_on_one_connection_are_answered_in_their_order(calm: Service) -> None:
    """HTTP pipelining: three payments sent at once, then an orderly end."""
    one = b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
    sent = b"".join(one % (len(VALID % n), VALID % n) for n in (81, 82, 81))
    received = exchange(calm, sent + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    statuses = [int(part.split()[0]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [201, 201, 409, 200]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/payments%2F1", 404),
        (b"/payments/1%2frefunds", 400),  # an id that is none, not the list of refunds
        (b"/payments/1%2F", 400),
        (b"/console%2Fkeys", 404),
        (b"%2Fhealthz", 404),
        (b"/docs%2F", 404),
        (b"/payments/%31", 200),  # what is no separator may be written either way
    ],
)
def test_a_slash_that_is_escaped_is_no_separator(calm: Service, path: bytes, status: int) -> None:
    exchange(calm, post(1, b"Content-Type: application/json", b"Content-Length: %d" % len(VALID % 1)))
    target = path if path.startswith(b"/") else b"/" + path
    asked = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target
    assert read_answer(exchange(calm, asked))[0] == status


def test_a_body_with_get_and_an_upgrade_are_ignored(calm: Service) -> None:
    upgrade = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    assert read_answer(exchange(calm, upgrade))[0] == 200
