"""Connexion's request path, with everything that depends only on the specification built once at start.

As it comes, Connexion rebuilds parsers, validators and decorators for every request, which is half of the
time a request takes (docs/decisions/0003). These are subclasses of its own extension points, no patches;
the exact Connexion version is locked.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from connexion.middleware.abstract import (
    ROUTING_CONTEXT,
    AbstractRoutingAPI,
    RoutedAPI,
    RoutedMiddleware,
    SpecMiddleware,
)
from connexion.middleware.request_validation import (
    RequestValidationAPI,
    RequestValidationMiddleware,
    RequestValidationOperation,
)
from connexion.middleware.swagger_ui import SwaggerUIMiddleware
from connexion.operations.abstract import AbstractOperation
from connexion.spec import Specification
from connexion.validators.abstract import AbstractRequestBodyValidator
from jsonschema import Draft4Validator
from starlette.types import ASGIApp, Receive, Scope, Send
from werkzeug.http import parse_options_header

from payment.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    FieldInvalid,
    HttpInvalid,
    JsonInvalid,
    MediaTypeUnsupported,
    MethodNotAllowed,
    ParameterUnknown,
    RouteNotFound,
)
from payment.core.units import read_date, read_time
from payment.ledger.ledger import Ledger
from payment.web import schemas
from payment.web.browsers import send_for_browsers
from payment.web.problems import ALWAYS_ANSWERED, JSON, PATH_MAX_CHARS, Reply, Stream

CONTEXT = "connexion_context"
DRAIN_MAX_BYTES = 1024 * 1024
"""How much of a refused body is read and thrown away, so that the caller gets to read the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request as an operation of the API gets it."""

    scope: Scope
    ledger: Ledger
    parameters: Mapping[str, Any]
    body: Mapping[str, Any]

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None if it is not there."""
        return next(iter(self.header_values(name.encode())), None)

    def header_values(self, name: bytes) -> list[str]:
        """Return all values of a header (its name in lower case)."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]


Handler = Callable[[Request], Awaitable[Reply | Stream]]


class Docs(SwaggerUIMiddleware):
    """Swagger UI, off the way of business: its router is not asked about any other path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve /docs and /openapi.json, pass everything else on."""
        if scope["type"] != "http" or not scope["path"].startswith(("/docs", "/openapi.")):
            await self.app(scope, receive, send)
            return
        # a wrong Range would be refused in plain text; these files are small
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        scope = {**scope, "headers": headers}
        await super().__call__(scope, receive, send_for_browsers(send, scope["path"]))


class Routes(AbstractRoutingAPI[str]):
    """The paths of the specification, and which operation each method of a path is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.exact: dict[str, dict[str, str]] = {}
        self.templated: list[tuple[re.Pattern[str], dict[str, str]]] = []
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
                self.templated.append((re.compile(pattern), known))
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
            operations, parameters = self._find(scope["path"])
            operation_id = operations.get(scope["method"])
            if operation_id is None:
                raise MethodNotAllowed(method=scope["method"][:20], allowed=", ".join(sorted(operations)))
            scope["path_params"] = parameters
            routing = {"api_base_path": "", "operation_id": operation_id}
            scope["extensions"] = {ROUTING_CONTEXT: routing, CONTEXT: {}}
        await self._app(scope, receive, send)

    def _find(self, path: str) -> tuple[dict[str, str], dict[str, str]]:
        for routes in self._routes:
            if (operations := routes.exact.get(path)) and "{" not in path:
                return operations, {}
            for pattern, operations in routes.templated:
                if match := pattern.fullmatch(path):
                    return operations, match.groupdict()
        raise RouteNotFound(path=path[:PATH_MAX_CHARS])


NAME_MAX_CHARS = 200
"""How much of a name that a caller made up is told back to him."""


def read_whole_number(text: str) -> int | str:
    """Return the number that the text is, else the text."""
    return int(text) if re.fullmatch("[0-9]{1,16}", text) else text


