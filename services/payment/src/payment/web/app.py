"""The HTTP application: Connexion's middlewares around our endpoints."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any

from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import ConnexionMiddleware
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification
from starlette.types import ASGIApp

from payment.core.setting_rules import ANY_HOST
from payment.core.settings import OUR_OPENAPI, Settings
from payment.core.tracing import Tracer
from payment.ledger.key_ring import KeyRing
from payment.ledger.ledger import Ledger
from payment.watching.exposition import Exposition
from payment.web.annex import Annex
from payment.web.bodies import BodyReader, JsonBody
from payment.web.browsers import NoForeignPages
from payment.web.docs_page import OPTIONS, DocsPage
from payment.web.endpoints import Endpoints, Handler
from payment.web.operations import (
    bills,
    events,
    health,
    keys,
    late,
    metrics,
    notifications,
    payments,
    reconciliations,
    refunds,
    reports,
)
from payment.web.pages import Beside
from payment.web.places import Places
from payment.web.prefix import Prefixed
from payment.web.problems import Problems
from payment.web.replies import JSON
from payment.web.request_log import RequestLog
from payment.web.routing import Routing
from payment.web.security import KeyHandler, Security
from payment.web.specification import read_specification, refuse_security
from payment.web.traces import Traces
from payment.web.validation import Validation

OPERATIONS = {
    "payment.api": (
        *(payments, late, refunds, bills, reports, notifications, reconciliations),
        *(events, keys, metrics),
    ),
    "payment.health": (health,),
}
"""What stands before the last dot of an operationId, and the modules with the functions that it names."""


def create_app(
    settings: Settings,
    ledger: Ledger,
    running: Callable[[], AbstractAsyncContextManager[None]],
    key_ring: KeyRing | None,
    exposition: Exposition,
    request_log: RequestLog,
    tracer: Tracer | None = None,
    beside: Beside | None = None,
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        settings: limits, and where the specification is.
        ledger: the use cases.
        running: a context that lasts from the first request to the last.
        key_ring: the API keys that are good; None if everybody may call (AUTH=none).
        exposition: the metrics.
        request_log: where answers are noted.
        tracer: begins the spans of requests; None for none.
        beside: the pages for people; None for none.

    Raises:
        SettingsError: the specification asks for what nothing here checks.
    """

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with running():
            yield

    limits: dict[str, Any] = {"max_bytes": settings.body_max_bytes, "timeout_s": settings.request_timeout_s}
    places = Places(
        in_hand_max=settings.requests_max,
        arriving_max=settings.arriving_max,
        streams_max=settings.streams_max,
    )
    console = beside and beside.console
    problems = partial(Problems, places=places, request_log=request_log, console=console)
    middlewares: list[Any] = [*([partial(Traces, tracer=tracer)] if tracer else []), problems]
    allowed = (ANY_HOST,) if key_ring else settings.allowed_hosts  # a key tells callers apart by any name
    middlewares += [
        partial(NoForeignPages, bound_to=settings.host, allowed_hosts=allowed),
        partial(Annex, console=console, body_reader=BodyReader(**limits)),
        DocsPage,
        Routing,
        *([Security] if key_ring else []),
        Validation,
        LifespanMiddleware,
    ]
    app = ConnexionMiddleware(
        Endpoints(ledger, exposition, settings.require_idempotency_key),
        middlewares=middlewares,
        lifespan=lifespan,
        security_map={"bearer": partial(KeyHandler, key_ring)} if key_ring else None,
        validator_map={"body": {JSON: partial(JsonBody, **limits)}},
        swagger_ui_options=OPTIONS,
    )
    with _taken_as_right() if settings.openapi_file == OUR_OPENAPI else nullcontext():
        app.add_api(read_specification(settings.openapi_file), resolver=Resolver(find_operation))
    for api in app.apis:
        refuse_security(api.specification, asks_for_keys=key_ring is not None)
        if beside:
            beside.calls.open(app, api.specification)
    return Prefixed(app, settings.root_path) if settings.root_path else app


@contextmanager
def _taken_as_right() -> Iterator[None]:
    """Have Connexion take descriptions for OpenAPI without a look: for ours, which the tests hold against it.

    That look is a tenth of a start.
    """
    schema = OpenAPISpecification.openapi_schema
    OpenAPISpecification.openapi_schema = {}
    try:
        yield
    finally:
        OpenAPISpecification.openapi_schema = schema


def find_operation(operation_id: str) -> Handler:
    """Return the function that an operationId names.

    Raises:
        AttributeError: there is none, or several; Connexion says which operationId it cannot resolve.
    """
    prefix, _, name = operation_id.rpartition(".")
    found: list[Handler] = [getattr(each, name) for each in OPERATIONS[prefix] if hasattr(each, name)]
    if len(found) != 1:
        raise AttributeError(name)
    return found[0]
