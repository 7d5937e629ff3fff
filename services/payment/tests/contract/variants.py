"""Variants of what Order and User may answer: the mirror of the client's mutants.

A contract can be too strong: a provider that serves us well is told BROKEN. So each row is an answer, and
says whether our client does its work with it; the verification must say the same (`test_variants.py`).
"""

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from neighbours import Told, is_read, is_read_as_unknown, is_told, is_unknown
from payment.core.states import Status
from payment.telling.downstream import NeighbourClient

FIRST_ID = 1_000
"""The order or user of the first variant; each has its own."""


class Call(StrEnum):
    """What is called."""

    TELL = "tell"
    TELL_UNKNOWN = "tell of an unknown"
    READ = "read"
    READ_UNKNOWN = "read an unknown"
    NEVER_SENT = "tell an invalid status"


TOLD = (Status.PAID, Status.PENDING, Status.FAILED)

DOES_ITS_WORK: Mapping[Call, Callable[[NeighbourClient, int], bool]] = {
    Call.TELL: lambda client, id_: all(is_told(client, id_, each) for each in TOLD),
    Call.TELL_UNKNOWN: is_unknown,
    Call.READ: lambda client, id_: is_read(client, id_, Status.PAID),
    Call.READ_UNKNOWN: is_read_as_unknown,
    Call.NEVER_SENT: lambda client, id_: all(is_told(client, id_, each) for each in TOLD),
}


@dataclass(frozen=True)
class Variant:
    """An answer to a call.

    Attributes:
        call: what is called.
        what: the answer in words.
        serves: whether our client does its work with it.
        body: `{field}` stands for the field of the GET's answer.
    """

    call: Call
    what: str
    serves: bool
    status: int
    body: str | bytes = ""
    type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.call}: {self.what}"


ORDER_OR_USER = '{"id":1,"{field}":"paid"}'
MESSAGE = '{"message":"x"}'
HTML = "<html>Not Found</html>"
ELSEWHERE = {"Location": "/elsewhere"}


def _told(what: str, status: int, body: str | bytes = "", *, serves: bool, **more: Any) -> Variant:
    return Variant(Call.TELL, what, serves, status, body, **more)


def _read(what: str, body: str | bytes, status: int = 200, *, serves: bool, **more: Any) -> Variant:
    return Variant(Call.READ, what, serves, status, body, **more)


