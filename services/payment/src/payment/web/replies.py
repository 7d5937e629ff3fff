"""Answers: one that is whole, or one that is made while it is sent; and the form that the caller prefers."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field

from starlette.types import Receive, Send
from werkzeug.http import parse_accept_header, parse_options_header

from payment.core.logs import get_logger
from payment.core.record import record

JSON = "application/json"
CSV = "text/csv"
CSV_UTF_8 = b"text/csv; charset=utf-8"
OUR_PARAMETERS = {"charset": "utf-8"}
"""What is true of each answer, whether its Content-Type says so or not."""

ACCEPT_MAX_CHARS = 1024
WATCH_EVERY_S = 1.0
"""How often whoever is answered for long is looked at: may he still have this?"""

FOR_BROWSERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""What every answer of the API says to a browser that comes to show it, and to caches."""

_log = get_logger()


@record(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status code, body, and headers beside Content-Type and Content-Length."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: bytes = JSON.encode()
    for_browsers: Sequence[tuple[bytes, bytes]] = FOR_BROWSERS

    @classmethod
    def of_json(
        cls,
        status: int,
        body: object,
        headers: Sequence[tuple[bytes, bytes]] = (),
        content_type: str = JSON,
    ) -> "Reply":
        """Return an answer whose body is this value as JSON."""
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return cls(status, text.encode(), list(headers), content_type.encode())

    @classmethod
    def of_text(cls, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> "Reply":
        """Return an answer whose body is this JSON text."""
        return cls(status, text.encode(), list(headers))

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return all its headers."""
        return [
            (b"content-type", self.content_type),
            (b"content-length", b"%d" % len(self.body)),
            *self.for_browsers,
            *self.headers,
        ]

    async def send(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.head()})
        await send({"type": "http.response.body", "body": self.body})


@record(frozen=True, slots=True)
class Stream:
    """An answer whose body is made while it is sent, as fast as the caller takes it."""

    chunks: AsyncGenerator[str]
    content_type: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(
        self, send: Send, receive: Receive, *, head_only: bool, is_allowed: Callable[[], bool]
    ) -> None:
        """Send it, until the caller has all of it, goes away, or may have no more of it.

        An error on the way breaks the connection off, so that a part is not taken for the whole (by HTTP/1.1;
        HTTP/1.0 has no other end). So does the end of the caller's key.
        """
        headers = [(b"content-type", self.content_type), *FOR_BROWSERS, *self.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        has_left = asyncio.create_task(_left(receive))
        try:
            async with asyncio.timeout(None) as allowed:
                watching = asyncio.create_task(_end_unless(is_allowed, allowed))
                try:
                    if not head_only:
                        await self._send_chunks(send, has_left)
                    await send({"type": "http.response.body", "body": b""})
                finally:
                    watching.cancel()
        except TimeoutError:
            if not allowed.expired():
                raise
            _log.warning("an answer was broken off: its API key is good no more")
        finally:
            has_left.cancel()

    async def _send_chunks(self, send: Send, has_left: asyncio.Task[None]) -> None:
        """Send what is made, until it is all or the caller has left; an empty chunk only looks for that."""
        async with aclosing(self.chunks) as chunks:
            async for chunk in chunks:
                if has_left.done():
                    return
                if chunk:
                    await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end_unless(is_allowed: Callable[[], bool], allowed: asyncio.Timeout) -> None:
    """Let the time that is allowed end once the caller is allowed nothing any more."""
    while is_allowed():  # noqa: ASYNC110  # no event ends it: a key expires by itself
        await asyncio.sleep(WATCH_EVERY_S)
    allowed.reschedule(0)


def best_type(accept: str | None, *offered: str) -> str:
    """Return the media type that an `Accept` header prefers; the first for whoever takes any, or none.

    The most specific range that a type is in says how welcome it is (RFC 9110, 12.5.1); of types that are as
    welcome, the one that was asked for more specifically.
    """
    if not accept or len(accept) > ACCEPT_MAX_CHARS:  # to parse takes time as the square of its length
        return offered[0]
    ranges = [(*parse_options_header(said.lower()), quality) for said, quality in parse_accept_header(accept)]

    def welcome(media_type: str) -> tuple[float, int]:
        """Return how welcome it is, and how specific the range is that says so."""
        found = [
            (specific, quality)
            for wanted, parameters, quality in ranges
            if (specific := _specificity(media_type, wanted, parameters)) is not None
        ]
        specific, quality = max(found, default=(0, 0.0))
        return quality, specific if quality else 0

    return max(offered, key=welcome)


def _specificity(media_type: str, wanted: str, parameters: Mapping[str, str]) -> int | None:
    """Return how specific a media range is that our answer of this type is in, None if it is not in it."""
    kind = media_type.partition("/")[0]
    if any(OUR_PARAMETERS.get(name) != value for name, value in parameters.items()):
        return None
    ranges = ("*/*", f"{kind}/*", media_type)
    return ranges.index(wanted) * 2 + bool(parameters) if wanted in ranges else None
