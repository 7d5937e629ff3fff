"""The server process: uvicorn around the app, its worker beside it, one orderly end."""

import asyncio
import errno
import gc
import os
import select
import signal
import socket
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import HANDLED_SIGNALS, ServerState

from payment.app import create_app
from payment.database import open_current
from payment.errors import BodyTooSlow, HeadersTooLarge, HttpInvalid, PaymentError
from payment.logs import get_logger
from payment.payments import Ledger
from payment.problems import reply_to
from payment.settings import Settings
from payment.worker import Worker

FINISH_REQUESTS_S = 5
FINISH_PAYMENTS_S = 3.0
"""How long an ending server has for the payments that have come; those that still wait are answered 503."""

LAST_REQUEST_S = 1.0
"""How long an ending server waits for the next request on a connection that is open."""

HOP_BY_HOP = (b"connection", b"upgrade", b"http2-settings")

_log = get_logger()


class CannotListen(Exception):
    """The address cannot be had."""


class PortInUse(CannotListen):
    """Something else listens where we should."""


class Corked:
    """A transport that sends what is written in one turn of the event loop at once: head and body."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send this soon."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._unsent and not self._transport.is_closing():  # the caller may have gone in this very turn
            self._transport.write(b"".join(self._unsent))
        self._unsent = []


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with our limits, whose refusals have our shape too.

    Args:
        headers_max_bytes: the largest request line and headers together.
        timeout_s: the longest time that they may take to arrive.
    """

    def __init__(self, *args: Any, headers_max_bytes: int, timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_max_bytes = headers_max_bytes
        self._timeout_s = timeout_s
        self._head_bytes = 0
        self._is_in_head = True
        self._head_timer: TimerHandle | None = None
        self._is_ending = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._expect_head()
        if isinstance(self.server_state, State) and self.server_state.is_ending:
            self.shutdown()  # it was in the queue

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that grows too large or, by the timer, takes too long."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._decline(upgrade, data)
        except HttpParserError:
            self._refuse(HttpInvalid())
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._headers_max_bytes:
                self._refuse(HeadersTooLarge(limit=self._headers_max_bytes))
            if self._head_timer is None:
                self._expect_head()

    def _decline(self, upgrade: HttpParserUpgrade, data: bytes) -> None:
        """Read a request that offers another protocol as if it did not (RFC 9110, 7.8).

        Every Java HttpClient offers h2c; the parser takes what follows such a head for the other protocol.
        """
        if self.parser.get_method() == b"CONNECT":
            self._refuse(HttpInvalid())
            return
        kept = [header for header in self.headers if header[0] not in HOP_BY_HOP]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append((b"connection", b"close"))
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        head += [b"%s: %s" % header for header in kept]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        rest: int = upgrade.args[0]
        self.data_received(b"\r\n".join([*head, b"", data[rest:]]))

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        super().on_message_begin()
        # only a request ends the wait for one: not empty lines, nor the body of what has its answer
        self._unset_keepalive_if_required()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        if self.parser.should_upgrade():
            return
        self._is_in_head = False
        if self._head_timer is not None:
            self._head_arrived()
        if sum(len(name) + len(value) for name, value in self.headers) > self._headers_max_bytes:
            self._refuse(HeadersTooLarge(limit=self._headers_max_bytes))
            return
        if not self.url.startswith(b"/"):
            self._take_host_of_target()
        self._unset_keepalive_if_required()  # the answer before it may have come in the middle of this head
        super().on_headers_complete()
        if self.parser.get_http_version() < "1.1":
            answer_without_chunks(self.cycle)
        if self._is_ending:
            self.cycle.keep_alive = False

    def _take_host_of_target(self) -> None:
        """Let the host of `GET http://host/path` go before the header's (RFC 9112, 3.2.2)."""
        target = parse_url(self.url)
        if target.host:
            host = b"[%s]" % target.host if b":" in target.host else target.host
            port = b":%d" % target.port if target.port else b""
            kept = [header for header in self.headers if header[0] != b"host"]
            self.headers[:] = [*kept, (b"host", host + port)]  # the very list that the application gets

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        if self.parser.should_upgrade() or self.transport.is_closing():
            return
        super().on_message_complete()

    def shutdown(self) -> None:
        """Let a caller that is between two requests send one more, whose answer says that it is the last.

        uvicorn closes such a connection at once, just as the next request may be on its way.
        """
        self._is_ending = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
        else:
            self.loop.call_later(LAST_REQUEST_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()

    def _expect_head(self) -> None:
        refusal = BodyTooSlow(timeout_s=self._timeout_s)
        self._head_timer = self.loop.call_later(self._timeout_s, self._refuse, refusal)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: PaymentError) -> None:
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type forgets the None before a request
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or not cycle.more_body or self.pipeline:
                self.transport.close()  # an answer to an earlier request is on its way: say nothing into it
                return
            cycle.disconnected = True  # it is this request's own body that is refused
        reply = reply_to(error)
        headers = [header for header in reply.head() if header[0] != b"connection"]
        headers.append((b"connection", b"close"))
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body]))
        self.transport.close()


