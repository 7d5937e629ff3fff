"""What the Order and the User stub share: the store, the record, the fault switches, the server.

This file is byte-identical in services/stubs/order and services/stubs/user, so that each folder
stands alone (its own image) and neither can drift: change one, copy it to the other.
"""
# ruff: noqa: T201, TID251 - a program of its own: it prints its one line and reads its settings

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import responses
from io import BytesIO
from socketserver import TCPServer
from threading import Event, Lock
from typing import Any, NoReturn, TypedDict

from flask import Flask, Response, request
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

STATUSES = ("pending", "paid", "failed")
BODY_LIMIT_BYTES = 64 * 1024
WAIT_LIMIT_S = 3600
RECORD_KEEPS = 100_000  # at least so many of the newest PUTs stay on record

Environ = dict[str, Any]


class Received(TypedDict):
    """One PUT as it arrived; `applied` turns true when its status is in the store."""

    id: int
    status: str | None
    at: float
    idempotency_key: str | None
    traceparent: str | None
    applied: bool


class Fault(TypedDict, total=False):
    """One switch as posted: one of the first four fields, and the options that go with it."""

    answer: int
    hang_s: float
    drop: str
    slow_ms: float
    retry_after_s: int
    body: str
    apply: str
    times: int
    ids: list[int]


def json_response(content: object, status: int = 200) -> Response:
    """`content` as compact JSON; the fields keep their order."""
    text = json.dumps(content, separators=(",", ":")) + "\n"
    return Response(text, status, content_type="application/json")


class DroppedConnection(Response):
    """An answer that is never sent: the connection is closed in its place."""

    def __call__(self, environ: Environ, *_: object) -> NoReturn:
        """Close the client's connection; the handler below takes the exception as its end."""
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


# --- The switches ---------------------------------------------------------------------------------


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # type(): bool is an int too


def _number(value: object, high: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= high  # type: ignore[operator]


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "answer": (lambda v: _whole(v, 200, 599), "a status from 200 to 599"),
    "hang_s": (lambda v: _number(v, WAIT_LIMIT_S), f"seconds from 0 to {WAIT_LIMIT_S}"),
    "drop": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "slow_ms": (lambda v: _number(v, WAIT_LIMIT_S * 1000), "milliseconds up to an hour"),
    "away_s": (lambda v: _number(v, WAIT_LIMIT_S), f"seconds from 0 to {WAIT_LIMIT_S}"),
    "retry_after_s": (lambda v: _whole(v, 0, 10**9), "whole seconds"),
    "body": (lambda v: isinstance(v, str), "a string"),
    "apply": (lambda v: v in ("before", "after"), '"before" or "after"'),
    "times": (lambda v: _whole(v, 1, 10**9), "a whole number from 1"),
    "ids": (
        lambda v: isinstance(v, list) and v != [] and all(_whole(i, 1, 2**53) for i in v),
        "a list of ids",
    ),
}
# Each switch and the fields of a posted body that go with it.
SWITCHES = {
    "answer": ("retry_after_s", "body", "times", "ids"),
    "hang_s": ("apply", "times", "ids"),
    "drop": ("times", "ids"),
    "slow_ms": (),
}


def refusal(body: object) -> str | None:
    """What is wrong with a body posted to /_stub/faults; None if it can be used."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    for name, value in body.items():
        if name not in CHECKS:
            return f"unknown field {name}"
        check, wanted = CHECKS[name]
        if not check(value):
            return f"{name} must be {wanted}"
    if not any(name in body for name in (*SWITCHES, "away_s")):
        return f"name a fault: {', '.join(SWITCHES)} or away_s"
    return None


class Faults:
    """The switches in force. They are independent: each counts its own `times`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._on: dict[str, Fault] = {}
        self._released = Event()

    def add(self, body: dict[str, Any]) -> None:
        """Turn on each switch that a body without `refusal` names; the others stay as they are."""
        with self._lock:
            for name, options in SWITCHES.items():
                if name in body:
                    fields = {key: body[key] for key in (name, *options) if key in body}
                    self._on[name] = Fault(**fields)  # type: ignore[typeddict-item]

    def clear(self) -> None:
        """Turn all off and let every waiting request go on at once."""
        with self._lock:
            self._on.clear()
            self._released.set()
            self._released = Event()

    def shown(self) -> list[Fault]:
        """The switches in force, `times` being what is left; each can be posted again."""
        with self._lock:
            return [fault.copy() for fault in self._on.values()]

    def take(self, target_id: int) -> tuple[Fault, Event]:
        """What the PUT for this id meets, in one Fault, and the event that ends its waiting.

        Counts one off the `times` of each switch it meets.
        """
        met = Fault()
        with self._lock:
            for name, fault in list(self._on.items()):
                if target_id not in fault.get("ids", (target_id,)):
                    continue
                met.update(fault)
                if "times" in fault:
                    fault["times"] -= 1
                    if fault["times"] == 0:
                        del self._on[name]
            return met, self._released


