"""/payments: book a payment, look one up, list them, and say that one that waited was paid or failed."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import date
from functools import partial

from payment.core.states import Method, Status
from payment.ledger.answers import PaymentAnswer
from payment.ledger.cursors import cursor_of, read_cursor
from payment.ledger.idempotency import wordings
from payment.ledger.ledger import Ledger
from payment.ledger.listing import Position, Selection
from payment.ledger.requests import PaymentRequest, Settling
from payment.ledger.spreadsheet import as_csv
from payment.web.endpoints import Request
from payment.web.headers import wait_of
from payment.web.idempotent import key_of, reply_of
from payment.web.replies import CSV, CSV_UTF_8, JSON, Reply, Stream, best_type

CSV_PAGE_ROWS = 100
CSV_ROWS_AT_ONCE = (20, 5)
"""Of the only file; of one of several, of which one is always at it. Few enough that no payment waits for
more than a millisecond, or a quarter of one, while they are written out."""

FILES_REST_MAX = 9
"""All files have their rows read and written out in turn. After some they rest for as long, and for so many
times as long if there are so many of them: one takes half of the process at most, however many a tenth."""

REST_MAX_S = 0.5
"""But no longer: what took long waited for the database."""

_payment_answer = PaymentAnswer()
_turn = asyncio.Lock()
_files: set[AsyncGenerator[str]] = set()  # each adds itself when it begins, and removes itself


async def create_payment(request: Request) -> Reply:
    """POST /payments: book a payment, once."""
    body = request.body
    unsaid = {"status": Status.PAID, "order_total": body["amount"]}
    booked = await request.ledger.book(
        PaymentRequest(
            order_id=body["order_id"],
            user_id=body["user_id"],
            amount=body["amount"],
            method=Method(body["method"]),
            status=Status(body.get("status", Status.PAID)),
            order_total=body.get("order_total"),
            reference=body.get("reference"),
            expires_us=body.get("expires_at"),
            waits_us=request.ledger.waits_us,
            key=key_of(request, "create_payment", body, partial(wordings, body, unsaid)),
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
        amount=asked["amount"],
        created_from_us=microseconds(asked["created_from"], request.ledger.days.begins_us),
        created_to_us=microseconds(asked["created_to"], request.ledger.days.ends_us),
        reference=asked["reference"],
        late=asked["late"],
    )
    after = read_cursor(asked["cursor"], selection) if asked["cursor"] else None
    vary = (b"vary", b"Accept")
    if best_type(request.header("accept"), JSON, CSV) == CSV:
        request.stream()
        attachment = (b"content-disposition", b'attachment; filename="payments.csv"')
        lines = _csv_of(request.ledger, selection, after)
        first = await anext(lines)  # whatever is wrong is told before the file begins
        return Stream(_all_of(first, lines), CSV_UTF_8, [vary, attachment])
    page = await request.ledger.page(selection, after, asked["limit"])
    cursor = cursor_of(page.following, selection) if page.following else None
    body = {"payments": _payment_answer.dump(page.payments, many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, [vary, *request.next_link(cursor)])


def microseconds(asked: int | date | None, of_day: Callable[[date], int]) -> int | None:
    """Return the time that is asked for, microseconds since the epoch; of a day, where `of_day` says."""
    return of_day(asked) if isinstance(asked, date) else asked


async def _csv_of(ledger: Ledger, selection: Selection, after: Position | None) -> AsyncGenerator[str]:
    """Yield the lines of the selection, a page at a time."""
    names, has_more = as_csv([_payment_answer.fields]), True
    while has_more:
        text = names
        async with _turn:
            began_s = time.monotonic()
            page = await ledger.page(selection, after, CSV_PAGE_ROWS)
            rows, after = page.payments, page.following
            at_once = CSV_ROWS_AT_ONCE[len(_files) > 1]
            for first in range(0, len(rows), at_once):
                some = _payment_answer.dump(rows[first : first + at_once], many=True)
                text += as_csv(each.values() for each in some)
                rest = min(max(1, len(_files)), FILES_REST_MAX)
                await asyncio.sleep(min(rest * (time.monotonic() - began_s), REST_MAX_S))
                began_s = time.monotonic()
        has_more = after is not None
        yield text
        names = ""


async def _all_of(first: str, others: AsyncGenerator[str]) -> AsyncGenerator[str]:
    _files.add(others)
    try:
        async with aclosing(others):
            yield first
            async for each in others:
                yield each
    finally:
        _files.discard(others)


async def get_payment(request: Request) -> Reply:
    """GET /payments/{payment_id}."""
    payment = await request.ledger.payment(request.parameters["payment_id"])
    return Reply.of_text(200, _payment_answer.text(payment))


async def settle_payment(request: Request) -> Reply:
    """PATCH /payments/{payment_id}: a payment that waited was paid, or failed; or was paid after all."""
    payment_id = request.parameters["payment_id"]
    settled = await request.ledger.book(
        Settling(
            payment_id,
            Status(request.body["status"]),
            reference=request.body.get("reference"),
            key=key_of(request, "settle_payment", {"payment_id": payment_id, **request.body}),
            cause=request.cause(),
        )
    )
    return reply_of(settled)