def answer_without_chunks(cycle: RequestResponseCycle) -> None:
    """Have an answer of unknown length end with the connection: HTTP/1.0 knows no chunks (RFC 9112, 6.1)."""

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":  # each part is as long as uvicorn expects
            cycle.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(cycle, message)

    cycle.keep_alive = False
    cycle.chunked_encoding = False
    cycle.send = send  # type: ignore[method-assign]  # uvicorn makes the cycle, and no other kind


class State(ServerState):
    """uvicorn's, and whether the end has begun."""

    is_ending = False


class Server(uvicorn.Server):
    """uvicorn's server, that listens last and ends in order.

    Args:
        config: uvicorn's.
        listener: the socket, bound.
        listening: called once callers are welcome.
        ending: called at the first sign of the end, from the signal's handler.
        too_late: called FINISH_PAYMENTS_S later, before uvicorn gives up what has no answer yet.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        listener: socket.socket,
        listening: Callable[[], None],
        ending: Callable[[], None],
        too_late: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.server_state = self._state = State()
        self._listener = listener
        self._listening = listening
        self._ending = ending
        self._too_late = too_late

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch the signals as uvicorn does, but do not raise them again: an orderly end exits 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end: SIGTERM or Ctrl-C."""
        is_first = not self.should_exit
        super().handle_exit(sig, frame)
        if is_first:  # another one may interrupt this, even where it holds a lock
            self._ending()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does: the application, then the listener.

        Raises:
            PortInUse: another process, which had bound the address too, was faster.
        """
        host, port = self._listener.getsockname()[:2]
        await super().startup(sockets)
        if self._listener.fileno() == -1:  # uvloop closes a socket that it cannot listen on, and keeps silent
            await self.lifespan.shutdown()
            raise PortInUse(f"{host}:{port}: {os.strerror(errno.EADDRINUSE)}")
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does, but let no payment wait for that, and take what is in the listener's queue.

        The kernel resets the connections that are still there when the listener is closed.
        """
        asyncio.get_running_loop().call_later(FINISH_PAYMENTS_S, self._too_late)
        self._state.is_ending = True
        for _ in range(self.config.backlog):
            if not select.select([self._listener], [], [], 0)[0]:
                break
            await asyncio.sleep(0)  # one is accepted each turn
        for server in self.servers:
            server.close()  # at once: what comes between the look above and this is reset
        await super().shutdown(sockets)


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a socket that has the address, and does not listen yet.

    Args:
        host: the address.
        port: 0 for any free one.
        reuse_port: share the port with other processes that say so too; the kernel spreads connections.

    Raises:
        CannotListen: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        kind = PortInUse if error.errno == errno.EADDRINUSE else CannotListen
        raise kind(f"{host}:{port}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
    return listener


def serve(settings: Settings, *, with_worker: bool) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Args:
        settings: everything.
        with_worker: whether this process also tells Order and User.

    Raises:
        CannotListen: the address cannot be had.
    """
    listener = bind(settings.host, settings.port, reuse_port=settings.reuse_port)
    database = open_current(settings.database_url, settings.database_listen_url)
    worker = Worker(database, settings) if with_worker else None
    ledger = Ledger(
        database,
        batch_max=settings.batch_max,
        queue_max=settings.requests_max,
        booked=worker.wake if worker else lambda: None,
        time_zone=settings.time_zone,
    )
    host, port = listener.getsockname()[:2]

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        if worker:
            worker.start()
        yield
        await ledger.close()
        if worker:
            await asyncio.to_thread(worker.stop)
        await database.aclose()
        _log.info("stopped")

    config = uvicorn.Config(
        create_app(settings, ledger, running),
        loop="uvloop",
        http=partial(  # type: ignore[arg-type]  # any factory of protocols will do
            Protocol,
            headers_max_bytes=settings.headers_max_bytes,
            timeout_s=settings.request_timeout_s,
        ),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=FINISH_REQUESTS_S,
    )
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = Server(
        config,
        listener=listener,
        listening=partial(_log.info, "listening", url=url, worker=with_worker),
        ending=worker.begin_stop if worker else lambda: None,
        too_late=ledger.end,
    )
    gc.freeze()  # what a start has made stays; no collection need look at it again
    server.run(sockets=[listener])
