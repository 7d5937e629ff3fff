"""Payments: search, filters, a page of the list; and all of them as a file."""

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from payment.console.api import Refused
from payment.console.search import read
from payment.console.visit import Visit
from payment.core.units import read_date

PAGE = 25
FOUND_MAX = 5
"""How many payments of an order, a guest, an amount or a reference a search shows; the list has all."""

FILTERS = ("order_id", "user_id", "status", "method", "amount", "reference", "late")
_DAY = timedelta(days=1)


async def show_payments(visit: Visit) -> Response:
    """GET /console/payments: what the filters select, newest first; or what a search finds."""
    wanted = visit.query.get("q", "")
    if wanted:
        return await _search(visit, wanted)
    asked = _asked(visit)
    page = await visit.ask("/payments", **asked, cursor=visit.query.get("cursor"), limit=PAGE)
    return visit.show("payments.html", page=page, wanted="", found=None, filters=_filters(visit))


async def save_payments(visit: Visit) -> Response:
    """GET /console/payments.csv: all that the filters select."""
    asked = _asked(visit)
    await visit.ask("/payments", **asked, limit=1)  # what is wrong with them is said on a page, not in a file
    return visit.pass_on("/payments", "text/csv", **asked)


def _asked(visit: Visit) -> dict[str, Any]:
    """Return the filters as the API knows them.

    Raises:
        Refused: one of them is no date.
    """
    query = visit.query
    asked: dict[str, Any] = {name: query.get(name) for name in FILTERS}
    for name, parameter in (("from", "created_from"), ("to", "created_to")):
        if name in query:
            asked[parameter] = day_in(query[name], name).isoformat()
    return asked


def day_in(text: str, field: str) -> date:
    """Return the date that a field says.

    Raises:
        Refused: it says none.
    """
    try:
        return min(read_date(text), date.max - _DAY)
    except ValueError:
        raise Refused(400, {"field": field}) from None


def _filters(visit: Visit) -> Mapping[str, str]:
    return {name: visit.query[name] for name in (*FILTERS, "from", "to") if name in visit.query}


async def _search(visit: Visit, text: str) -> Response:
    """Show what a text may mean: a payment, those of an order, a guest, an amount, a reference, a day."""
    today = visit.pages.today(visit.language)
    wanted = read(text, today)
    if wanted.day is not None:
        day = wanted.day.isoformat()
        return visit.go_to("/console/payments", **{"from": day, "to": day})
    payment, bill, of_order, of_guest, of_amount, of_reference = await asyncio.gather(
        _one(visit, "/payments", wanted.payment_id),
        _one(visit, "/bills", wanted.order_id),
        _some(visit, order_id=wanted.order_id),
        _some(visit, user_id=wanted.user_id),
        _some(visit, amount=wanted.amount),
        _some(visit, reference=wanted.reference),
    )
    found = {
        "payment": payment,
        "bill": bill,
        "of_order": of_order,
        "of_guest": of_guest,
        "of_amount": of_amount,
        "of_reference": of_reference,
        "wanted": wanted,
    }
    return visit.show("payments.html", page=None, wanted=text, found=found, filters={})


async def _one(visit: Visit, path: str, number: int | None) -> Any:
    """Return what has this id, None if nothing has."""
    if number is None:
        return None
    try:
        return await visit.ask(f"{path}/{number}")
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return None


async def _some(visit: Visit, **asked: int | str | None) -> Any:
    if None in asked.values():
        return None
    return await visit.ask("/payments", **asked, limit=FOUND_MAX)


ROUTES = (
    ("/payments", ["GET"], show_payments),
    ("/payments.csv", ["GET"], save_payments),
)
