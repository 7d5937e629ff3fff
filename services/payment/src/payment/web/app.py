"""The HTTP application: Connexion's middlewares around our endpoints."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import ConnexionMiddleware
from connexion.options import SwaggerUIOptions
from connexion.resolver import Resolver
from starlette.types import ASGIApp

from payment.core.settings import Settings
from payment.ledger.ledger import Ledger
from payment.web.bodies import JsonBody
from payment.web.browsers import NoForeignPages
from payment.web.docs_page import DocsPage
from payment.web.endpoints import Endpoints, Handler
from payment.web.operations import bills, health, notifications, payments, refunds, reports
from payment.web.problems import Problems
from payment.web.replies import JSON
from payment.web.routing import Routing
from payment.web.specification import read_specification, refuse_security
from payment.web.validation import Validation

OPERATIONS = {
    "payment.api": (payments, refunds, bills, reports, notifications),
    "payment.health": (health,),
}
"""What stands before the last dot of an operationId, and the modules with the functions that it names."""


def create_app(
    settings: Settings, ledger: Ledger, running: Callable[[], AbstractAsyncContextManager[None]]
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        settings: limits, and where the specification is.
        ledger: the use cases.
        running: a context that lasts from the first request to the last.

    Raises:
        SettingsError: the specification asks for what nothing here checks.
    """

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with running():
            yield

    body = partial(JsonBody, max_bytes=settings.body_max_bytes, timeout_s=settings.request_timeout_s)
    # as many again as may wait to be booked
    problems = partial(Problems, requests_max=2 * settings.requests_max)
    middlewares: list[Any] = [problems, DocsPage, Routing, Validation, LifespanMiddleware]
    if settings.auth == "none":  # what no key tells apart
        allowed = settings.allowed_hosts
        middlewares.insert(1, partial(NoForeignPages, bound_to=settings.host, allowed_hosts=allowed))
    app = ConnexionMiddleware(
        Endpoints(ledger),
        middlewares=middlewares,
        lifespan=lifespan,
        validator_map={"body": {JSON: body}},
        swagger_ui_options=SwaggerUIOptions(swagger_ui_path="/docs"),
    )
    app.add_api(read_specification(settings.openapi_file), resolver=Resolver(find_operation))
    for api in app.apis:
        refuse_security(api.specification)
    return app


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
