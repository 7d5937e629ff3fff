"""The server: HTTP/1.1 whose connections stay open, and which can go away for a while and come back."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from socketserver import TCPServer
from typing import Any, NoReturn

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from stub.settings import int_setting, refuse_to_start, setting

BODY_LIMIT_BYTES = 64 * 1024


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
