"""A path in front of ours: a proxy shows us at `/pay/…` and takes that off; what leads back to us has it.

Within nobody knows of it: here it is put before each path that an answer tells. Stored answers have it not
either, so that they lead to the right place wherever we are shown later.
"""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payment.web.docs_page import is_docs
from payment.web.in_scope import PREFIX
from payment.web.pages import CONSOLE, is_page

_PATHS = frozenset({b"location", b"hx-redirect"})
_LEADS = re.compile(rb'(?<! value)="(?=/(?:console|docs)\b)')
_PAGE_OF = b"hx-current-url"


class Prefixed:
    """Puts the prefix before the paths of headers, cookies and the console's pages.

    Args:
        app: what is within.
        prefix: begins with a slash, and does not end with one.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._raw = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if is_page(path):
            scope = {**scope, "headers": [self._within(*header) for header in scope["headers"]]}
        start: Message | None = None

        async def send_prefixed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if not is_docs(path):  # that page knows its prefix
                    message["headers"] = [self._outside(*header) for header in message["headers"]]
                if is_page(path) and _is_html(message["headers"]):
                    start = message  # until its length is known
                    return
            elif start is not None:
                message["body"] = self._page(message["body"])
                length = (b"content-length", b"%d" % len(message["body"]))
                kept = [header for header in start["headers"] if header[0] != length[0]]
                await send({**start, "headers": [*kept, length]})
                start = None
            await send(message)

        await self._app({**scope, PREFIX: self._prefix}, receive, send_prefixed)

    def _within(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Return a header of a request as it is without the prefix."""
        is_ours = name == _PAGE_OF
        return name, value.replace(self._raw + CONSOLE.encode(), CONSOLE.encode(), 1) if is_ours else value

    def _outside(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Return a header of an answer with the prefix."""
        if name in _PATHS and value.startswith(b"/"):
            return name, self._raw + value
        if name == b"link":
            return name, value.replace(b"</", b"<%s/" % self._raw)
        if name == b"set-cookie":
            return name, value.replace(b"Path=/", b"Path=%s/" % self._raw)
        return name, value

    def _page(self, html: bytes) -> bytes:
        """Return a page with the prefix in each attribute that leads somewhere.

        What people wrote in it has its quotes escaped; what a form sends back is ours to read.
        """
        return _LEADS.sub(b'="' + self._raw, html)


def _is_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)
