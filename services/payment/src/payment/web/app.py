"""The HTTP application: Connexion's middlewares around our endpoints."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import yaml
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import ConnexionMiddleware
from connexion.options import SwaggerUIOptions
from connexion.resolver import Resolver
from starlette.types import ASGIApp

from payment.core.settings import Settings
from payment.ledger.ledger import Ledger
from payment.web import api, health
from payment.web.browsers import NoForeignPages
from payment.web.operations import Docs, Endpoints, Handler, JsonBody, Routing, Validation
from payment.web.problems import JSON, Problems

OPERATIONS = {"payment.api": api, "payment.health": health}
"""What stands before the dot of an operationId, and the functions that it names."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a seventh of the time, where it was built


def create_app(
    settings: Settings, ledger: Ledger, running: Callable[[], AbstractAsyncContextManager[None]]
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        settings: limits, and where the specification is.
        ledger: the use cases.
        running: a context that lasts from the first request to the last.
    """

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with running():
            yield

    body = partial(JsonBody, max_bytes=settings.body_max_bytes, timeout_s=settings.request_timeout_s)
    problems = partial(
        Problems, requests_max=2 * settings.requests_max
    )  # as many again as may wait to be booked
    middlewares: list[Any] = [problems, Docs, Routing, Validation, LifespanMiddleware]
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
    specification = yaml.load(settings.openapi_file.read_bytes(), _Loader)  # noqa: S506  # as safe
    app.add_api(specification, resolver=Resolver(find_operation))
    return app


def find_operation(operation_id: str) -> Handler:
    """Return the function that an operationId names."""
    module, _, name = operation_id.rpartition(".")
    handler: Handler = getattr(OPERATIONS[module], name)
    return handler
