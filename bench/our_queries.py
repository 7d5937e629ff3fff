"""The queries of the service that meet large tables, as its own functions run them."""

from collections.abc import Callable
from contextlib import nullcontext
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from payment.core.business_day import BusinessDays
from payment.core.neighbours import ORDER, USER
from payment.core.states import EventType, Method, State, Status
from payment.ledger.batch import _NAMED_PAYMENTS, _USED_KEYS
from payment.ledger.claims import claim, next_due_us
from payment.ledger.event_log import BEGINNING, EventSelection, Place, find_events
from payment.ledger.expiry import find_expired
from payment.ledger.listing import Position, Selection, find_page
from payment.ledger.lookups import find_bill, find_payments
from payment.ledger.outbox import find_notifications, find_told
from payment.ledger.pruning import _delete, _events, _keys, _notifications
from payment.ledger.reports import daily_report, hourly_report
from payment.storage.statements import update_rows
from payment.storage.tables import notifications, payments

Query = Callable[[Connection], object]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
DAYS = BusinessDays(ZoneInfo("Asia/Jakarta"))


def queries(rows: int, now_us: int, key: str, guest: int, place: Place) -> dict[str, Query]:
    """Each query by what it is for.

    Args:
        rows: how many payments there are, their ids counted from 1.
        now_us: when the newest was made.
        key: an idempotency key that was used.
        guest: one with some payments.
        place: of an event in the middle.
    """
    middle, a_day = rows // 2, DAYS.day_of(now_us - 40 * DAY_US)
    middle_us = now_us - 365 * DAY_US // 2
    some = [rows - 100 * n for n in range(8)]

    def page(after: Position | None = None, **selection: object) -> Query:
        which = Selection(**selection)  # type: ignore[arg-type]
        return lambda connection: find_page(connection, which, after, 50)

    def listed(**which: object) -> Query:
        return lambda connection: find_notifications(connection, limit=50, **which)  # type: ignore[arg-type]

    def feed(after: Place, **which: object) -> Query:
        selection = EventSelection(**which)  # type: ignore[arg-type]
        return lambda connection: find_events(connection, selection, after, 50, final_only=False)

    def claimed(connection: Connection) -> object:
        of = {"lease_us": HOUR_US, "resend_after_us": HOUR_US, "limit": 8, "probing": False}
        return [claim(connection, each, "bench", now_us + DAY_US, **of) for each in (ORDER, USER)]  # type: ignore[arg-type]

    return {
        "POST: was the key used": lambda connection: connection.execute(
            _USED_KEYS, {"callers": ["bench"], "operations": ["create_payment"], "keys": [key]}
        ).all(),
        "POST: the bill; GET /bills/{order_id}": lambda connection: find_bill(connection, middle),
        "GET /payments/{id}": lambda connection: find_payments(connection, [middle]),
        "settle, refund: read, is it the guest's newest": lambda connection: connection.execute(
            _NAMED_PAYMENTS, {"ids": [rows - 5]}
        ).all(),
        "settle, refund: change the row": lambda connection: update_rows(
            connection, payments, [{"id": rows - 5, "updated_us": now_us}]
        ),
        "list: first page": page(),
        "list: a page in the middle": page(Position(middle_us, middle)),
        "list: of a guest": page(user_id=guest),
        "list: of a method": page(method=Method.CARD),
        "list: refunded": page(status=Status.REFUNDED),
        "list: of an order": page(order_id=middle),
        "list: of an amount": page(amount=23_000),
        "list: of an amount that nobody paid": page(amount=1),
        "list: of one day": page(created_from_us=middle_us, created_to_us=middle_us + DAY_US),
        "report of a day": lambda connection: daily_report(connection, a_day, DAYS),
        "report of a day, hour by hour": lambda connection: hourly_report(connection, a_day, DAYS),
        "worker: what is due next": lambda connection: [
            next_due_us(connection, each, now_us - DAY_US, lease_us=HOUR_US, probing=False)
            for each in (ORDER, USER)
        ],
        "worker: claim (8 of Order, 8 of User)": claimed,
        "worker: write what became of 8": lambda connection: update_rows(
            connection, notifications, [{"id": 2 * each, "attempts": 1} for each in some]
        ),
        "worker: what expired": lambda connection: find_expired(connection, now_us, DAY_US, limit=64),
        "Prefer: wait: were these 8 told": lambda connection: find_told(connection, some),
        "notifications of a payment": listed(payment_id=middle),
        "notifications: first page": listed(),
        "notifications: dead": listed(state=State.DEAD),
        "events: after one in the middle": feed(place),
        "events of a payment": feed(BEGINNING, payment_id=middle),
        "events: of a rare type": feed(BEGINNING, type=EventType.PAYMENT_REFUNDED),
        "prune: keys, a batch": lambda connection: next(
            _keys(lambda: nullcontext(connection), _delete, now_us - 20 * DAY_US)
        ),
        "prune: notifications, a batch": lambda connection: next(
            _notifications(lambda: nullcontext(connection), _delete, middle_us)
        ),
        "prune: events, a batch": lambda connection: next(
            _events(lambda: nullcontext(connection), _delete, middle_us, dry_run=False)
        ),
    }
