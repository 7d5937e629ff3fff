"""/bills: what is left to pay of an order, and of which orders something is."""

from payment.ledger.answers import BillAnswer
from payment.ledger.cursors import cursor_of_id, read_id
from payment.web.endpoints import Request
from payment.web.replies import Reply

_bill_answer = BillAnswer()


async def get_bill(request: Request) -> Reply:
    """GET /bills/{order_id}: is this order paid, what is left."""
    bill = await request.ledger.bill(request.parameters["order_id"])
    return Reply.of_text(200, _bill_answer.text(bill))


async def list_bills(request: Request) -> Reply:
    """GET /bills: all of them, or the open ones."""
    asked = request.parameters
    filters = {"list": "bills", "open": asked["open"]}
    after = read_id(asked["cursor"], filters) if asked["cursor"] else None
    page = await request.ledger.bill_page(after, asked["limit"], only_open=bool(asked["open"]))
    cursor = None if page.following is None else cursor_of_id(page.following, filters)
    body = {"bills": _bill_answer.dump(page.bills, many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, request.next_link(cursor))
