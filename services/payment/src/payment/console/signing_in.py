"""Signing in with an API key, and out again. The key is in the form's body only, never in an address."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlencode, urlsplit

from starlette.responses import Response

from payment.console.sessions import Sessions, new_visitor
from payment.console.visit import Visit

HOME = "/console"
SIGN_IN = "/console/sign-in"
_OURS = re.compile(r"/console(/[A-Za-z0-9._/-]*)?(\?[A-Za-z0-9._~%&=+-]*)?", re.ASCII)


def routes(sessions: Sessions) -> tuple[tuple[str, list[str], Callable[[Visit], Awaitable[Response]]], ...]:
    """Return what everybody may reach: paths, methods, and what shows them."""
    return (
        ("/sign-in", ["GET"], show_sign_in),
        ("/sign-in", ["POST"], partial(sign_in, sessions)),
        ("/sign-out", ["POST"], sign_out),
    )


def ask(visit: Visit) -> Response:
    """Return what leads somebody to sign in, and then back to where he was."""
    request = visit.request
    if "hx-request" in request.headers:  # a part of a page that is open; the whole page has to go
        return Response(status_code=401, headers={"HX-Redirect": _to_sign_in(visit, _page_of(visit))})
    back = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return visit.go_to(_to_sign_in(visit, back if request.method == "GET" else HOME))


def _page_of(visit: Visit) -> str:
    """Return the page whose part is asked for."""
    page = urlsplit(visit.request.headers.get("hx-current-url", HOME))
    return f"{page.path}?{page.query}" if page.query else page.path


def _to_sign_in(visit: Visit, back: str) -> str:
    """Return where to sign in; from there it goes on to another page."""
    query = {} if back == HOME else {"back": back}
    if visit.session.has_ended:
        query["ended"] = "yes"
    return f"{SIGN_IN}?{urlencode(query)}" if query else SIGN_IN


async def show_sign_in(visit: Visit) -> Response:
    """GET /console/sign-in."""
    if visit.session.key or not visit.asks_for_keys:
        return visit.go_to(_back(visit.query.get("back", "")))
    return _form(visit, visit.query.get("back", ""))


async def sign_in(sessions: Sessions, visit: Visit) -> Response:
    """POST /console/sign-in: a session for whoever gives a good key."""
    back = visit.form.get("back", "")
    if not visit.asks_for_keys:
        return visit.go_to(_back(back))
    session = await sessions.sign_in(visit.form.get("key", "").strip())
    if session is None:
        return _form(visit, back, 401, is_refused=True)
    visit.session = session
    return visit.go_to(_back(back))


async def sign_out(visit: Visit) -> Response:
    """POST /console/sign-out: this browser forgets the session."""
    visit.session = new_visitor()
    return visit.go_to(SIGN_IN if visit.asks_for_keys else HOME)


def _form(visit: Visit, back: str, status: int = 200, *, is_refused: bool = False) -> Response:
    return visit.show("sign_in.html", status, back=back, is_refused=is_refused)


def _back(path: str) -> str:
    """Return the page to go on to: one of ours, whatever the form says."""
    return path if _OURS.fullmatch(path) and not path.startswith(SIGN_IN) else HOME
