"""One request of a page: who reads it, in which language, and what he asks of the API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from payment.console.api import Api, Refused
from payment.console.pages import Pages
from payment.console.sessions import Session
from payment.core.states import EventType

CHANGES = tuple(each for each in EventType if not each.startswith("key."))
"""What happens to what pages show."""

LIVE_S = 2
"""How often a page looks again that may not hear of what happens (others: `LOOK_MS` in console.js)."""

ADMIN = "admin"
"""The scope that holds all others."""


@dataclass(slots=True)
class Visit:
    """A request of somebody who may see pages.

    Attributes:
        session: his.
        language: `id` or `en`.
        form: what the form says that he sent; its token is his.
        read_up_to: the cursor of the newest event when the page was read; None if it hears of none.
    """

    request: Request
    api: Api
    pages: Pages
    session: Session
    asks_for_keys: bool
    language: str
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_up_to: str | None = None

    @property
    def query(self) -> Mapping[str, str]:
        """Return the parameters of the page, without those that are empty."""
        return {name: value for name, value in self.request.query_params.items() if value}

    def part(self, name: str) -> str:
        """Return a part of the page's path."""
        return str(self.request.path_params[name])

    def may(self, *operations: str) -> bool:
        """Say whether the API would let him call these operations."""
        if not self.asks_for_keys:
            return True
        scopes = self.session.key.scopes if self.session.key else frozenset()
        needed = {scope for each in operations for scope in self.api.needs(each)}
        return ADMIN in scopes or needed <= scopes

    async def ask(self, path: str, **query: Any) -> Any:
        """Return what the API says to GET.

        Raises:
            Refused: it refuses.
        """
        return await self._call("GET", path, query=query)

    async def do(self, method: str, path: str, body: Mapping[str, Any], *, once: str | None = None) -> Any:
        """Have the API change something; return what it says.

        Args:
            method: of the operation.
            path: of the operation.
            body: what it is told; None is what it is not told.
            once: what the form has of its own, so that it is done once however often it is sent.

        Raises:
            Refused: it refuses.
        """
        said = {name: value for name, value in body.items() if value is not None}
        return await self._call(method, path, body=said, idempotency_key=once)

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        key = self.session.key
        status, said = await self.api.call(
            self.request.scope,
            method,
            path,
            language=self.language,
            signed_in=key.id if key else None,
            **more,
        )
        if status >= HTTPStatus.BAD_REQUEST:
            raise Refused(status, said)
        return said

    def show(self, template: str, /, status: int = 200, **facts: Any) -> Response:
        """Return a page."""
        return HTMLResponse(self.pages.render(template, self, **facts), status)

    def go_to(self, path: str, **query: str) -> Response:
        """Return what leads the browser to another page after a change (so that a reload changes nothing)."""
        return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, HTTPStatus.SEE_OTHER)

    async def begin_live(self) -> None:
        """Note where the log of events ends, before a page is read; its browser hears what comes after."""
        if self.may("list_events") and "hx-request" not in self.request.headers:
            self.read_up_to = (await self.ask("/events", after="newest", limit=1))["next_cursor"]

    def live_stream(self) -> Markup:
        """Return the attributes of a page that hears of what happens; none without the right to."""
        if self.read_up_to is None:
            return Markup()
        names = " ".join(CHANGES)
        stream = f"/console/stream?{urlencode({'after': self.read_up_to})}"
        return Markup(' data-stream="{}" data-events="{}"').format(stream, names)

    def when_changed(self, every_s: int = 15) -> str:
        """Return when a part of a page looks again, for htmx: when something happened, and now and then.

        Args:
            every_s: how often it looks though it heard of nothing; who hears nothing looks more often.
        """
        return f"look, every {every_s if self.may('list_events') else LIVE_S}s"

    def pass_on(self, path: str, accept: str, **query: Any) -> Response:
        """Return what lets the API itself answer: with a file, or a stream."""
        return _PassedOn(self, path, accept, query)


class _PassedOn(Response):
    """The API's own answer."""

    def __init__(self, visit: Visit, path: str, accept: str, query: Mapping[str, Any]) -> None:
        super().__init__()
        self._visit, self._path, self._accept, self._query = visit, path, accept, query

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        key = self._visit.session.key
        await self._visit.api.pass_on(
            scope,
            receive,
            send,
            self._path,
            accept=self._accept,
            language=self._visit.language,
            signed_in=key.id if key else None,
            query=self._query,
        )