def fault_answer(fault: Fault) -> Response:
    """The answer that a Fault with `answer` asks for."""
    status = fault["answer"]
    text = fault.get("body", json.dumps({"error": responses.get(status, "fault switch")}))
    kind = "application/json" if text.startswith(("{", "[")) else "text/html; charset=utf-8"
    response = Response(text, status, content_type=kind)
    if "retry_after_s" in fault:
        response.headers["Retry-After"] = str(fault["retry_after_s"])
    if status // 100 == 3:
        response.headers["Location"] = request.path  # a client that follows it is told the truth
    return response


# --- The service ----------------------------------------------------------------------------------


class Stub:
    """The state behind one stub, and what its routes do with it.

    `count`: ids 1 to count exist. `unknown`: the error of a 404. `show`: makes the resource out of
    an id and its payment status. Nothing is stored for an id before its first PUT.
    """

    def __init__(self, count: int, unknown: str, show: Callable[[int, str], dict[str, object]]) -> None:
        self._count = count
        self._unknown = unknown
        self._show = show
        self._faults = Faults()
        self._lock = Lock()
        self._states: dict[int, str] = {}
        self._received: list[Received] = []
        self._forgotten = 0

    def get(self, target_id: int, unknown: dict[str, str] | None = None) -> Response:
        """200 and the resource, or 404 with the usual error, or with what is given as `unknown`."""
        if not 1 <= target_id <= self._count:
            return json_response(unknown or {"error": self._unknown}, 404)
        return json_response(self._show(target_id, self._states.get(target_id, "pending")))

    def put(self, target_id: int, field: str) -> Response:
        """Record the request, meet the switches in force, apply the status that `field` holds."""
        body = request.get_json(silent=True)
        status = body.get(field) if isinstance(body, dict) else None
        entry = self._record(target_id, status if isinstance(status, str) else None)
        fault, released = self._faults.take(target_id)
        if not fault:
            return self._apply(entry, field)

        released.wait(fault.get("slow_ms", 0) / 1000)
        response: Response | None = None
        applies = "answer" not in fault and fault.get("drop") != "before"
        if applies and fault.get("apply", "before") == "before":
            response = self._apply(entry, field)
        released.wait(fault.get("hang_s", 0))
        if applies and response is None:
            response = self._apply(entry, field)
        if "drop" in fault:
            return DroppedConnection()
        return response or fault_answer(fault)

    def _record(self, target_id: int, status: str | None) -> Received:
        entry = Received(
            id=target_id,
            status=status,
            at=time.time(),
            idempotency_key=request.headers.get("Idempotency-Key"),
            traceparent=request.headers.get("traceparent"),
            applied=False,
        )
        with self._lock:
            if len(self._received) >= 2 * RECORD_KEEPS:
                del self._received[:RECORD_KEEPS]
                self._forgotten += RECORD_KEEPS
            self._received.append(entry)
        return entry

    def _apply(self, entry: Received, field: str) -> Response:
        target_id, status = entry["id"], entry["status"]
        if status not in STATUSES:
            return json_response({"error": f"{field} harus pending, paid, atau failed"}, 400)
        if not 1 <= target_id <= self._count:
            return json_response({"error": self._unknown}, 404)
        with self._lock:
            self._states[target_id] = status
            entry["applied"] = True
        return json_response(self._show(target_id, status))

    def add_routes(self, app: Flask) -> None:
        """Add /health and /_stub/…, which no switch touches (`away_s` excepted)."""
        app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT_BYTES
        app.get("/health")(self.get_health)
        app.get("/_stub/received")(self.get_received)
        app.delete("/_stub/received")(self.delete_received)
        app.get("/_stub/states")(self.get_states)
        app.get("/_stub/faults")(self.get_faults)
        app.post("/_stub/faults")(self.post_faults)
        app.delete("/_stub/faults")(self.delete_faults)

    def get_health(self) -> Response:
        """200 while the process serves."""
        return json_response({"status": "ok"})

    def get_received(self) -> Response:
        """The PUTs in order of arrival, from index ?since= on, those of ?id= only.

        `next` is the index of the next to come, so what to ask for as `since` to see only new ones.
        """
        since = request.args.get("since", 0, type=int)
        only_id = request.args.get("id", type=int)
        with self._lock:
            after = self._forgotten + len(self._received)
            entries = [e.copy() for e in self._received[max(0, since - self._forgotten) :]]
        if only_id is not None:
            entries = [entry for entry in entries if entry["id"] == only_id]
        return json_response({"received": entries, "next": after})

    def delete_received(self) -> Response:
        """Forget the record; the states stay."""
        with self._lock:
            self._received.clear()
            self._forgotten = 0
        return json_response({"received": [], "next": 0})

    def get_states(self) -> Response:
        """The status of every id that was ever told one."""
        with self._lock:
            states = self._states.copy()
        return json_response({"states": states})

    def get_faults(self) -> Response:
        """The switches in force."""
        return json_response({"faults": self._faults.shown()})

    def post_faults(self) -> Response:
        """Turn on what the body names; 200 with the switches now in force, or 400."""
        body: Any = request.get_json(silent=True)
        wrong = refusal(body)
        if wrong is not None:
            return json_response({"error": wrong}, 400)
        self._faults.add(body)
        if "away_s" not in body:
            return self.get_faults()
        server, connection = request.environ["stub.server"], request.environ["werkzeug.socket"]
        server.go_away(body["away_s"], asker=connection)
        shown = [*self._faults.shown(), {"away_s": body["away_s"]}]
        response = json_response({"faults": shown})
        response.headers["Connection"] = "close"
        return response

    def delete_faults(self) -> Response:
        """Turn all switches off and let waiting requests go on."""
        self._faults.clear()
        return self.get_faults()


