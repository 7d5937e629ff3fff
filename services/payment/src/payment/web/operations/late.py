"""/payments/{payment_id}/late: money that came late, and what became of it."""

from payment.core.states import Resolution
from payment.ledger.answers import LateMoneyAnswer
from payment.ledger.requests import LateResolution
from payment.web.endpoints import Request
from payment.web.idempotent import key_of, reply_of
from payment.web.replies import Reply

_late_money_answer = LateMoneyAnswer()


async def get_late_money(request: Request) -> Reply:
    """GET /payments/{payment_id}/late."""
    row = await request.ledger.late_money(request.parameters["payment_id"])
    return Reply.of_text(200, _late_money_answer.text(row))


async def resolve_late_money(request: Request) -> Reply:
    """POST /payments/{payment_id}/late: say what became of it."""
    payment_id, body = request.parameters["payment_id"], request.body
    resolved = await request.ledger.book(
        LateResolution(
            payment_id,
            Resolution(body["resolution"]),
            reference=body.get("reference"),
            key=key_of(request, "resolve_late_money", {"payment_id": payment_id, **body}),
            cause=request.cause(),
        )
    )
    return reply_of(resolved)
