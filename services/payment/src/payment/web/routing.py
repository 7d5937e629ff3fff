"""Which operation a request is for. The table of paths is built once, at the start."""

import re
from typing import Any

from connexion.middleware.abstract import ROUTING_CONTEXT, AbstractRoutingAPI, SpecMiddleware
from connexion.operations.abstract import AbstractOperation
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send

from payment.web.http_errors import PATH_MAX_CHARS, MethodNotAllowed, RouteNotFound
from payment.web.in_scope import CONTEXT, OPERATION, ROUTE


class Routes(AbstractRoutingAPI[str]):
    """The paths of the specification, and which operation each method of a path is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.exact: dict[str, dict[str, str]] = {}
        self.templated: list[tuple[re.Pattern[str], str, dict[str, str]]] = []
        super().__init__(*args, **kwargs)

    def make_operation(self, operation: AbstractOperation) -> str:
        """Return what routing hands on: the operation's id."""
        return str(operation.operation_id)

    @staticmethod
    def _framework_path_and_name(operation: AbstractOperation, path: str) -> tuple[str, str]:
        return path, str(operation.operation_id)

    def _add_operation_internal(
        self, method: str, path: str, operation: str, name: str | None = None
    ) -> None:
        del name
        known = self.exact.get(path)
        if known is None:
            known = self.exact[path] = {}
            if "{" in path:
                pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
                self.templated.append((re.compile(pattern), path, known))
        known[method.upper()] = operation
        if method == "get":
            known["HEAD"] = operation


class Routing(SpecMiddleware):
    """Finds the operation of a request; a method it does not have is answered with all that it has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: list[Routes] = []

    def add_api(self, specification: Specification, **kwargs: Any) -> Routes:
        """Register a specification."""
        routes = Routes(specification, **kwargs)
        self._routes.append(routes)
        return routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the operation in the scope, as Connexion's other middlewares expect it."""
        if scope["type"] == "http":
            route, operations, parameters = self._find(scope["path"])
            operation_id = operations.get(scope["method"])
            if operation_id is None:
                raise MethodNotAllowed(method=scope["method"][:20], allowed=", ".join(sorted(operations)))
            scope[ROUTE], scope[OPERATION] = route, operation_id.rpartition(".")[2]
            scope["path_params"] = parameters
            routing = {"api_base_path": "", "operation_id": operation_id}
            scope["extensions"] = {ROUTING_CONTEXT: routing, CONTEXT: {}}
        await self._app(scope, receive, send)

    def _find(self, path: str) -> tuple[str, dict[str, str], dict[str, str]]:
        for routes in self._routes:
            if (operations := routes.exact.get(path)) and "{" not in path:
                return path, operations, {}
            for pattern, route, operations in routes.templated:
                if match := pattern.fullmatch(path):
                    return route, operations, match.groupdict()
        raise RouteNotFound(path=path[:PATH_MAX_CHARS])
