"""What can be wrong with a request before it gets to a use case: its HTTP, its route, its fields."""

from payment.core.errors import PaymentError

CHALLENGE = 'Bearer realm="payment"'
"""What a caller is asked for who must say who he is (RFC 6750, 3)."""


PATH_MAX_CHARS = 200
"""How much of a path that is not there is told back to whoever asked for it."""


class FieldsRequired(PaymentError):
    """A required field of POST /payments is missing or null, or there is no body at all."""

    code = "fields-required"
    message = "order_id, user_id, and amount are required"


class FieldRequired(PaymentError):
    """A required field of another body is missing or null, or there is no body."""

    code = "field-required"
    message = "{field} is required"


class FieldInvalid(PaymentError):
    """A field has a value outside what it may be; `rule` is a message of its own."""

    code = "field-invalid"
    message = "{field} {rule}"


class JsonInvalid(PaymentError):
    """The body is not JSON (RFC 8259), or nests deeper than anyone needs."""

    code = "json-invalid"
    message = "The request body is not valid JSON"


class BodyNotObject(PaymentError):
    """The body is JSON but not an object."""

    code = "body-not-object"
    message = "The request body must be a JSON object"


class ParameterUnknown(PaymentError):
    """The query has a parameter that the operation does not know; `known` lists those that it does."""

    code = "parameter-unknown"
    message = "There is no parameter {field}; known here: {known}"


class ParametersTooMany(PaymentError):
    """The query has more parameters than any operation takes."""

    code = "parameters-too-many"
    message = "The request has more than {limit} parameters"


class ApiKeyMissing(PaymentError):
    """The request brings no API key (RFC 6750, 3: then without `error=`)."""

    status = 401
    code = "api-key-missing"
    message = "An API key is needed: Authorization: Bearer pk_..."

    def __init__(self) -> None:
        super().__init__()
        self.headers = {"WWW-Authenticate": CHALLENGE}


class ApiKeyRefused(PaymentError):
    """The API key is none, or good no more; which of these it is, nobody is told."""

    status = 401
    code = "api-key-refused"
    message = "The API key is not valid"

    def __init__(self) -> None:
        super().__init__()
        self.headers = {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}


class ScopeMissing(PaymentError):
    """The API key is good, but not for this."""

    status = 403
    code = "insufficient-scope"
    message = "The API key lacks the scope {scope}"

    def __init__(self, *, scope: str) -> None:
        super().__init__(scope=scope)
        self.headers = {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'}


class OriginForeign(PaymentError):
    """A browser says that a page of another origin than ours asks for a change."""

    status = 403
    code = "origin-foreign"
    message = "A page of another site must not change anything here"


class RouteNotFound(PaymentError):
    """No path of the API is like this one."""

    status = 404
    code = "route-not-found"
    message = "There is nothing at {path}"


class MethodNotAllowed(PaymentError):
    """The path exists, but not with this method; `allowed` lists all that it has (RFC 9110, 15.5.6)."""

    status = 405
    code = "method-not-allowed"
    message = "{method} is not allowed here; allowed: {allowed}"

    def __init__(self, *, method: str, allowed: str) -> None:
        super().__init__(method=method, allowed=allowed)
        self.headers = {"Allow": allowed}


class BodyTooSlow(PaymentError):
    """The request did not arrive in time."""

    status = 408
    code = "request-timeout"
    message = "The request did not arrive within {timeout_s} seconds"

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(timeout_s=f"{timeout_s:g}")
        self.headers = {"Connection": "close"}


class BodyTooLarge(PaymentError):
    """The body is larger than the limit."""

    status = 413
    code = "body-too-large"
    message = "The request body is larger than {limit} bytes"

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.headers = {"Connection": "close"}


class MediaTypeUnsupported(PaymentError):
    """The body is not UTF-8 JSON sent as such (RFC 9110, 15.5.16)."""

    status = 415
    code = "media-type-unsupported"
    message = "Send the body as application/json in UTF-8, not compressed"

    def __init__(self, *, method: str) -> None:
        super().__init__()
        self.headers = {f"Accept-{method.capitalize()}": "application/json"}


class HostUnknown(PaymentError):
    """The request is for a host that we are not (RFC 9110, 15.5.20)."""

    status = 421
    code = "host-unknown"
    message = "This service is not called {host} (see ALLOWED_HOSTS)"


class HeadersTooLarge(PaymentError):
    """The request line and headers are larger than the limit (RFC 6585, 5)."""

    status = 431
    code = "headers-too-large"
    message = "The request headers are larger than {limit} bytes"


class HeadersTooMany(PaymentError):
    """The request has more header fields than the limit (RFC 6585, 5)."""

    status = 431
    code = "headers-too-many"
    message = "The request has more than {limit} headers"


class HttpInvalid(PaymentError):
    """What arrived is not HTTP/1.1 (RFC 9112)."""

    code = "http-invalid"
    message = "This is not a valid HTTP request"


class HttpRefused(PaymentError):
    """A refusal by the web framework that has no better name; `reason` is the framework's."""

    code = "request-refused"
    message = "The request was refused: {reason}"

    def __init__(self, *, status: int, reason: str) -> None:
        super().__init__(reason=reason)
        self.status = status  # type: ignore[misc]  # the framework's own status, one per error