_TELLING = [
    _told("200 and the resource", 200, ORDER_OR_USER, serves=True),
    _told("200 and the resource, more fields", 200, '{"id":1,"{field}":"paid","paid_by":"Ayu"}', serves=True),
    _told("200, the id a string", 200, '{"id":"1","{field}":"paid"}', serves=True),
    _told("200, no id", 200, '{"{field}":"paid"}', serves=True),
    _told("200, a status of its own", 200, '{"id":1,"{field}":"LUNAS"}', serves=True),
    _told("200 and a message", 200, '{"message":"updated"}', serves=True),
    _told("200, empty", 200, serves=True),
    _told("200, empty, without a type", 200, type=None, serves=True),
    _told("200, text", 200, "OK", type="text/plain", serves=True),
    _told("200, HTML", 200, "<html>OK</html>", type="text/html", serves=True),
    _told("200, null", 200, "null", serves=True),
    _told("200, a list", 200, "[]", serves=True),
    _told("200, application/hal+json", 200, ORDER_OR_USER, type="application/hal+json", serves=True),
    _told("200, broken JSON", 200, '{"id":', serves=True),
    _told("201 and the resource", 201, ORDER_OR_USER, serves=True),
    _told("202, empty", 202, serves=True),
    _told("202 and a message", 202, '{"message":"queued"}', serves=True),
    _told("203 and the resource", 203, ORDER_OR_USER, serves=True),
    _told("204", 204, type=None, serves=True),
    _told("205", 205, type=None, serves=True),
    _told("301", 301, headers=ELSEWHERE, serves=False),
    _told("302", 302, headers=ELSEWHERE, serves=False),
    _told("303", 303, headers=ELSEWHERE, serves=False),
    _told("304", 304, type=None, serves=False),
    _told("307", 307, headers=ELSEWHERE, serves=False),
    _told("308", 308, headers=ELSEWHERE, serves=False),
    _told("400", 400, '{"error":"x"}', serves=False),
    _told("401", 401, '{"error":"x"}', serves=False),
    _told("403", 403, '{"error":"x"}', serves=False),
    _told("404, JSON", 404, '{"error":"x"}', serves=False),
    _told("404, HTML", 404, HTML, type="text/html", serves=False),
    _told("405", 405, headers={"Allow": "GET"}, serves=False),
    _told("409", 409, '{"error":"x"}', serves=False),
    _told("410", 410, serves=False),
    _told("422", 422, '{"error":"x"}', serves=False),
    _told("429", 429, headers={"Retry-After": "1"}, serves=False),
    _told("500", 500, '{"error":"x"}', serves=False),
    _told("501", 501, serves=False),
    _told("503", 503, headers={"Retry-After": "1"}, serves=False),
]
_NEVER_SENT = [
    Variant(Call.NEVER_SENT, "400 and an error", serves=True, status=400, body='{"error":"x"}'),
    Variant(Call.NEVER_SENT, "400 and a message", serves=True, status=400, body=MESSAGE),
    Variant(Call.NEVER_SENT, "422", serves=True, status=422, body=MESSAGE),
    Variant(Call.NEVER_SENT, "200: anything goes", serves=True, status=200, body=ORDER_OR_USER),
    Variant(Call.NEVER_SENT, "500", serves=True, status=500),
]
NO_ROUTES = {
    "Spring": '{"timestamp":"2026-01-31","status":404,"error":"Not Found","path":"/orders/1/payment"}',
    "Spring 2": '{"status":404,"error":"Not Found","message":"No message available","path":"/x"}',
    "Spring 6": '{"title":"Not Found","status":404,"detail":"No static resource orders/1/payment."}',
    "Nest": '{"statusCode":404,"message":"Cannot PUT /orders/1/payment","error":"Not Found"}',
    "Fastify": '{"message":"Route PUT:/orders/1/payment not found","error":"Not Found","statusCode":404}',
    "Hapi": '{"statusCode":404,"error":"Not Found","message":"Not Found"}',
    "FastAPI": '{"detail":"Not Found"}',
    "Flask": '{"message":"The requested URL was not found on the server. If you entered the URL manually'
    ' please check your spelling and try again."}',
    "Laravel": '{"message":"The route orders/1/payment could not be found."}',
    "Symfony": '{"title":"An error occurred","status":404,"detail":"Not Found"}',
    "API Platform": '{"title":"An error occurred","detail":"No route found for \\"PUT /orders/1/payment\\""}',
    "Rails": '{"status":404,"error":"Not Found"}',
    "Phoenix": '{"errors":{"detail":"Not Found"}}',
    "ASP.NET": '{"type":"https://tools.ietf.org/html/rfc9110","title":"Not Found","status":404}',
    "ASP.NET Web API": '{"Message":"No HTTP resource was found that matches the request URI \'/x\'."}',
    "Micronaut": '{"_embedded":{"errors":[{"message":"Page Not Found"}]},"message":"Not Found"}',
    "Jersey": '{"code":404,"message":"HTTP 404 Not Found"}',
    "Javalin": '{"title":"Endpoint PUT /orders/1/payment not found","status":404}',
    "Rocket": '{"error":{"code":404,"reason":"Not Found",'
    '"description":"The requested resource could not be found."}}',
    "Kong": '{"message":"no Route matched with those values"}',
    "APISIX": '{"error_msg":"404 Route Not Found"}',
    "AWS": '{"message":"Not Found"}',
}
"""Whose 404 for a missing route is a JSON object. Some say the same of a missing order."""

