"""What can go wrong, as domain errors that carry their facts.

Each error names its problem `code` (stable: the RFC 9457 `type` is made of it), its HTTP `status` and the
English message whose translations are in `locale/`. The words are chosen in `messages`, the answer is
written in `problems`.
"""

from typing import Any, ClassVar


class PaymentError(Exception):
    """A refusal or failure that the caller is told about.

    Attributes:
        status: HTTP status code of the answer.
        code: stable name of the problem, part of its RFC 9457 `type`.
        message: English text with `{placeholders}` for the facts; also the key of its translation.
        field: the request field or parameter at fault, if one is.
        headers: further response headers.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad-request"
    message: ClassVar[str] = "The request is not valid"

    def __init__(self, *, field: str | None = None, **facts: Any) -> None:
        super().__init__(self.message)
        self.field = field
        self.facts = facts
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        return self.message.format(field=self.field, **self.facts)


class FieldsRequired(PaymentError):
    """A required field of POST /payments is missing or null, or there is no body at all."""

    code = "fields-required"
    message = "order_id, user_id, and amount are required"


class FieldRequired(PaymentError):
    """A required field of another body is missing or null, or there is no body."""

    code = "field-required"
    message = "{field} is required"


class OrderTotalTooSmall(PaymentError):
    """A bill's total is less than the one payment towards it."""

    code = "order-total-too-small"
    message = "{field} must be at least amount, {amount}"


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


class KeyInvalid(PaymentError):
    """The Idempotency-Key header is not 1 to 255 visible ASCII characters."""

    code = "idempotency-key-invalid"
    message = "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"


class CursorInvalid(PaymentError):
    """A cursor that was not given for this list, or not by us."""

    code = "cursor-invalid"
    message = "{field} is not one that this list gave"


class ParameterUnknown(PaymentError):
    """The query has a parameter that the operation does not know; `known` lists those that it does."""

    code = "parameter-unknown"
    message = "There is no parameter {field}; known here: {known}"


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


class PaymentNotFound(PaymentError):
    """No payment has this id."""

    status = 404
    code = "payment-not-found"
    message = "Payment not found"


class BillNotFound(PaymentError):
    """Nothing was ever to be paid for this order."""

    status = 404
    code = "bill-not-found"
    message = "Order {order_id} has no bill"


class RefundNotFound(PaymentError):
    """The payment has no refund with this id."""

    status = 404
    code = "refund-not-found"
    message = "Refund not found"


class NotificationNotFound(PaymentError):
    """No notification has this id."""

    status = 404
    code = "notification-not-found"
    message = "Notification not found"


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


class BillSettled(PaymentError):
    """The order is paid in full already."""

    status = 409
    code = "bill-settled"
    message = "Order {order_id} is already paid"


class BillTotalDiffers(PaymentError):
    """The payment states another total than those that the bill already has."""

    status = 409
    code = "bill-total-differs"
    message = "The bill of order {order_id} is {total}, not {given}"


class BillExceeded(PaymentError):
    """Paid and pending together would pass the bill's total."""

    status = 409
    code = "bill-exceeded"
    message = "Only {left} is left to pay of order {order_id}"


class MoveNotAllowed(PaymentError):
    """A payment cannot go from its state to that one (`lifecycle.MOVES`)."""

    status = 409
    code = "move-not-allowed"
    message = "A payment that is {status} cannot become {wanted}"


class NotificationSettled(PaymentError):
    """A notification that was delivered, or superseded by a newer one, cannot be sent again."""

    status = 409
    code = "notification-settled"
    message = "Notification {id} is {state}; only one that is waiting or dead can be sent again"


class RefundTooLarge(PaymentError):
    """More would be given back than was paid."""

    status = 409
    code = "refund-too-large"
    message = "Only {left} is left to refund of payment {payment_id}"


class RefundedDiffers(PaymentError):
    """Another sum was given back so far than the caller believes: it may be asking a second time."""

    status = 409
    code = "refunded-differs"
    message = "{refunded} was refunded of payment {payment_id} so far, not {expected}"


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


class KeyReused(PaymentError):
    """The Idempotency-Key was used for another request body before."""

    status = 422
    code = "idempotency-key-reused"
    message = "This Idempotency-Key was used with another request"


class HeadersTooLarge(PaymentError):
    """The request line and headers are larger than the limit (RFC 6585, 5)."""

    status = 431
    code = "headers-too-large"
    message = "The request headers are larger than {limit} bytes"


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


class Unexpected(PaymentError):
    """A defect of ours. The log has what the caller is not shown."""

    status = 500
    code = "internal-error"
    message = "An internal error occurred"


class Unavailable(PaymentError):
    """The service cannot book right now; with an Idempotency-Key it is safe to ask again."""

    status = 503
    code = "unavailable"
    message = "The payment service is busy or its database does not answer; please try again"

    def __init__(self, *, retry_after_s: int = 1) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(retry_after_s)}
