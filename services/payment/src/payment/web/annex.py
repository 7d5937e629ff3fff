"""The way to the console, for people who come with a browser: pages, not operations of the API."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payment.web.bodies import BodyReader
from payment.web.browsers import READS
from payment.web.in_scope import OPERATION, ROUTE
from payment.web.pages import CONSOLE, Pages, is_page
from payment.web.replies import FOR_BROWSERS

DOCS = "/docs"


class Annex:
    """Leads to the console what is for it, with its body, and everything else on; `/` is its front door.

    Args:
        app: the API.
        console: the console; None if there is none.
        body_reader: reads bodies.
    """

    def __init__(self, app: ASGIApp, *, console: Pages | None, body_reader: BodyReader) -> None:
        self._app = app
        self._console = console
        self._body_reader = body_reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to whom it is for."""
        path = scope.get("path", "")
        if path == "/" and scope["method"] in READS:
            await _lead_to(CONSOLE if self._console else DOCS, send)
        elif self._console and is_page(path):
            scope[OPERATION], scope[ROUTE] = "console", CONSOLE
            if scope["method"] not in READS:
                receive = _of_body(await self._body_reader.read(receive, scope), receive)
            await self._console(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _of_body(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body that was read, and after it whatever else comes."""
    given = False

    async def receive_on() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_on


async def _lead_to(path: str, send: Send) -> None:
    headers = [(b"location", path.encode()), (b"content-length", b"0"), *FOR_BROWSERS]
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
