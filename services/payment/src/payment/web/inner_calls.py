"""Calls of the API from within this process: the console's. They take the way of all others.

So the console has no rules of its own: its calls pass the same limits, scopes, validation and use cases, and
are in the same log. Instead of an API key they bring who has signed in (docs/decisions/0018).
"""

import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payment.web.headers import trace_in
from payment.web.in_scope import ARRIVAL, REQUEST_ID, SIGNED_IN
from payment.web.replies import JSON
from payment.web.request_ids import HEADER as REQUEST_ID_HEADER
from payment.web.specification import scopes_by_operation, scopes_of

_ARRIVED = SimpleNamespace(more_body=False)
_PROBLEM = b"application/problem+json"


class InnerCalls:
    """The API, as a page of the console calls it."""

    def __init__(self) -> None:
        # `open` sets them, once, before the first request
        self._app: ASGIApp | None = None
        self._scopes: Mapping[str, str] = {}
        self._needed: Mapping[str, Collection[str]] = {}

    def open(self, app: ASGIApp, specification: Mapping[str, Any]) -> None:
        """Let calls lead to this application.

        Args:
            app: the whole API, with all layers that a request passes.
            specification: its description.
        """
        self._app = app
        self._scopes = scopes_of(specification)
        self._needed = scopes_by_operation(specification)

    def scopes(self) -> Mapping[str, str]:
        """Return what an API key may be good for, each scope with what it is for."""
        return self._scopes

    def needs(self, operation: str) -> Collection[str]:
        """Return the scopes that an operation asks for."""
        return self._needed[operation]

    async def call(
        self,
        page: Scope,
        method: str,
        path: str,
        *,
        language: str,
        signed_in: str | None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[int, Any]:
        """Call an operation; return the status and the JSON of its answer.

        Args:
            page: the request that the call is made for.
            method: the operation's.
            path: the operation's.
            language: `id` or `en`: of errors, which are RFC 9457 problems.
            signed_in: the id of the key with which the page's reader has signed in; None where nobody has to.
            query: the parameters; None is one that is not sent.
            body: sent as JSON; None for none.
            idempotency_key: sent as `Idempotency-Key`; None for none.
        """
        text = b"" if body is None else json.dumps(body).encode()
        headers = [
            (b"accept", b"%s, %s;q=0.5" % (_PROBLEM, JSON.encode())),
            (b"accept-language", language.encode()),
        ]
        if body is not None:
            headers += [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(text))]
        if idempotency_key is not None:
            headers.append((b"idempotency-key", idempotency_key.encode()))
        scope = _inner(page, method, path, query or {}, headers, signed_in)
        status, chunks = 0, []

        async def receive() -> Message:
            return {"type": "http.request", "body": text, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                chunks.append(message.get("body", b""))

        assert self._app is not None
        await self._app(scope, receive, send)
        return status, json.loads(b"".join(chunks))

    async def pass_on(
        self,
        page: Scope,
        receive: Receive,
        send: Send,
        path: str,
        *,
        accept: str,
        language: str,
        signed_in: str | None,
        query: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        """Let an operation answer the page's request itself: a file, or a stream.

        Returns:
            the status, and the problem that it tells if it refuses: nothing was sent then.
        """
        kept = [header for header in page["headers"] if header[0] == b"last-event-id"]
        headers = [
            *kept,
            (b"accept", b"%s, %s;q=0.5" % (accept.encode(), _PROBLEM)),
            (b"accept-language", language.encode()),
        ]

        status, refusal = 0, b""

        async def send_on(message: Message) -> None:
            nonlocal status, refusal
            if message["type"] == "http.response.start":
                status = message["status"]
                # the page's request has this name too
                message["headers"] = [each for each in message["headers"] if each[0] != REQUEST_ID_HEADER]
            if status < HTTPStatus.BAD_REQUEST:
                await send(message)
            else:
                refusal += message.get("body", b"")

        assert self._app is not None
        # of the same method: the answer to a HEAD must not go on for ever
        await self._app(_inner(page, page["method"], path, query or {}, headers, signed_in), receive, send_on)
        return status, json.loads(refusal) if refusal else None


def _inner(
    page: Scope,
    method: str,
    path: str,
    query: Mapping[str, Any],
    headers: list[tuple[bytes, bytes]],
    signed_in: str | None,
) -> Scope:
    """Return the scope of a call that a page's request makes."""
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    named = [
        *(header for header in page["headers"] if header[0] == b"host"),
        (REQUEST_ID_HEADER, page[REQUEST_ID].encode()),
        (b"traceparent", trace_in(page).encode()),
    ]
    scope = {
        name: page[name]
        for name in ("type", "asgi", "http_version", "scheme", "server", "client", "root_path")
    }
    if "state" in page:
        scope["state"] = page["state"]
    scope |= {
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": asked.encode(),
        "headers": [*named, *headers],
        ARRIVAL: _ARRIVED,
    }
    if signed_in is not None:
        scope[SIGNED_IN] = signed_in
    return scope