NO_ORDERS = {
    "Spring": '{"status":404,"error":"Not Found","message":"Order 7 is unknown","path":"/orders/7/payment"}',
    "Nest": '{"statusCode":404,"message":"Order 7 not found","error":"Not Found"}',
    "Laravel": '{"message":"No query results for model [App\\\\Models\\\\Order] 7"}',
    "Django": '{"detail":"Not found."}',
    "FastAPI": '{"detail":"Order not found"}',
    "a validator": '{"detail":[{"loc":["path","order_id"],"msg":"no such order"}]}',
}
PROBLEM = '{"type":"about:blank","title":"Not Found","status":404,"detail":"x"}'
_ANSWERS: tuple[tuple[str, bool, dict[str, Any]], ...] = (
    ("404 and an error", True, {"status": 404, "body": '{"error":"x"}'}),
    ("404 and a message", True, {"status": 404, "body": '{"message":"User not found"}'}),
    ("404 and a detail", True, {"status": 404, "body": '{"detail":"Not found."}'}),
    ("404 and a title", True, {"status": 404, "body": '{"title":"Order is unknown"}'}),
    ("404, an object in it", True, {"status": 404, "body": '{"error":{"code":404,"text":"x"}}'}),
    ("404, an empty object", True, {"status": 404, "body": "{}"}),
    ("404, a problem", True, {"status": 404, "body": PROBLEM, "type": "application/problem+json"}),
    ("404, hal+json", True, {"status": 404, "body": MESSAGE, "type": "application/hal+json"}),
    ("404, a charset", True, {"status": 404, "body": MESSAGE, "type": "application/json;charset=UTF-8"}),
    ("404, a type in capitals", True, {"status": 404, "body": MESSAGE, "type": "Application/JSON"}),
    *(
        (f"404 as {name} for no route", False, {"status": 404, "body": body})
        for name, body in NO_ROUTES.items()
    ),
    *(
        (f"404 as {name} for no order", True, {"status": 404, "body": body})
        for name, body in NO_ORDERS.items()
    ),
    ("404, empty", False, {"status": 404}),
    ("404, empty, no type", False, {"status": 404, "type": None}),
    ("404, HTML", False, {"status": 404, "body": HTML, "type": "text/html"}),
    ("404, text", False, {"status": 404, "body": "404 page not found", "type": "text/plain"}),
    ("404, JSON called text", False, {"status": 404, "body": MESSAGE, "type": "text/plain"}),
    ("404, text/json", False, {"status": 404, "body": MESSAGE, "type": "text/json"}),
    ("404, JSON without a type", False, {"status": 404, "body": MESSAGE, "type": None}),
    ("404, HTML called JSON", False, {"status": 404, "body": HTML}),
    ("404, a list", False, {"status": 404, "body": '["x"]'}),
    ("404, a string", False, {"status": 404, "body": '"x"'}),
    ("404, null", False, {"status": 404, "body": "null"}),
    ("404, NaN in it", False, {"status": 404, "body": '{"code":NaN}'}),
    ("404 in Latin-1", False, {"status": 404, "body": '{"error":"café"}'.encode("latin-1")}),
    ("404, a byte order mark", False, {"status": 404, "body": b"\xef\xbb\xbf{}"}),
    ("410", False, {"status": 410, "body": '{"error":"x"}'}),
    ("400", False, {"status": 400, "body": '{"error":"x"}'}),
    ("204", False, {"status": 204, "type": None}),
    ("401", False, {"status": 401, "body": '{"error":"x"}'}),
    ("500", False, {"status": 500, "body": '{"error":"x"}'}),
    ("303 to an unknown", False, {"status": 303, "headers": {"Location": "/unknown"}}),
)
_UNKNOWN = [
    Variant(call, what, serves=serves, **answer)
    for call in (Call.TELL_UNKNOWN, Call.READ_UNKNOWN)
    for what, serves, answer in _ANSWERS
]
_READING = [
    _read("200 and the resource", ORDER_OR_USER, serves=True),
    _read("200, more fields", '{"id":1,"{field}":"paid","items":[],"total_price":20000.0}', serves=True),
    _read("200, the id a string", '{"id":"1","{field}":"paid"}', serves=True),
    _read("200, no id", '{"{field}":"paid"}', serves=True),
    _read("200, hal+json", ORDER_OR_USER, type="application/hal+json", serves=True),
    _read("200, a charset", ORDER_OR_USER, type="application/json; charset=utf-8", serves=True),
    _read("203", ORDER_OR_USER, 203, serves=True),
    _read("200, no status", '{"id":1}', serves=False),
    _read("200, another status", '{"{field}":"failed"}', serves=False),
    _read("200, the status in capitals", '{"{field}":"PAID"}', serves=False),
    _read("200, the status null", '{"{field}":null}', serves=False),
    _read("200, the status a number", '{"{field}":1}', serves=False),
    _read("200, the status in an object", '{"data":{"{field}":"paid"}}', serves=False),
    _read("200, a list", '[{"{field}":"paid"}]', serves=False),
    _read("200, empty", "", serves=False),
    _read("200, HTML", "<html>paid</html>", type="text/html", serves=False),
    _read("200, JSON called HTML", ORDER_OR_USER, type="text/html", serves=False),
    _read("200, broken JSON", '{"{field}":"paid"', serves=False),
    _read("204", "", 204, type=None, serves=False),
    _read("304", "", 304, type=None, serves=False),
    _read("302 to the resource", "", 302, headers=ELSEWHERE, serves=False),
    _read("401", '{"error":"x"}', 401, serves=False),
    _read("404, JSON", '{"error":"x"}', 404, serves=False),
    _read("404, HTML", HTML, 404, type="text/html", serves=False),
    _read("500", ORDER_OR_USER, 500, serves=False),
    _read(
        "200, compressed though nobody asked",
        gzip.compress(b'{"status":"paid","payment_status":"paid"}'),
        headers={"Content-Encoding": "gzip"},
        serves=True,
    ),
]

