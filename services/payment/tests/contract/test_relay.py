"""What stands between Pact's verifier and a service changes nothing of what is verified."""

import functools
import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest

from payment_contracts.access import Access
from payment_contracts.relay import relay

TOKEN = "s3cret-of-the-tests"


@contextmanager
def raw_server(answer: bytes) -> Iterator[tuple[str, bytearray]]:
    """Give the URL of a server that answers one request with these bytes, and what it was sent."""
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_one() -> None:
            accepted, _ = listening.accept()
            with accepted:
                while not sent.endswith(SENT) and (part := accepted.recv(65536)):
                    sent.extend(part)
                accepted.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
        thread.join()


SENT = b'{"a": 1}'
PACKED = gzip.compress(b'{"id":1}')
ANSWERS = {
    "a header twice": (b"200 Baik", b"Link: </a>\r\nX-B: 2\r\nLink: </b>\r\nContent-Length: 2\r\n", b"{}"),
    "packed": (b"200 OK", b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(PACKED), PACKED),
    "cut off": (b"200 OK", b"Content-Type: application/json\r\nContent-Length: 99\r\n", b'{"id":'),
    "no length": (b"404 Not Found", b"Content-Type: text/html\r\n", b"<p>\xff</p>"),
    "no body": (b"204 No Content", b"ETag: x\r\n", b""),
    "a status of nobody's": (b"599 Aduh", b"Content-Length: 0\r\n", b""),
    "a redirect": (b"302 Found", b"Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n", b""),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_relay_changes_nothing(name: str) -> None:
    status, headers, body = ANSWERS[name]
    asked = {
        "Accept": "*/*",
        "Accept-Encoding": "gzip,deflate",
        "User-Agent": "pact_verifier",
        "Content-Type": "application/json",
    }
    failed: list[str] = []
    bodies: list[bytes] = []
    with (
        raw_server(b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, headers, body)) as (url, sent),
        relay(Access(f"{url}/base", "order", TOKEN), failed, bodies) as relayed,
    ):
        http = HTTPConnection("127.0.0.1", int(relayed.rpartition(":")[2]))
        http.putrequest("PUT", "/orders/1%2F2?a=%20b", skip_accept_encoding=True)
        for header in (*asked.items(), ("Content-Length", "8")):
            http.putheader(*header)
        http.endheaders(SENT)
        answer = http.getresponse()
        came = answer.read()
        http.close()
    assert failed == []
    assert bodies == [came]
    assert f"{answer.status} {answer.reason}" == status.decode()
    expected = [line for line in headers.decode().splitlines() if not line.startswith("Content-Length")]
    length = [] if name == "no body" else [f"Content-Length: {len(body)}"]
    said = [f"{header}: {value}" for header, value in answer.getheaders()]
    by_name = functools.partial(sorted, key=lambda line: line.split(":")[0])  # only there does order matter
    assert by_name(said) == by_name(expected + length)
    assert came == body
    line, *lines = sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert line == "PUT /base/orders/1%2F2?a=%20b HTTP/1.1"
    assert {one for one in lines if not one.startswith("Host: ")} == {
        *(f"{header}: {value}" for header, value in asked.items()),
        "Content-Length: 8",
        f"Authorization: Bearer {TOKEN}",
    }
