"""The operations of openapi/payment.yaml. They translate; the rules are elsewhere."""

import re
import secrets

from payment.booking import PaymentRequest
from payment.idempotency import Key, fingerprint, read_key
from payment.lifecycle import Method
from payment.operations import Request
from payment.problems import Reply
from payment.schemas import PaymentAnswer

ANYBODY = ""
"""The caller where no API keys are asked for (AUTH=none)."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_payment_answer = PaymentAnswer()


async def create_payment(request: Request) -> Reply:
    """POST /payments: book a payment, once."""
    body = request.body
    key = read_key(request.header_values(b"idempotency-key"))
    answer = await request.ledger.pay(
        PaymentRequest(
            order_id=body["order_id"],
            user_id=body["user_id"],
            amount=body["amount"],
            method=Method(body["method"]),
            key=Key(ANYBODY, "create_payment", key, fingerprint(body)) if key else None,
            traceparent=_trace_of(request),
        )
    )
    headers = [(b"location", answer.location.encode())]
    if answer.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Reply(answer.status, answer.body.encode(), headers)


async def get_payment(request: Request) -> Reply:
    """GET /payments/{payment_id}."""
    payment = await request.ledger.payment(request.parameters["payment_id"])
    return Reply.of_json(200, _payment_answer.dump(payment))


def _trace_of(request: Request) -> str:
    """Return the caller's `traceparent` (W3C Trace Context), or a new one if it sent none that is valid."""
    for value in request.header_values(b"traceparent"):
        if _TRACEPARENT.fullmatch(value):
            return value
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