# --- The server -----------------------------------------------------------------------------------


class Handler(WSGIRequestHandler):
    """One connection, kept alive: many requests, each answered in one write without delay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def run_wsgi(self) -> None:
        """Answer one request.

        Werkzeug's own run_wsgi closes every connection after waiting 10 ms for leftovers of the
        body. This one reads the body first, so that what follows is the next request.
        """
        self.wfile.flush()  # a "100 Continue" that http.server has put there
        self.environ = environ = self.make_environ()
        environ["stub.server"] = self.server
        length = environ.get("CONTENT_LENGTH", "0")
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if chunked or not length.isdecimal() or int(length) > BODY_LIMIT_BYTES:
            self.close_connection = True  # Flask reads what it wants, the rest is not looked for
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):  # the client went away within its request
                self.close_connection = True
                return
            environ["wsgi.input"] = BytesIO(body)

        def start_response(
            status: str, headers: Iterable[tuple[str, str]], _exc_info: object = None
        ) -> Callable[[bytes], object]:
            code, _, phrase = status.partition(" ")
            self.send_response(int(code), phrase)
            for name, value in headers:
                self.send_header(name, value)
            return self.wfile.write

        try:
            content = self.server.app(environ, start_response)
        except ConnectionError:  # DroppedConnection
            self.close_connection = True
            return
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.writelines(content)
        self.wfile.flush()

    def finish(self) -> None:
        """End the connection, quietly also when the client has left before its answer."""
        with suppress(ConnectionError):
            super().finish()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log one answer, if VERBOSE."""
        if self.server.verbose:
            super().log_request(code, size)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Log a line, if VERBOSE."""
        if self.server.verbose:
            super().log(type, message, *args)


class Server(ThreadedWSGIServer):
    """A thread per connection; knows its connections, so that it can leave like a killed one."""

    request_queue_size = 1024

    def __init__(self, host: str, port: int, app: Flask, *, verbose: bool) -> None:
        """Listen; SystemExit(2) with one line on stderr if that cannot be."""
        self.verbose = verbose
        self.away_s = 0.0
        self._connections: set[Any] = set()
        super().__init__(host, port, app, Handler)

    def server_bind(self) -> None:
        """Bind as TCPServer does: HTTPServer would also ask DNS for a name nobody needs."""
        try:
            TCPServer.server_bind(self)
        except OSError as error:
            refuse_to_start(f"cannot listen on {self.host}:{self.port}: {error.strerror}")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection its thread."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that its thread has done with."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def go_away(self, away_s: float, asker: object) -> None:
        """Close the port and every connection but the asker's: now, before the asker's answer."""
        self.away_s = away_s
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            if connection is not asker:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def refuse_to_start(reason: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    print(reason, file=sys.stderr)
    raise SystemExit(2) from None


def setting(name: str, default: str) -> str:
    """The environment variable of this name."""
    return os.environ.get(name, default)


def int_setting(name: str, default: int, *, low: int, high: int) -> int:
    """The whole number in the environment variable of this name; nothing else starts."""
    text = setting(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        refuse_to_start(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def serve(app: Flask, name: str, default_port: int) -> NoReturn:
    """Serve on HOST and PORT until SIGTERM or Ctrl-C, which end the process at once with 0."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: os._exit(0))  # nothing to save, hanging requests included
    host = setting("HOST", "127.0.0.1")
    port = int_setting("PORT", default_port, low=0, high=65535)
    verbose = setting("VERBOSE", "0") == "1"
    server = Server(host, port, app, verbose=verbose)
    print(f"{name} stub on http://{host}:{server.port}", flush=True)
    while True:
        server.serve_forever(poll_interval=0.05)  # returns when go_away was called
        time.sleep(server.away_s)
        server = Server(host, server.port, app, verbose=verbose)