VARIANTS = (*_TELLING, *_NEVER_SENT, *_UNKNOWN, *_READING)


RESOURCE = Variant(Call.TELL, "the resource", serves=True, status=200, body=ORDER_OR_USER)
UNKNOWN = Variant(Call.READ_UNKNOWN, "unknown", serves=True, status=404, body="{}")
NO_ROUTE = Variant(Call.TELL, "no such route", serves=False, status=404, body=HTML, type="text/html")


class VariantHandler(BaseHTTPRequestHandler):
    """Answers as a neighbour (the server's `neighbour`): each id with the variant that is its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one write
    server: "VariantServer"

    def do_PUT(self) -> None:  # the standard library's name
        """Answer who tells."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_valid = told.get(self.server.neighbour.put_field) in TOLD
        self._send(self._find(self.server.neighbour.put_path, is_valid=is_valid))

    def do_GET(self) -> None:  # the same
        """Answer who asks."""
        self._send(self._find(self.server.neighbour.get_path, is_valid=True))

    def _find(self, path: str, *, is_valid: bool) -> Variant:
        elsewhere = {"/": RESOURCE, "/elsewhere": RESOURCE, "/unknown": UNKNOWN}
        found = re.fullmatch(re.sub(r"\\{.+\\}", r"(\\d+)", re.escape(path)), self.path)
        if found is None:
            return elsewhere.get(self.path, NO_ROUTE)
        if int(found[1]) < FIRST_ID:
            return RESOURCE
        variant = VARIANTS[int(found[1]) - FIRST_ID]
        return RESOURCE if variant.call is Call.NEVER_SENT and is_valid else variant

    def _send(self, variant: Variant) -> None:
        body = variant.body
        if isinstance(body, str):
            body = body.replace("{field}", self.server.neighbour.get_field).encode()
        has_body = variant.status not in (204, 304)
        self.send_response(variant.status)
        headers = {"Content-Type": variant.type, **variant.headers}
        headers["Content-Length"] = str(len(body)) if has_body else None
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if has_body else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class VariantServer(ThreadingHTTPServer):
    """A neighbour of which each order or user is a variant."""

    daemon_threads = True

    def __init__(self, neighbour: Told) -> None:
        super().__init__(("127.0.0.1", 0), VariantHandler)
        self.neighbour = neighbour


@contextmanager
def serve_variants(neighbour: Told) -> Iterator[str]:
    """Serve every variant as this neighbour; give its URL."""
    with VariantServer(neighbour) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:  # else the thread looks at a closed socket for ever
            server.shutdown()
            thread.join()