class Parameter:
    """A parameter of path or query, its validator built once. Headers are read by their operations."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.name: str = definition["name"]
        schema = definition["schema"]
        self.default = schema.get("default")
        self._validator = Draft4Validator(schema)
        self._parse: Callable[[str], Any] = str
        self._refusal: dict[str, Any] = {"rule": "is not valid"}
        if schema.get("type") == "integer":
            self._parse = read_whole_number
            limits = {"minimum": schema["minimum"], "maximum": schema["maximum"]}
            self._refusal = {"rule": schemas.MUST_BE_WHOLE, **limits}
        elif "enum" in schema:
            self._refusal = {"rule": schemas.MUST_BE_ONE_OF, "choices": ", ".join(schema["enum"])}
        elif schema.get("format") == "date-time":
            self._parse, self._validator = read_time, Draft4Validator({})
            self._refusal = {"rule": schemas.MUST_BE_TIME}
        elif schema.get("format") == "date":
            self._parse, self._validator = read_date, Draft4Validator({})
            self._refusal = {"rule": schemas.MUST_BE_DATE}

    def read(self, text: str) -> Any:
        """Return the parameter's value: a number, a word, a date, or a time in microseconds.

        Raises:
            FieldInvalid: it is not what the specification says.
        """
        try:
            value = self._parse(text)
        except ValueError:
            raise FieldInvalid(field=self.name, **self._refusal) from None
        if not self._validator.is_valid(value):
            raise FieldInvalid(field=self.name, **self._refusal)
        return value

    def read_one_of(self, texts: Sequence[str]) -> Any:
        """Return the value of a parameter of the query, its default if it is not there.

        Raises:
            FieldInvalid: it is not what the specification says, or given more than once.
        """
        if not texts:
            return self.default
        if len(texts) > 1:
            raise FieldInvalid(field=self.name, rule=schemas.MUST_BE_ONCE)
        return self.read(texts[0])


class JsonBody(AbstractRequestBodyValidator):
    """Reads a JSON body once, to a limit, and has the Marshmallow schema that the operation names read it.

    Args:
        max_bytes: the largest body.
        timeout_s: the longest time that a body may take to arrive.
        schema: the body's OpenAPI schema; its `x-marshmallow` names the Marshmallow schema.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float, schema: Mapping[str, Any], **_: Any) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._body: schemas.BodySchema = getattr(schemas, schema["x-marshmallow"])()

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        """Put the validated body into the request's Connexion context."""
        if self._says_too_large(scope):
            if (b"expect", b"100-continue") not in scope[
                "headers"
            ]:  # one that asks first is not told to send
                await self._read(receive, DRAIN_MAX_BYTES, keep=False)
            raise BodyTooLarge(limit=self._max_bytes)
        body = await self._read(receive, self._max_bytes, keep=True)
        scope["extensions"][CONTEXT]["body"] = self._body.read(parse_json(body))
        return receive, scope

    def _says_too_large(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"content-length":
                return int(value) > self._max_bytes  # the server has checked that it is a number
        return False

    async def _read(self, receive: Receive, max_bytes: int, *, keep: bool) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":  # the caller went away in the middle
                        raise HttpInvalid
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > max_bytes:
                        if not keep:
                            break
                        await self._read(receive, DRAIN_MAX_BYTES, keep=False)
                        raise BodyTooLarge(limit=self._max_bytes)
                    if keep:
                        chunks.append(chunk)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise BodyTooSlow(timeout_s=self._timeout_s) from None
        return b"".join(chunks)


def parse_json(body: bytes) -> Any:
    """Parse a request body; an empty one is None.

    Raises:
        JsonInvalid: it is not JSON in UTF-8, or nests too deep.
        FieldInvalid: an object has a member twice, so that nobody knows which of the two is meant.
    """
    if not body.strip(b" \t\r\n"):
        return None
    try:
        text = body.decode()
        try:
            return _read_exactly.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of thousands of digits: let the schema name its field
            return _read_roughly.decode(text)
    except (ValueError, RecursionError):
        raise JsonInvalid from None


def _exactly(number: str) -> Decimal | float:
    """Return a number as it was written: a float would round 0.99999999999999999999 to the integer 1."""
    try:
        return Decimal(number)
    except ArithmeticError:  # an exponent of twenty digits
        return float(number)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members, each of which may be given once; Python's own reader takes the last."""
    found = dict(members)
    if len(found) < len(members):
        given = Counter(name for name, _ in members)
        twice = next(name for name, times in given.items() if times > 1)
        raise FieldInvalid(field=twice[:NAME_MAX_CHARS], rule=schemas.MUST_BE_ONCE)
    return found


_read_exactly = json.JSONDecoder(parse_float=_exactly, object_pairs_hook=_once)
_read_roughly = json.JSONDecoder(parse_float=_exactly, parse_int=float, object_pairs_hook=_once)


class ValidatedOperation(RequestValidationOperation):
    """Validates the requests of one operation with what was built at start."""

    def __init__(self, next_app: ASGIApp, **kwargs: Any) -> None:
        super().__init__(next_app, **kwargs)
        operation = self._operation
        self._in_path = self._parameters_in("path")
        self._in_query = {parameter.name: parameter for parameter in self._parameters_in("query")}
        self._is_probe = operation.path in ALWAYS_ANSWERED
        self._body: AbstractRequestBodyValidator | None = None
        if operation.is_request_body_defined:
            validators: Any = self._validator_map["body"]
            self._body = validators[JSON](schema=operation.body_schema(JSON))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Validate, then pass on; what was read is in the Connexion context."""
        given = scope["path_params"]
        values = {parameter.name: parameter.read(given[parameter.name]) for parameter in self._in_path}
        query: bytes = scope["query_string"]
        if self._in_query or (query and not self._is_probe):
            asked = parse_qs(query.decode("latin-1"), keep_blank_values=True)
            self._refuse_unknown(asked)
            for name, parameter in self._in_query.items():
                values[name] = parameter.read_one_of(asked.get(name, ()))
        scope["extensions"][CONTEXT]["parameters"] = values
        if self._body is not None:
            self._check_media_type(scope)
            receive, scope = await self._body.wrap_receive(receive, scope=scope)
        await self.next_app(scope, receive, send)

    def _refuse_unknown(self, asked: Mapping[str, Any]) -> None:
        for name in asked:
            if name not in self._in_query:
                known = ", ".join(self._in_query) or "-"
                raise ParameterUnknown(field=name[:NAME_MAX_CHARS], known=known)

    def _parameters_in(self, place: str) -> list[Parameter]:
        return [Parameter(each) for each in self._operation.parameters if each["in"] == place]

    def _check_media_type(self, scope: Scope) -> None:
        """Refuse what is sent as something else than UTF-8 JSON; without a type it is taken as that.

        Raises:
            MediaTypeUnsupported: it is sent as something else, or compressed.
        """
        for name, value in scope["headers"]:
            if name == b"content-type" and value != b"application/json":
                media_type, options = parse_options_header(value.decode("latin-1"))
                charset = options.get("charset", "utf-8").lower()
                if media_type.lower() != JSON or charset not in {"utf-8", "utf8", "us-ascii"}:
                    raise MediaTypeUnsupported(method=scope["method"])
            if name == b"content-encoding" and value.lower() != b"identity":
                raise MediaTypeUnsupported(method=scope["method"])


class ValidationAPI(RequestValidationAPI):
    """Makes the operations above."""

    def make_operation(self, operation: AbstractOperation) -> ValidatedOperation:
        """Build all that validates this operation."""
        return ValidatedOperation(self.next_app, operation=operation, validator_map=self.validator_map)


class Validation(RequestValidationMiddleware):
    """Connexion's request validation with operations that are built once."""

    api_cls = ValidationAPI


class Endpoint:
    """Calls the function that an operationId names."""

    def __init__(self, handler: Handler, ledger: Ledger) -> None:
        self._handler = handler
        self._ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call it and send its reply; the body has been read."""
        context = scope["extensions"][CONTEXT]
        request = Request(scope, self._ledger, context["parameters"], context.get("body", {}))
        reply = await self._handler(request)
        if isinstance(reply, Reply):
            await reply.send(send)
        else:
            await reply.send(send, receive, head_only=scope["method"] == "HEAD")


class EndpointAPI(RoutedAPI[Endpoint]):
    """The operations of the specification as endpoints."""

    def __init__(self, *args: Any, ledger: Ledger, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledger = ledger
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> Endpoint:
        """Build the endpoint of an operation."""
        return Endpoint(operation.function, self._ledger)


class Endpoints(RoutedMiddleware[EndpointAPI]):
    """The innermost app: one endpoint an operation."""

    api_cls = EndpointAPI

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(app=self)  # nothing comes after it
        self._ledger = ledger

    def add_api(self, specification: Specification, **kwargs: Any) -> EndpointAPI:
        """Register a specification."""
        return super().add_api(specification, ledger=self._ledger, **kwargs)
