"""Closing: a day's takings, to look at, to print, and as a file."""

from datetime import date, timedelta

from starlette.responses import Response

from payment.console.visit import Visit

_DAY = timedelta(days=1)


async def show_closing(visit: Visit) -> Response:
    """GET /console/closing."""
    report = await visit.ask("/reports/daily", date=visit.query.get("date"))
    day, today = date.fromisoformat(report["date"]), visit.pages.today(visit.language)
    return visit.show(
        "closing.html",
        report=report,
        before=(day - _DAY).isoformat() if day > date.min else None,
        after=(day + _DAY).isoformat() if day < today else None,
        is_over=day < today,
    )


async def save_closing(visit: Visit) -> Response:
    """GET /console/closing.csv."""
    asked = visit.query.get("date")
    await visit.ask("/reports/daily", date=asked)  # what is wrong is said on a page, not in a file
    return visit.pass_on("/reports/daily", "text/csv", date=asked)


ROUTES = (
    ("/closing", ["GET"], show_closing),
    ("/closing.csv", ["GET"], save_closing),
)
