"""Every error becomes one answer here: JSON, in the caller's language, RFC 9457 on request."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from functools import lru_cache, partial
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from payment.core.errors import PaymentError, Unavailable, Unexpected
from payment.core.metrics import watch_in_flight
from payment.web.http_errors import PATH_MAX_CHARS, HttpRefused, MethodNotAllowed, RouteNotFound
from payment.web.in_scope import PLACE, REQUEST_ID
from payment.web.messages import choose_language, words_of
from payment.web.pages import Pages, is_page
from payment.web.places import Place, Places
from payment.web.replies import JSON, Reply, best_type
from payment.web.request_ids import HEADER, request_id_of
from payment.web.request_log import RequestLog

PROBLEM_JSON = "application/problem+json"
HTML = b"text/html; charset=utf-8"
REFUSALS_KEPT = 256
CLOSED = 499
"""The status that a request is counted under whose caller went away before the answer, as nginx does."""

ALWAYS_ANSWERED = ("/healthz", "/readyz")
"""What operators ask: also while too many others do, by whatever name, and with parameters against caches."""

NEVER_IN_THE_WAY = (*ALWAYS_ANSWERED, "/metrics")
"""What is answered though too many requests are in flight."""

_log = logging.getLogger(__name__)


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
        body |= {name: error.facts[name] for name in error.members}
    headers = {
        "Content-Language": language,
        "Vary": "Accept, Accept-Language",
        **error.headers,
    }
    return Reply(
        error.status,
        # a name that the caller gave a member may hold half of a surrogate pair
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"),
        _raw(headers),
        content_type.encode(),
    )


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def _refusal(accept: str | None, accept_language: str | None) -> Reply:
    return reply_to(Unavailable(), accept=accept, accept_language=accept_language)


class Problems:
    """The outermost middleware: whatever is raised within becomes an answer in the agreed shape.

    Args:
        app: what is within.
        places: those that requests may have; one more is refused with `Unavailable`.
        request_log: where answers are noted.
        console: says what is wrong with a request for it; None if there is none.
    """

    def __init__(
        self, app: ASGIApp, *, places: Places, request_log: RequestLog, console: Pages | None = None
    ) -> None:
        self._app = app
        self._console = console
        self._places = places
        self._request_log = request_log
        self._refusal = lru_cache(REFUSALS_KEPT)(_refusal)  # the busier we are, the more are needed
        self._in_flight = 0  # each request counts itself in and out; all of that in the event loop
        watch_in_flight(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer what it raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 0  # of the answer, once it has begun
        place = scope[PLACE] = Place(self._places, scope["method"])
        request_id = scope[REQUEST_ID] = request_id_of(scope["headers"])
        bind_contextvars(request_id=request_id)  # the server runs each request in a context of its own

        async def send_named(message: Message) -> None:
            nonlocal status
            if not status:
                status = message["status"]
                place.answered()
                message["headers"].append((HEADER, request_id.encode()))
            await send(message)

        self._in_flight += 1
        try:
            if scope["path"] not in NEVER_IN_THE_WAY:
                place.take()
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:  # the server ends and waits no longer
            if not status:
                await self._reply_to(Unavailable(), scope).send(send_named)
            raise
        except Exception as error:  # the last resort of every request
            if status:
                raise
            await self._reply_to(error, scope).send(send_named)
        finally:
            self._in_flight -= 1
            place.leave()
            self._request_log.note(scope, status or CLOSED, began_s, time.perf_counter())

    def _reply_to(self, error: Exception, scope: Scope) -> Reply:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        accept, accept_language = headers.get(b"accept"), headers.get(b"accept-language")
        if self._console and is_page(scope["path"]):
            refused = self._domain_error(error, scope)
            page, for_browsers = self._console.refusal(scope, partial(words_of, refused))
            return Reply(refused.status, page, _raw(refused.headers), HTML, for_browsers)
        if scope[PLACE].was_refused:
            return self._refusal(accept, accept_language)
        return reply_to(self._domain_error(error, scope), accept=accept, accept_language=accept_language)

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
