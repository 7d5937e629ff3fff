"""Today: what came in, what waits, and what is wrong; live."""

import asyncio
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from payment.console.chart import draw
from payment.console.visit import Visit

LAST_PAYMENTS = 10
COUNTED_MAX = 100
"""No more are counted: a page of the API."""

WEEK = timedelta(days=7)
EVENT_STREAM = "text/event-stream"


async def show_today(visit: Visit) -> Response:
    """GET /console."""
    await visit.begin_live()
    takings, neighbours, pending, late, last = await asyncio.gather(
        _takings(visit),
        _neighbours(visit),
        _some_payments(visit, status="pending"),
        _some_payments(visit, late="true"),
        _last(visit),
    )
    return visit.show(
        "today.html", takings=takings, neighbours=neighbours, pending=pending, late=late, last=last
    )


async def show_stream(visit: Visit) -> Response:
    """GET /console/stream: what happens after a cursor, or from now on; pages then look again."""
    return visit.pass_on("/events", EVENT_STREAM, after=visit.query.get("after", "newest"))


async def _takings(visit: Visit) -> dict[str, Any] | None:
    """Return the day's takings beside those of a week ago; None without the right to see them."""
    if not visit.may("get_daily_report", "get_hourly_report"):
        return None
    day = await visit.ask("/reports/hourly")
    before = (date.fromisoformat(day["date"]) - WEEK).isoformat()
    report, week_ago = await asyncio.gather(
        visit.ask("/reports/daily", date=day["date"]), visit.ask("/reports/hourly", date=before)
    )
    return {"report": report, "day": day, "week_ago": week_ago, "chart": draw(day, week_ago)}


async def _neighbours(visit: Visit) -> list[dict[str, Any]] | None:
    if not visit.may("list_neighbours"):
        return None
    neighbours: list[dict[str, Any]] = (await visit.ask("/neighbours"))["neighbours"]
    return neighbours


async def _some_payments(visit: Visit, **which: str) -> dict[str, Any] | None:
    """Return what waits to be settled, or came late, the newest of it; None without the right to see it."""
    if not visit.may("list_payments"):
        return None
    page: dict[str, Any] = await visit.ask("/payments", **which, limit=COUNTED_MAX)
    return page


async def _last(visit: Visit) -> list[dict[str, Any]] | None:
    if not visit.may("list_payments"):
        return None
    payments: list[dict[str, Any]] = (await visit.ask("/payments", limit=LAST_PAYMENTS))["payments"]
    return payments


ROUTES = (("", ["GET"], show_today), ("/stream", ["GET"], show_stream))
