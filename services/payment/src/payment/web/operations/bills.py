"""/bills: what is left to pay of an order."""

from payment.ledger.answers import BillAnswer
from payment.web.endpoints import Request
from payment.web.replies import Reply

_bill_answer = BillAnswer()


async def get_bill(request: Request) -> Reply:
    """GET /bills/{order_id}: is this order paid, what is left."""
    bill = await request.ledger.bill(request.parameters["order_id"])
    return Reply.of_text(200, _bill_answer.text(bill))
