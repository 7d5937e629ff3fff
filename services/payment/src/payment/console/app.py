"""The console as an ASGI application: who comes, where to, and what every page tells its browser."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from payment.console import closing, files, keys, notifications, payment, payments, signing_in, today
from payment.console.api import Api, Refused
from payment.console.pages import Pages
from payment.console.sessions import COOKIE, Session, Sessions, new_visitor
from payment.console.visit import Visit
from payment.console.words import INDONESIAN, LANGUAGES
from payment.core.business_day import BusinessDays
from payment.core.errors import Unavailable
from payment.core.logs import get_logger

ROOT = "/console"
LANGUAGE_COOKIE = "payment_language"
LANGUAGE_KEPT_S = 365 * 24 * 3600
FORM_TYPE = "application/x-www-form-urlencoded"
FIELDS_MAX = 64
"""More than any form has."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every page tells its browser: no script, style or frame of anybody else, and nothing is kept."""

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

READS = frozenset({"GET", "HEAD"})
REFUSALS_KEPT = 64

_log = get_logger()


class Console:
    """The pages.

    Args:
        api: what they show and do.
        sessions: who has signed in.
        days: the restaurant's.
    """

    def __init__(self, api: Api, sessions: Sessions, days: BusinessDays) -> None:
        self._api = api
        self._sessions = sessions
        self._files = files.Files(f"{ROOT}/static")
        self._pages = Pages(self._files, days)
        rooms = (today, payments, payment, notifications, closing, keys)
        self._routes = [
            Route(ROOT + path, show, methods=methods) for room in rooms for path, methods, show in room.ROUTES
        ]
        self._refused = lru_cache(REFUSALS_KEPT)(
            self._pages.refused
        )  # the busier we are, the more are needed
        self._open_routes = [
            Route(ROOT + path, show, methods=methods)
            for path, methods, show in signing_in.routes(self._sessions)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._files.has(scope["path"]) and scope["method"] in READS:
            await self._files.send(scope, receive, send)
            return
        visit = self._visit(Request(scope, receive))
        response = await self._answer(visit)
        try:
            await response(scope, receive, self._told_to_browser(send, visit))
        except Refused as refused:  # by the API, which was to answer itself
            response = self._refusal(visit, refused)
            await response(scope, receive, self._told_to_browser(send, visit))

    def refusal(
        self, scope: Scope, words: Callable[[str], str]
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """Return a page that says why a request did not get here, and what every page tells its browser.

        Args:
            scope: the request's.
            words: says it in a language, `id` or `en`.
        """
        language = _language_of(Request(scope))
        return self._refused(language, words(language)), _RAW_HEADERS

    def _visit(self, request: Request) -> Visit:
        language = _language_of(request)
        return Visit(
            request=request,
            api=self._api,
            pages=self._pages,
            session=Session(""),
            asks_for_keys=self._sessions.asks_for_keys,
            language=language,
        )

    async def _answer(self, visit: Visit) -> Response:
        """Return the answer to a request, whatever comes of it."""
        try:
            visit.session = self._sessions.read(visit.request.cookies.get(COOKIE))
            return await self._respond(visit)
        except Unavailable as unavailable:
            return _busy(visit, unavailable)
        except Refused as refused:
            return self._refusal(visit, refused)
        except HTTPException as error:
            response = visit.show("trouble.html", error.status_code, trouble=error.detail, words=None)
            response.headers.update(error.headers or {})
            return response
        except Exception as error:  # noqa: BLE001  # the last resort of every page
            _log.error("page failed: %s", visit.request.url.path, exc_info=error)
            return visit.show("trouble.html", 500, trouble="defect", words=None)

    async def _respond(self, visit: Visit) -> Response:
        request, session = visit.request, visit.session
        if _comes_from_elsewhere(request):
            visit.session = Session("")  # another cookie in its place would end the reader's session
            return visit.show("come_in.html")
        route = self._find(self._open_routes, request)
        if route is None and self._sessions.asks_for_keys and session.key is None:
            return signing_in.ask(visit)
        if route is None:
            route = self._find(self._routes, request)
        if route is None and request.method in READS and request.scope["path"].endswith("/"):
            return visit.go_to(request.scope["path"].rstrip("/"))
        if route is None:
            raise HTTPException(404, "nowhere")
        if request.method not in READS:
            visit.form = await _read_form(request)
            if not session.sent(visit.form.get("token", "")):
                raise HTTPException(403, "stale")
        response: Response = await route.endpoint(visit)
        return response

    def _find(self, routes: list[Route], request: Request) -> Route | None:
        """Return the route of a request, None if none has its path.

        Raises:
            HTTPException: 405, its path has other methods.
        """
        allowed: set[str] = set()
        for route in routes:
            match, found = route.matches(request.scope)
            if match is Match.FULL:
                request.scope["path_params"] = found["path_params"]
                return route
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        if allowed:
            raise HTTPException(405, "nowhere", headers={"Allow": ", ".join(sorted(allowed))})
        return None

    def _refusal(self, visit: Visit, refused: Refused) -> Response:
        if refused.status == HTTPStatus.UNAUTHORIZED:  # the key has ended since this request began
            visit.session = new_visitor(has_ended=True)
            return signing_in.ask(visit)
        if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return _busy(visit, Unavailable())
        kind = {403: "no right", 404: "not found", 500: "defect"}.get(refused.status, "refused")
        return visit.show("trouble.html", refused.status, trouble=kind, words=refused.words)

    def _told_to_browser(self, send: Send, visit: Visit) -> Send:
        """Return what sends an answer, with what every page tells its browser."""
        set_cookies = Response()
        secure = _is_secure(visit.request)
        if visit.session.is_new:
            set_cookies.set_cookie(
                COOKIE,
                visit.session.cookie,
                max_age=int(self._sessions.lasts_s),
                path=ROOT,
                secure=secure,
                httponly=True,
                samesite="strict",
            )
        if visit.request.query_params.get("lang") == visit.language:
            set_cookies.set_cookie(
                LANGUAGE_COOKIE,
                visit.language,
                max_age=LANGUAGE_KEPT_S,
                path=ROOT,
                secure=secure,
                httponly=True,
                samesite="lax",
            )
        cookies = [header for header in set_cookies.raw_headers if header[0] == b"set-cookie"]
        names = {name for name, _ in _RAW_HEADERS}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [header for header in message["headers"] if header[0] not in names]
                message["headers"] = [*kept, *_RAW_HEADERS, *cookies]
            await send(message)

        return send_on


def _language_of(request: Request) -> str:
    """Return the language that the reader asks for, or asked for before; else Indonesian."""
    asked, kept = request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)
    return next((each for each in (asked, kept) if each in LANGUAGES), None) or INDONESIAN


def _comes_from_elsewhere(request: Request) -> bool:
    """Say whether another site's page has led here, so that the browser has kept its cookie to itself."""
    return (
        request.method in READS
        and request.headers.get("sec-fetch-site") == "cross-site"
        and COOKIE not in request.cookies
    )


def _busy(visit: Visit, unavailable: Unavailable) -> Response:
    response = visit.show("trouble.html", unavailable.status, trouble="busy", words=None)
    response.headers.update(unavailable.headers)
    return response


def _is_secure(request: Request) -> bool:
    """Say whether the browser speaks https: to us, or to the proxy before us."""
    said = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    forwarded = re.search(r"proto=\"?https\b", request.headers.get("forwarded", ""), re.IGNORECASE)
    return "https" in (request.scope["scheme"], said) or forwarded is not None


async def _read_form(request: Request) -> Mapping[str, str]:
    """Return what a form says, each field once.

    Raises:
        HTTPException: it is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise HTTPException(415, "no form")
    text = (await request.body()).decode(errors="replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        raise HTTPException(400, "no form") from None
