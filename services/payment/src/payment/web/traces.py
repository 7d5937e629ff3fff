"""The span of a request. This layer is there only if traces are exported."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payment.core.tracing import Kind, Span, Tracer
from payment.web.headers import callers_trace, values_of
from payment.web.in_scope import ROUTE, TRACE
from payment.web.problems import NEVER_IN_THE_WAY

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Other methods share one name: a caller may make up any."""


class Traces:
    """The layer around all others: a span for each request, within the caller's trace; none for probes.

    Args:
        app: what is within.
        tracer: begins the spans.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its span ends with its answer."""
        if scope["type"] != "http" or scope["path"] in NEVER_IN_THE_WAY:
            await self._app(scope, receive, send)
            return
        is_known = scope["method"] in METHODS
        named = scope["method"] if is_known else "HTTP"
        facts = {
            "http.request.method": named if is_known else "_OTHER",
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        parent = callers_trace(values_of(scope["headers"], b"traceparent"))
        span = self._tracer.begin(named, Kind.SERVER, parent, facts)
        scope[TRACE] = span.traceparent
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except BaseException as error:
            _end(span, named, scope, status, error=type(error).__name__)
            raise
        failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        _end(span, named, scope, status, error=str(status) if failed else None)


def _end(span: Span, named: str, scope: Scope, status: int, *, error: str | None) -> None:
    facts: dict[str, str | int] = {}
    if status:
        facts["http.response.status_code"] = status
    route: str | None = scope.get(ROUTE)
    if route is not None:
        facts["http.route"] = route
        named = f"{named} {route}"
        if status and status < HTTPStatus.BAD_REQUEST:  # else it may hold whatever a caller mistook for an id
            facts["url.path"] = scope["path"]
    span.end(facts, name=named, error=error)
