"""HTTP/1 by uvicorn, with our limits on a request's head, and refusals in our shape."""

import re
from asyncio import TimerHandle, Transport
from typing import Any
from urllib.parse import unquote
from weakref import proxy

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from payment.core.errors import PaymentError
from payment.web.connections import Connections
from payment.web.corked_transport import CorkedTransport
from payment.web.held_back import HeldBack
from payment.web.http_errors import BodyTooSlow, HeadersTooLarge, HeadersTooMany, HttpInvalid
from payment.web.in_scope import ARRIVAL, PLACE
from payment.web.problems import reply_to
from payment.web.request_ids import HEADER as REQUEST_ID_HEADER
from payment.web.request_ids import request_id_of
from payment.web.request_log import RequestLog

LAST_REQUEST_S = 1.0
"""How long an ending server waits for the next request on a connection that is open."""

PIPELINED_MAX = 100
"""The most requests that wait on a connection for the answers before them; one more ends it."""

UNSENT_MAX_BYTES = 16 * 1024
"""How much of a file or a stream is made beyond what the kernel takes: for nothing if nobody reads it."""

HEADERS_MAX = 100
"""The most header fields; what comes after the body counts too, and is not kept beyond that."""


class Closed(list[tuple[bytes, bytes]]):
    """The header fields of a head that is whole: what comes after the body (RFC 9112, 7.1.2) is dropped."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        """Drop it."""


VERSIONS = ("1.0", "1.1")
"""What we speak. A request line without a version is 0.9's; 2.0 begins in another way."""

HOP_BY_HOP = (b"connection", b"upgrade", b"http2-settings")


class EndingState(ServerState):
    """What uvicorn's connections share, and whether the end has begun.

    Attributes:
        is_ending: `Server.shutdown` sets it, each new connection reads it; both in the event loop.
        held_back: the connections that were refused for want of places.
    """

    is_ending = False

    def __init__(self) -> None:
        super().__init__()
        self.held_back = HeldBack()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP with our limits, whose refusals have our shape too.

    Args:
        headers_max_bytes: the largest request line and headers together.
        timeout_s: the longest time that they may take to arrive.
        write_timeout_s: the longest time that nothing of an answer may be taken.
        request_log: where refusals are noted.
        open_connections: all of this process.
    """

    def __init__(
        self,
        *args: Any,
        headers_max_bytes: int,
        timeout_s: float,
        write_timeout_s: float,
        request_log: RequestLog,
        open_connections: Connections,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._write_timeout_s = write_timeout_s
        self._request_log = request_log
        self._open_connections = open_connections
        self._headers_max_bytes = headers_max_bytes
        self._timeout_s = timeout_s
        self._head_bytes = 0
        self._is_in_head = True
        self._head_timer: TimerHandle | None = None
        self._is_ending = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        transport.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        corked: Any = CorkedTransport(transport, self.loop, write_timeout_s=self._write_timeout_s)
        super().connection_made(corked)
        self._open_connections.opened(self.transport)
        self._expect_head()
        if isinstance(self.server_state, EndingState) and self.server_state.is_ending:
            self.shutdown()  # it was in the queue

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._head_arrived()
        super().connection_lost(exc)
        corked: Any = self.transport
        corked.lost()
        self._open_connections.closed(self.transport)

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
        if refusal := self._refusal_of_head():
            self._refuse(refusal)
            return
        self._open_connections.asked(self.transport)
        if not self.url.startswith(b"/"):
            self._take_host_of_target()
        self._unset_keepalive_if_required()  # the answer before it may have come in the middle of this head
        super().on_headers_complete()
        if b"%" in self.scope["raw_path"]:
            self.scope["path"] = path_of(self.scope["raw_path"])
        self.scope[ARRIVAL] = proxy(self.cycle)  # type: ignore[literal-required]  # it has the scope itself
        self.headers = Closed(self.headers)
        if len(self.pipeline) > PIPELINED_MAX:
            self.transport.close()
            return
        if self.parser.get_http_version() < "1.1":
            answer_without_chunks(self.cycle)
        if self._is_ending:
            self.cycle.keep_alive = False

    def _refusal_of_head(self) -> PaymentError | None:
        if sum(len(name) + len(value) for name, value in self.headers) > self._headers_max_bytes:
            return HeadersTooLarge(limit=self._headers_max_bytes)
        if len(self.headers) > HEADERS_MAX:
            return HeadersTooMany(limit=HEADERS_MAX)
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        # RFC 9112, 3.2: just one; but what still speaks 1.0 may know of none
        is_wrong = version not in VERSIONS or hosts > 1 or (not hosts and version == "1.1")
        return HttpInvalid() if is_wrong else None

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

    def on_response_complete(self) -> None:
        """Go on to the next request; after a refusal for want of places not at once."""
        was_last = not self.pipeline
        super().on_response_complete()
        if not was_last or self.transport.is_closing():
            return
        self._open_connections.answered(self.transport)
        place: Any = self.cycle.scope[PLACE]  # type: ignore[literal-required]  # ours, beside ASGI's
        if place.was_refused:
            assert isinstance(self.server_state, EndingState)
            self.flow.pause_reading()
            self.server_state.held_back.add(self.loop, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

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
        self._request_log.note_refused(reply.status)
        headers = [header for header in reply.head() if header[0] != b"connection"]
        is_between = cycle is not None and cycle.response_complete and not self._is_in_head
        request_id = request_id_of(() if is_between else self.headers or ())
        headers += [(b"connection", b"close"), (REQUEST_ID_HEADER, request_id.encode())]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body]))
        self.transport.close()


def path_of(raw_path: bytes) -> str:
    """Return a path decoded, but for %2F: a slash that is none of its separators (RFC 3986, 2.2)."""
    return unquote(re.sub("%2f", "%252F", raw_path.decode("ascii"), flags=re.IGNORECASE))


def answer_without_chunks(cycle: RequestResponseCycle) -> None:
    """Have an answer of unknown length end with the connection: HTTP/1.0 knows no chunks (RFC 9112, 6.1)."""
    itself = proxy(cycle)  # which has this function

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":  # each part is as long as uvicorn expects
            itself.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(itself, message)

    cycle.keep_alive = False
    cycle.chunked_encoding = False
    cycle.send = send  # type: ignore[method-assign]  # uvicorn makes the cycle, and no other kind
