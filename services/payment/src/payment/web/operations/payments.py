"""/payments: book a payment, look one up, list them, and say that one that waited was paid or failed."""

from collections.abc import AsyncGenerator, Sequence

from sqlalchemy import RowMapping

from payment.core.states import Method, Status
from payment.ledger.answers import PaymentAnswer
from payment.ledger.booking import PaymentRequest, Settling
from payment.ledger.cursors import cursor_of, read_cursor
from payment.ledger.ledger import Ledger
from payment.ledger.listing import Position, Selection
from payment.ledger.spreadsheet import as_csv
from payment.web.endpoints import Request
from payment.web.headers import wait_of
from payment.web.idempotent import key_of, reply_of
from payment.web.replies import JSON, Reply, Stream, best_type

CSV = "text/csv"
CSV_UTF_8 = b"text/csv; charset=utf-8"
CSV_CHUNK_ROWS = 200
"""Few enough that no payment waits for more than a few milliseconds while they are written out."""

_payment_answer = PaymentAnswer()


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
            key=key_of(request, "create_payment", body),
            cause=request.cause(),
        )
    )
    reply = reply_of(booked)
    if wait_s := wait_of(request.header_values(b"prefer")):
        payment_id = int(booked.location.rpartition("/")[2])
        if await request.ledger.was_told(payment_id, wait_s):
            reply.headers.append((b"preference-applied", b"wait"))
    return reply


async def list_payments(request: Request) -> Reply | Stream:
    """GET /payments: a page of them, or all of them as CSV."""
    asked = request.parameters
    selection = Selection(
        order_id=asked["order_id"],
        user_id=asked["user_id"],
        status=Status(asked["status"]) if asked["status"] else None,
        method=Method(asked["method"]) if asked["method"] else None,
        created_from_us=asked["created_from"],
        created_to_us=asked["created_to"],
    )
    after = read_cursor(asked["cursor"], selection) if asked["cursor"] else None
    vary = (b"vary", b"Accept")
    if best_type(request.header("accept"), JSON, CSV) == CSV:
        request.stream()
        attachment = (b"content-disposition", b'attachment; filename="payments.csv"')
        first = await request.ledger.page(selection, after, CSV_CHUNK_ROWS)
        return Stream(_csv_of(request.ledger, selection, first), CSV_UTF_8, [vary, attachment])
    limit = asked["limit"]
    rows = await request.ledger.page(selection, after, limit + 1)
    cursor = cursor_of(Position.of(rows[limit - 1]), selection) if len(rows) > limit else None
    body = {"payments": _payment_answer.dump(rows[:limit], many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, [vary, *request.next_link(cursor)])


async def _csv_of(ledger: Ledger, selection: Selection, rows: Sequence[RowMapping]) -> AsyncGenerator[str]:
    """Yield the lines of the selection, of which the first rows are given, a page at a time."""
    yield as_csv([_payment_answer.fields])
    while rows:
        yield as_csv(each.values() for each in _payment_answer.dump(rows, many=True))
        rows = await ledger.page(selection, Position.of(rows[-1]), CSV_CHUNK_ROWS)


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
            key=key_of(request, "settle_payment", {"payment_id": payment_id, **request.body}),
            cause=request.cause(),
        )
    )
    return reply_of(settled)
