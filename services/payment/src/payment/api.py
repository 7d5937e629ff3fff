"""The operations of openapi/payment.yaml. They translate; the rules are elsewhere."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from payment.booking import PaymentRequest, RefundRequest, Settling
from payment.idempotency import Answer, Key, fingerprint, read_key
from payment.lifecycle import Method, Status
from payment.operations import Request
from payment.problems import Reply
from payment.schemas import BillAnswer, PaymentAnswer, RefundAnswer

ANYBODY = ""
"""The caller where no API keys are asked for (AUTH=none)."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_payment_answer = PaymentAnswer()
_refund_answer = RefundAnswer()
_bill_answer = BillAnswer()


async def create_payment(request: Request) -> Reply:
    """POST /payments: book a payment, once."""
    body = request.body
    booked = await request.ledger.book(
        PaymentRequest(
            order_id=body["order_id"],
            user_id=body["user_id"],
            amount=body["amount"],
            method=Method(body["method"]),
            status=Status(body.get("status", Status.PAID)),
            order_total=body.get("order_total"),
            key=_key_of(request, "create_payment", body),
            traceparent=_trace_of(request),
        )
    )
    return _reply(booked)


async def get_payment(request: Request) -> Reply:
    """GET /payments/{payment_id}."""
    payment = await request.ledger.payment(request.parameters["payment_id"])
    return Reply.of_text(200, _payment_answer.text(payment))


async def settle_payment(request: Request) -> Reply:
    """PATCH /payments/{payment_id}: a payment that waited was paid, or failed."""
    payment_id = request.parameters["payment_id"]
    settled = await request.ledger.book(
        Settling(
            payment_id,
            Status(request.body["status"]),
            key=_key_of(request, "settle_payment", {"payment_id": payment_id, **request.body}),
            traceparent=_trace_of(request),
        )
    )
    return _reply(settled)


async def create_refund(request: Request) -> Reply:
    """POST /payments/{payment_id}/refunds: give money back, all or a part."""
    payment_id, body = request.parameters["payment_id"], request.body
    refunded = await request.ledger.book(
        RefundRequest(
            payment_id,
            amount=body.get("amount"),
            reason=body.get("reason"),
            expected_refunded=body.get("expected_refunded"),
            key=_key_of(request, "create_refund", {"payment_id": payment_id, **body}),
            traceparent=_trace_of(request),
        )
    )
    return _reply(refunded)


async def list_refunds(request: Request) -> Reply:
    """GET /payments/{payment_id}/refunds."""
    rows = await request.ledger.refunds(request.parameters["payment_id"])
    return Reply.of_json(200, {"refunds": _refund_answer.dump(rows, many=True)})


async def get_refund(request: Request) -> Reply:
    """GET /payments/{payment_id}/refunds/{refund_id}."""
    row = await request.ledger.refund(request.parameters["payment_id"], request.parameters["refund_id"])
    return Reply.of_text(200, _refund_answer.text(row))


async def get_bill(request: Request) -> Reply:
    """GET /bills/{order_id}: is this order paid, what is left."""
    bill = await request.ledger.bill(request.parameters["order_id"])
    return Reply.of_text(200, _bill_answer.text(bill))


def _key_of(request: Request, operation: str, body: Mapping[str, Any]) -> Key | None:
    key = read_key(request.header_values(b"idempotency-key"))
    return Key(ANYBODY, operation, key, fingerprint(body)) if key else None


def _reply(answer: Answer) -> Reply:
    headers = [(b"location", answer.location.encode())] if answer.location else []
    if answer.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Reply.of_text(answer.status, answer.body, headers)


def _trace_of(request: Request) -> str:
    """Return the caller's `traceparent` (W3C Trace Context), or a new one if it sent none that is valid."""
    for value in request.header_values(b"traceparent"):
        if _TRACEPARENT.fullmatch(value):
            return value
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
