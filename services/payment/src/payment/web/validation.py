"""Connexion's request validation, with everything that depends only on the specification built at the start.

As it comes, Connexion rebuilds parsers, validators and decorators for every request, which is half of the
time a request takes (docs/decisions/0003). The classes here and in `routing`, `bodies`, `docs_page` and
`endpoints` are subclasses of its own extension points, no patches; the exact Connexion version is locked.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from connexion.middleware.request_validation import (
    RequestValidationAPI,
    RequestValidationMiddleware,
    RequestValidationOperation,
)
from connexion.operations.abstract import AbstractOperation
from starlette.types import ASGIApp, Receive, Scope, Send
from werkzeug.http import parse_options_header

from payment.web.http_errors import MediaTypeUnsupported, ParametersTooMany, ParameterUnknown
from payment.web.in_scope import CONTEXT
from payment.web.json_text import NAME_MAX_CHARS
from payment.web.parameters import Parameter
from payment.web.problems import ALWAYS_ANSWERED
from payment.web.replies import JSON

PARAMETERS_MAX = 16
"""More than any operation has; of more, none is looked at."""

MEDIA_TYPE_MAX_CHARS = 200


class ValidatedOperation(RequestValidationOperation):
    """Validates the requests of one operation with what was built at start."""

    def __init__(self, next_app: ASGIApp, **kwargs: Any) -> None:
        super().__init__(next_app, **kwargs)
        operation = self._operation
        self._in_path = self._parameters_in("path")
        self._in_query = {parameter.name: parameter for parameter in self._parameters_in("query")}
        self._is_probe = operation.path in ALWAYS_ANSWERED
        validators: Any = self._validator_map["body"]  # what `app` gave: one, for JSON
        has_body = operation.is_request_body_defined
        self._body = validators[JSON](schema=operation.body_schema(JSON)) if has_body else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Validate, then pass on; what was read is in the Connexion context."""
        given = scope["path_params"]
        values = {parameter.name: parameter.read(given[parameter.name]) for parameter in self._in_path}
        query: bytes = scope["query_string"]
        if self._in_query or (query and not self._is_probe):
            if query.count(b"&") >= PARAMETERS_MAX:
                raise ParametersTooMany(limit=PARAMETERS_MAX)
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
                if len(value) > MEDIA_TYPE_MAX_CHARS:
                    raise MediaTypeUnsupported(method=scope["method"])
                media_type, options = parse_options_header(value.decode("latin-1"))
                charset = options.get("charset", "utf-8").lower()
                if media_type.lower() != JSON or charset not in {"utf-8", "utf8", "us-ascii"}:
                    raise MediaTypeUnsupported(method=scope["method"])
            if name == b"content-encoding" and value.lower() != b"identity":
                raise MediaTypeUnsupported(method=scope["method"])


class ValidationAPI(RequestValidationAPI):
    """Makes a ValidatedOperation of each operation."""

    def make_operation(self, operation: AbstractOperation) -> ValidatedOperation:
        """Build all that validates this operation."""
        return ValidatedOperation(self.next_app, operation=operation, validator_map=self.validator_map)


class Validation(RequestValidationMiddleware):
    """Connexion's request validation with operations that are built once."""

    api_cls = ValidationAPI
