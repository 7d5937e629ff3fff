"""/payments/{payment_id}/refunds, /refunds: give money back, and look up what was given back."""

from payment.ledger.answers import RefundAnswer
from payment.ledger.cursors import cursor_within, read_within
from payment.ledger.requests import RefundRequest
from payment.web.endpoints import Request
from payment.web.idempotent import key_of, reply_of
from payment.web.operations.payments import microseconds
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


async def list_all_refunds(request: Request) -> Reply:
    """GET /refunds: those of a time, of whichever payments."""
    asked = request.parameters
    from_us = microseconds(asked["created_from"], request.ledger.days.begins_us)
    to_us = microseconds(asked["created_to"], request.ledger.days.ends_us)
    filters = {"list": "refunds", "from_us": from_us, "to_us": to_us}
    after = read_within(asked["cursor"], filters) if asked["cursor"] else None
    page = await request.ledger.refund_page(from_us, to_us, after, asked["limit"])
    cursor = cursor_within(page.following, filters) if page.following else None
    body = {"refunds": _refund_answer.dump(page.refunds, many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, request.next_link(cursor))
