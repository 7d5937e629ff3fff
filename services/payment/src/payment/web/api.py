"""The operations of openapi/payment.yaml. They translate; the rules are elsewhere."""

import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import RowMapping

from payment.core.states import Method, State, Status
from payment.ledger.answers import (
    BillAnswer,
    DailyReportAnswer,
    NotificationAnswer,
    PaymentAnswer,
    RefundAnswer,
)
from payment.ledger.booking import PaymentRequest, RefundRequest, Settling
from payment.ledger.cursors import cursor_of, read_cursor
from payment.ledger.idempotency import BookedAnswer, Key, fingerprint, read_key
from payment.ledger.ledger import Ledger
from payment.ledger.listing import Position, Selection
from payment.ledger.spreadsheet import as_csv
from payment.web.operations import Request
from payment.web.problems import JSON, Reply, Stream, best_type

CSV = "text/csv"
CSV_UTF_8 = b"text/csv; charset=utf-8"
CSV_CHUNK_ROWS = 200
"""Few enough that no payment waits for more than a few milliseconds while they are written out."""

WAIT_MAX_S = 30.0
ANYBODY = ""
"""The caller where no API keys are asked for (AUTH=none)."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE | re.ASCII)
_payment_answer = PaymentAnswer()
_notification_answer = NotificationAnswer()
_refund_answer = RefundAnswer()
_bill_answer = BillAnswer()
_daily_report_answer = DailyReportAnswer()


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
    reply = _reply(booked)
    if wait_s := _wait_of(request):
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
        attachment = (b"content-disposition", b'attachment; filename="payments.csv"')
        first = await request.ledger.page(selection, after, CSV_CHUNK_ROWS)
        return Stream(_csv_of(request.ledger, selection, first), CSV_UTF_8, [vary, attachment])
    limit = asked["limit"]
    rows = await request.ledger.page(selection, after, limit + 1)
    cursor = cursor_of(Position.of(rows[limit - 1]), selection) if len(rows) > limit else None
    body = {"payments": _payment_answer.dump(rows[:limit], many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, [vary, *_next_link(request, cursor)])


async def _csv_of(ledger: Ledger, selection: Selection, rows: Sequence[RowMapping]) -> AsyncIterator[str]:
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


async def get_daily_report(request: Request) -> Reply:
    """GET /reports/daily: a day's closing."""
    report = await request.ledger.daily_report(request.parameters["date"])
    return Reply.of_text(200, _daily_report_answer.text(report))


async def list_payment_notifications(request: Request) -> Reply:
    """GET /payments/{payment_id}/notifications: what each service was told."""
    rows = await request.ledger.notifications_of(request.parameters["payment_id"])
    return Reply.of_json(200, {"notifications": _notification_answer.dump(rows, many=True)})


async def list_notifications(request: Request) -> Reply:
    """GET /notifications."""
    asked = request.parameters
    limit = asked["limit"]
    rows = await request.ledger.notifications(
        service=asked["service"],
        state=State(asked["state"]) if asked["state"] else None,
        before_id=asked["cursor"],
        limit=limit + 1,
    )
    cursor = str(rows[limit - 1]["id"]) if len(rows) > limit else None
    body = {"notifications": _notification_answer.dump(rows[:limit], many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, _next_link(request, cursor))


async def retry_notification(request: Request) -> Reply:
    """POST /notifications/{notification_id}/retry."""
    row = await request.ledger.send_again(request.parameters["notification_id"])
    return Reply.of_text(200, _notification_answer.text(row))


def _next_link(request: Request, cursor: str | None) -> list[tuple[bytes, bytes]]:
    """Return the `Link` to the next page (RFC 8288), with the filters of this one."""
    if cursor is None:
        return []
    asked = parse_qsl(request.scope["query_string"].decode("latin-1"))
    query = urlencode([*((name, value) for name, value in asked if name != "cursor"), ("cursor", cursor)])
    return [(b"link", f'<{request.scope["path"]}?{query}>; rel="next"'.encode())]


def _wait_of(request: Request) -> float:
    """Return for how long the caller prefers to wait (RFC 7240, 4.3), seconds; 0 if it does not say."""
    for value in request.header_values(b"prefer"):
        for preference in value.split(","):
            if match := _WAIT.fullmatch(preference):
                return min(float(match[1]), WAIT_MAX_S)
    return 0.0


def _key_of(request: Request, operation: str, body: Mapping[str, Any]) -> Key | None:
    key = read_key(request.header_values(b"idempotency-key"))
    return Key(ANYBODY, operation, key, fingerprint(body)) if key else None


def _reply(answer: BookedAnswer) -> Reply:
    headers = [(b"location", answer.location.encode())] if answer.location else []
    if answer.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Reply.of_text(answer.status, answer.body, headers)


def _trace_of(request: Request) -> str:
    """Return the caller's `traceparent` (W3C Trace Context), or a new one if it sent none that is valid."""
    for value in request.header_values(b"traceparent"):
        if _TRACEPARENT.fullmatch(value):
            return value
    made_up = secrets.token_hex(24)  # one call: the system is asked for each
    return f"00-{made_up[:32]}-{made_up[32:]}-01"
