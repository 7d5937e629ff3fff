"""/payments/{payment_id}/refunds: give money back, and look up what was given back."""

from payment.ledger.answers import RefundAnswer
from payment.ledger.requests import RefundRequest
from payment.web.endpoints import Request
from payment.web.idempotent import key_of, reply_of
from payment.web.replies import Reply

_refund_answer = RefundAnswer()


async def create_refund(request: Request) -> Reply:
    """POST /payments/{payment_id}/refunds: give money back, all or a part."""
    payment_id, body = request.parameters["payment_id"], request.body
    refunded = await request.ledger.book(
        RefundRequest(
            payment_id,
            amount=body.get("amount"),
            reason=body.get("reason"),
            expected_refunded=body.get("expected_refunded"),
            reference=body.get("reference"),
            key=key_of(request, "create_refund", {"payment_id": payment_id, **body}),
            cause=request.cause(),
        )
    )
    return reply_of(refunded)


async def list_refunds(request: Request) -> Reply:
    """GET /payments/{payment_id}/refunds."""
    rows = await request.ledger.refunds(request.parameters["payment_id"])
    return Reply.of_json(200, {"refunds": _refund_answer.dump(rows, many=True)})


async def get_refund(request: Request) -> Reply:
    """GET /payments/{payment_id}/refunds/{refund_id}."""
    row = await request.ledger.refund(request.parameters["payment_id"], request.parameters["refund_id"])
    return Reply.of_text(200, _refund_answer.text(row))
