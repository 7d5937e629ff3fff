"""Every error becomes one answer here: JSON, in the caller's language, RFC 9457 on request."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from payment.core.errors import (
    HttpRefused,
    MethodNotAllowed,
    PaymentError,
    RouteNotFound,
    Unavailable,
    Unexpected,
)
from payment.web.messages import choose_language, words_of

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
PATH_MAX_CHARS = 200
ACCEPT_MAX_CHARS = 1024
ALWAYS_ANSWERED = ("/healthz", "/readyz")
"""What operators ask: also while too many others do, by whatever name, and with parameters against caches."""

FOR_BROWSERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""What every answer of the API says to a browser that comes to show it, and to caches."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status code, body, and headers beside Content-Type and Content-Length."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: bytes = JSON.encode()

    @classmethod
    def of_json(cls, status: int, body: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> "Reply":
        """Return an answer whose body is this value as JSON."""
        return cls.of_text(status, json.dumps(body, ensure_ascii=False, separators=(",", ":")), headers)

    @classmethod
    def of_text(cls, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> "Reply":
        """Return an answer whose body is this JSON text."""
        return cls(status, text.encode(), list(headers))

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return all its headers."""
        return [
            (b"content-type", self.content_type),
            (b"content-length", b"%d" % len(self.body)),
            *FOR_BROWSERS,
            *self.headers,
        ]

    async def send(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.head()})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is made while it is sent, as fast as the caller takes it."""

    chunks: AsyncIterator[str]
    content_type: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send, receive: Receive, *, head_only: bool) -> None:
        """Send it, until the caller has all of it or goes away.

        An error on the way breaks the connection off, so that a part is not taken for the whole (by HTTP/1.1;
        HTTP/1.0 has no other end).
        """
        headers = [(b"content-type", self.content_type), *FOR_BROWSERS, *self.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        has_left = asyncio.create_task(_left(receive))
        try:
            if not head_only:
                async for chunk in self.chunks:
                    if has_left.done():
                        return
                    await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            has_left.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def reply_to(error: PaymentError, *, accept: str | None = None, accept_language: str | None = None) -> Reply:
    """Return the answer that tells the caller of an error.

    Args:
        error: what went wrong.
        accept: the caller's `Accept` header; `application/problem+json` gives RFC 9457.
        accept_language: the caller's `Accept-Language` header.
    """
    language = choose_language(accept_language)
    words = words_of(error, language)
    content_type = best_type(accept, JSON, PROBLEM_JSON)
    body: dict[str, object] = {"error": words}
    if content_type == PROBLEM_JSON:
        body = {
            "type": f"urn:payment:problem:{error.code}",
            "title": HTTPStatus(error.status).phrase,
            "status": error.status,
            "detail": words,
        }
        if error.field:
            body["field"] = error.field
    headers = {
        "Content-Language": language,
        "Vary": "Accept, Accept-Language",
        **error.headers,
    }
    return Reply(
        error.status,
        # a name that the caller gave a member may hold half of a surrogate pair
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"),
        [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        content_type.encode(),
    )


def best_type(accept: str | None, *offered: str) -> str:
    """Return the media type that an `Accept` header prefers; the first for whoever takes any, or none."""
    if accept and len(accept) > ACCEPT_MAX_CHARS:
        accept = None  # parsing takes time that grows with the square of its length
    wanted = parse_accept_header(accept, MIMEAccept)
    return str(wanted.best_match(offered, default=offered[0]))


class Problems:
    """The outermost middleware: whatever is raised within becomes an answer in the agreed shape.

    Args:
        app: what is within.
        requests_max: the most requests in flight; one more is refused with `Unavailable`.
    """

    def __init__(self, app: ASGIApp, *, requests_max: int) -> None:
        self._app = app
        self._requests_max = requests_max
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer what it raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        if self._in_flight >= self._requests_max and scope["path"] not in ALWAYS_ANSWERED:
            await self._reply_to(Unavailable(), scope).send(send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, note_start)
        except asyncio.CancelledError:  # the server ends and waits no longer
            if not has_started:
                await self._reply_to(Unavailable(), scope).send(send)
            raise
        except Exception as error:  # the last resort of every request
            if has_started:
                raise
            await self._reply_to(error, scope).send(send)
        finally:
            self._in_flight -= 1

    def _reply_to(self, error: Exception, scope: Scope) -> Reply:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return reply_to(
            self._domain_error(error, scope),
            accept=headers.get(b"accept"),
            accept_language=headers.get(b"accept-language"),
        )

    def _domain_error(self, error: Exception, scope: Scope) -> PaymentError:
        if isinstance(error, PaymentError):
            return error
        if isinstance(error, HTTPException):
            return self._of_framework(error, scope)
        _log.error("request failed: %s %s", scope["method"], scope["path"], exc_info=error)
        return Unexpected()

    def _of_framework(self, error: HTTPException, scope: Scope) -> PaymentError:
        """Return our name for what Connexion or Starlette refused."""
        if error.status_code == HTTPStatus.NOT_FOUND:
            return RouteNotFound(path=scope["path"][:PATH_MAX_CHARS])
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "GET, HEAD")
            return MethodNotAllowed(method=scope["method"], allowed=allowed)
        return HttpRefused(status=error.status_code, reason=str(error.detail))
