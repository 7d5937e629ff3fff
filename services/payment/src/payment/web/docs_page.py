"""Swagger UI at /docs, and the description at /openapi.json: what they tell a browser that shows them."""

from asyncio import to_thread
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from connexion.jsonifier import Jsonifier
from connexion.middleware.swagger_ui import SwaggerUIAPI, SwaggerUIMiddleware
from connexion.options import SwaggerUIOptions
from connexion.spec import Specification
from connexion.utils import yamldumper
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from payment.web.in_scope import PREFIX
from payment.web.replies import FOR_BROWSERS

PAGES = frozenset({"/docs/", "/docs/index.html"})
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy that lets Swagger UI do what it does, and reach no other host."""

OPTIONS = SwaggerUIOptions(
    swagger_ui_path="/docs", swagger_ui_template_dir=str(Path(__file__).parent / "swagger_ui")
)
"""Our page and the files of Swagger UI that it loads (docs/decisions/0027)."""

_jsonifier: Any = Jsonifier  # Connexion ships no types
_to_json: Callable[[Any], str] = _jsonifier().dumps
_to_yaml: Callable[[Any], str] = yamldumper


def is_docs(path: str) -> bool:
    """Say whether a path is the page's or the description's."""
    return path.startswith(("/docs", "/openapi."))


class Described(SwaggerUIAPI):
    """The description as it is served: with what Swagger UI would not show of it.

    Anybody may ask for it, so what is sent is made once: Connexion makes it anew for each who asks, with
    everything in place that it refers to, while all others wait: seconds, for the YAML of ours.
    """

    async def _get_openapi_json(self, request: Request) -> Response:
        return Response(self._json(self._base_path_for_prefix(request)), media_type="application/json")

    async def _get_openapi_yaml(self, request: Request) -> Response:
        text = await to_thread(self._yaml, self._base_path_for_prefix(request))  # takes 0.2 s, once
        return Response(text, media_type="text/yaml")

    @cache  # noqa: B019  # lives as long as the process
    def _json(self, prefix: str) -> str:
        return _to_json(self._shown(prefix))

    @cache  # noqa: B019
    def _yaml(self, prefix: str) -> str:
        return _to_yaml(self._shown(prefix))

    def _shown(self, prefix: str) -> dict[str, Any]:
        """Return it with the servers that it names; under a prefix that is where a proxy shows us."""
        described: dict[str, Any] = self.specification.raw
        of_all = described.get("security") or []
        paths = {path: with_scopes(methods, of_all) for path, methods in described["paths"].items()}
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return {**described, **servers, "paths": paths}


class DocsPage(SwaggerUIMiddleware):
    """Swagger UI, off the way of business: its router is not asked about any other path."""

    def add_api(
        self,
        specification: Specification,
        base_path: str | None = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Serve this description, and a page that shows it."""
        api = Described(
            specification, base_path=base_path, arguments=arguments, default=self.default_fn, **kwargs
        )
        self.router.mount(api.base_path, app=api.router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve /docs and /openapi.json, pass everything else on."""
        if scope["type"] != "http" or not is_docs(scope["path"]):
            await self.app(scope, receive, send)
            return
        # a wrong Range would be refused in plain text; these files are small
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        send = send_for_browsers(send, scope["path"])
        prefix = scope.get(PREFIX, "")  # Starlette's names for it, which are within the whole path
        within = {**scope, "headers": headers, "root_path": prefix, "path": prefix + scope["path"]}
        await super().__call__(within, receive, send)


def with_scopes(methods: Mapping[str, Any], of_all: list[Any]) -> dict[str, Any]:
    """Return a path's operations, each with what its API key must be good for as the end of its description.

    Swagger UI shows the scopes of OAuth 2, but not those of a bearer scheme.

    Args:
        methods: the path's operations by their methods, and what else a path may have.
        of_all: the `security` of an operation that has none of its own.
    """
    shown = dict(methods)
    for method, operation in methods.items():
        asked = operation.get("security", of_all) if isinstance(operation, dict) else []
        scopes = [f"`{scope}`" for each in asked for scopes in each.values() for scope in scopes]
        if scopes:
            needs = f"With `AUTH=keys`, the API key must be good for {' and '.join(scopes)}."
            before = operation.get("description", "").rstrip()
            shown[method] = {**operation, "description": f"{before}\n\n{needs}".lstrip()}
    return shown


def send_for_browsers(send: Send, path: str) -> Send:
    """Return what sends an answer of /docs or /openapi.*, with what browsers are told of it."""
    headers = dict(FOR_BROWSERS)
    if path.startswith("/docs"):
        headers[b"cache-control"] = b"no-cache"  # asked for again, but sent only if it has changed
        if path in PAGES:
            headers[b"content-security-policy"] = POLICY

    async def send_(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers.items()]}
        await send(message)

    return send_
