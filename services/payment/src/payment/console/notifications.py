"""Notifications: what waits and what is dead, by neighbour and cause; and sending them again."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from payment.console.api import Refused
from payment.console.visit import Visit

PAGE = 25
FILTERS = ("service", "state", "cause")
PATH = "/console/notifications"


async def show_notifications(visit: Visit) -> Response:
    """GET /console/notifications."""
    return await _page(visit, visit.query.get("cursor"), {name: visit.query.get(name) for name in FILTERS})


async def send_notifications(visit: Visit) -> Response:
    """POST /console/notifications: send one again, or all dead ones of the filter."""
    form = visit.form
    filters = {name: form.get(name) or None for name in FILTERS}
    try:
        if form.get("do") == "tell again":
            number = form.get("notification", "")
            if not (number.isascii() and number.isdigit()):
                raise HTTPException(400, "no form")
            await visit.do("POST", f"/notifications/{number}/retry", {})
            sent = 1
        elif form.get("do") == "tell all again":
            wanted = {"service": filters["service"], "cause": filters["cause"], "state": "dead"}
            if form.get("sure") != "yes":
                neighbours = (await visit.ask("/neighbours"))["neighbours"]
                number_dead = _number_dead(neighbours, filters)
                return visit.show("sure_all.html", filters=filters, number=number_dead)
            sent = (await visit.do("POST", "/notifications/retry", wanted))["retried"]
        else:
            raise HTTPException(400, "no form")
    except Refused as refused:
        if refused.status not in {400, 404, 409}:
            raise
        return await _page(visit, None, filters, refused)
    kept = {name: value for name, value in filters.items() if value}
    return visit.go_to(PATH, **kept, sent=str(sent))


async def _page(
    visit: Visit, cursor: str | None, filters: dict[str, str | None], refused: Refused | None = None
) -> Response:
    await visit.begin_live()
    neighbours: list[dict[str, Any]] = (await visit.ask("/neighbours"))["neighbours"]
    if not any(filters.values()):
        is_any_dead = any(each["dead"] for each in neighbours)
        filters = {**filters, "state": "dead" if is_any_dead else "waiting"}
    page = await visit.ask("/notifications", **filters, cursor=cursor, limit=PAGE)
    status = refused.status if refused else 200
    return visit.show(
        "notifications.html", status, neighbours=neighbours, page=page, filters=filters, refused=refused
    )


def _number_dead(neighbours: list[dict[str, Any]], filters: dict[str, str | None]) -> int:
    """Return how many dead ones the filter selects, as far as they are counted."""
    return sum(
        each["notifications"]
        for neighbour in neighbours
        if filters["service"] in (None, neighbour["service"])
        for each in neighbour["causes"]
        if each["state"] == "dead" and filters["cause"] in (None, each["cause"])
    )


ROUTES = (
    ("/notifications", ["GET"], show_notifications),
    ("/notifications", ["POST"], send_notifications),
)
