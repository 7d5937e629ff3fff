"""One payment: its story, its bill, and what may be done with it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response

from payment.console.api import Refused
from payment.console.figures import DIGITS_MAX, read_amount
from payment.console.story import tell
from payment.console.visit import Visit


class _Number(IntegerConvertor):
    """A number in a path; of a longer one Python would not make a number."""

    regex = f"[0-9]{{1,{DIGITS_MAX}}}"


register_url_convertor("number", _Number())

OUTCOMES = ("paid", "failed")
RESOLUTIONS = ("returned", "booked", "kept")
CAME_LATE = "late-payment"
SHARES_MAX = 50
EVENTS_MAX = 200


async def show_payment(visit: Visit) -> Response:
    """GET /console/payments/{id}."""
    return await _page(visit)


async def change_payment(visit: Visit) -> Response:
    """POST /console/payments/{id}: first what is going to happen, for a `sure`; then it happens, once."""
    act = _ACTS.get(visit.form.get("do", ""))
    if act is None:
        raise HTTPException(400, "no form")
    return await act(visit)


async def _settle(visit: Visit) -> Response:
    status = visit.form.get("status", "")
    if status not in OUTCOMES:
        raise HTTPException(400, "no form")
    if visit.form.get("sure") != "yes":
        return await _ask_if_sure(visit, "settle", wanted=status)
    settled = {"status": status, "reference": _typed_reference(visit)}
    return await _done(visit, status, visit.do("PATCH", _path(visit), settled, once=visit.form.get("once")))


async def _give_back(visit: Visit) -> Response:
    """Refund what the form says, or all that is left if it says nothing."""
    payment = await visit.ask(_path(visit))
    amount = read_amount(visit.form.get("amount", ""))
    reason = visit.form.get("reason", "").strip() or None
    expected = read_amount(visit.form.get("expected_refunded", ""))
    if visit.form.get("sure") != "yes":
        left = payment["amount"] - payment["amount_refunded"]
        if amount is None:
            amount = left
        if not isinstance(amount, int) or not 1 <= amount <= left:
            return await _page(visit, 400, wrong="amount", typed=dict(visit.form))
        return await _ask_if_sure(visit, "refund", payment=payment, amount=amount, reason=reason)
    reference = _typed_reference(visit)
    refund = {"amount": amount, "reason": reason, "expected_refunded": expected, "reference": reference}
    return await _done(
        visit, "refunded", visit.do("POST", f"{_path(visit)}/refunds", refund, once=visit.form.get("once"))
    )


async def _resolve(visit: Visit) -> Response:
    """Say what became of late money."""
    resolution = visit.form.get("resolution", "")
    reference = _typed_reference(visit)
    if resolution not in RESOLUTIONS:
        raise HTTPException(400, "no form")
    if visit.form.get("sure") != "yes":
        return await _ask_if_sure(visit, "late", resolution=resolution, reference=reference)
    said = {"resolution": resolution, "reference": reference}
    return await _done(
        visit, "resolved", visit.do("POST", f"{_path(visit)}/late", said, once=visit.form.get("once"))
    )


async def _tell_again(visit: Visit) -> Response:
    number = visit.form.get("notification", "")
    if not (number.isascii() and number.isdigit()):
        raise HTTPException(400, "no form")
    return await _done(visit, "sent again", visit.do("POST", f"/notifications/{number}/retry", {}))


_ACTS: dict[str, Callable[[Visit], Awaitable[Response]]] = {
    "settle": _settle,
    "refund": _give_back,
    "late": _resolve,
    "tell again": _tell_again,
}


async def _done(visit: Visit, said: str, change: Awaitable[Any]) -> Response:
    """Return to the page once the change is there; if it is refused, say why beside what is true now."""
    try:
        await change
    except Refused as refused:
        if refused.status not in {400, 409, 422}:
            raise
        if refused.kind == CAME_LATE:  # that is noted, and the page asks what became of it
            return visit.go_to(f"/console{_path(visit)}", said="late")
        return await _page(visit, refused.status, refused=refused)
    return visit.go_to(f"/console{_path(visit)}", said=said)


async def _ask_if_sure(visit: Visit, do: str, **facts: Any) -> Response:
    payment = facts.pop("payment", None) or await visit.ask(_path(visit))
    return visit.show("sure.html", do=do, payment=payment, **facts)


async def _page(visit: Visit, status: int = 200, **facts: Any) -> Response:
    path = _path(visit)
    await visit.begin_live()
    payment = await visit.ask(path)
    order_id = payment["order_id"]
    bill, shares, refunds, notifications, events, late = await asyncio.gather(
        visit.ask(f"/bills/{order_id}"),
        visit.ask("/payments", order_id=order_id, limit=SHARES_MAX),
        visit.ask(f"{path}/refunds"),
        visit.ask(f"{path}/notifications"),
        _events(visit, path),
        _late(visit, payment),
    )
    shown: dict[str, Any] = {"refused": None, "wrong": None, "typed": {}, **facts}
    return visit.show(
        "payment.html",
        status,
        payment=payment,
        bill=bill,
        shares=shares["payments"],
        shares_go_on=shares["next_cursor"] is not None,
        refunds=refunds["refunds"],
        notifications=notifications["notifications"],
        moments=tell(events or [], notifications["notifications"]),
        has_events=events is not None,
        late=late,
        **shown,
    )


def _typed_reference(visit: Visit) -> str | None:
    return visit.form.get("reference", "").strip() or None


async def _late(visit: Visit, payment: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return its late money, None if none came; one that did not fail has none to look at."""
    if payment["status"] != "failed":
        return None
    try:
        late: dict[str, Any] = await visit.ask(f"/payments/{payment['id']}/late")
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return None
    return late


async def _events(visit: Visit, path: str) -> list[dict[str, Any]] | None:
    """Return what happened to it; None without the right to see that."""
    if not visit.may("list_payment_events"):
        return None
    events: list[dict[str, Any]] = (await visit.ask(f"{path}/events", limit=EVENTS_MAX))["events"]
    return events


def _path(visit: Visit) -> str:
    return f"/payments/{visit.part('payment_id')}"


ROUTES = (
    ("/payments/{payment_id:number}", ["GET"], show_payment),
    ("/payments/{payment_id:number}", ["POST"], change_payment),
)
