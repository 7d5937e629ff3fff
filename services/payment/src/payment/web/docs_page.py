"""Swagger UI at /docs, and the description at /openapi.json: what they tell a browser that shows them."""

import re
from base64 import b64encode
from hashlib import sha256

from connexion.middleware.swagger_ui import SwaggerUIMiddleware
from starlette.types import Message, Receive, Scope, Send

from payment.web.replies import FOR_BROWSERS

PAGES = frozenset({"/docs/", "/docs/index.html"})


class DocsPage(SwaggerUIMiddleware):
    """Swagger UI, off the way of business: its router is not asked about any other path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve /docs and /openapi.json, pass everything else on."""
        if scope["type"] != "http" or not scope["path"].startswith(("/docs", "/openapi.")):
            await self.app(scope, receive, send)
            return
        # a wrong Range would be refused in plain text; these files are small
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        scope = {**scope, "headers": headers}
        await super().__call__(scope, receive, send_for_browsers(send, scope["path"]))


def send_for_browsers(send: Send, path: str) -> Send:
    """Return what sends an answer of /docs or /openapi.*, with what browsers are told of it."""
    headers = dict(FOR_BROWSERS)
    if path.startswith("/docs"):
        headers[b"cache-control"] = b"no-cache"  # asked for again, but sent only if it has changed
    start: Message | None = None

    async def send_(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message  # held back, as a page's policy depends on the page
            return
        if start is not None:
            if path in PAGES:
                headers[b"content-security-policy"] = policy_of(message["body"].decode())
            await send({**start, "headers": [*start["headers"], *headers.items()]})
            start = None
        await send(message)

    return send_


def policy_of(page: str) -> bytes:
    """Return the Content-Security-Policy that lets a page do what it does, and reach no other host.

    Its inline script and style are allowed by their hashes; nothing of a caller's may stand in such a page.
    """
    allowed = {"script": "'self'", "style": "'self'"}
    for kind, text in re.findall(r"<(script|style)>(.*?)</\1>", page, re.DOTALL):
        allowed[kind] += f" 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).encode()
