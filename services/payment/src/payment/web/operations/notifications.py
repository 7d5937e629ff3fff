"""/notifications: what each neighbour was told, and what is to be sent again; /neighbours: how each is."""

from dataclasses import asdict

from payment.core.metrics import is_circuit_open
from payment.core.states import Outcome, State
from payment.ledger.answers import NeighbourAnswer, NotificationAnswer
from payment.ledger.cursors import cursor_of_id, read_id
from payment.web.endpoints import Request
from payment.web.replies import Reply

_notification_answer = NotificationAnswer()
_neighbour_answer = NeighbourAnswer()


async def list_payment_notifications(request: Request) -> Reply:
    """GET /payments/{payment_id}/notifications: what each service was told."""
    rows = await request.ledger.notifications.of_payment(request.parameters["payment_id"])
    return Reply.of_json(200, {"notifications": _notification_answer.dump(rows, many=True)})


async def list_notifications(request: Request) -> Reply:
    """GET /notifications."""
    asked = request.parameters
    limit = asked["limit"]
    filters = {name: asked[name] for name in ("service", "state", "cause")}
    rows = await request.ledger.notifications.page(
        service=asked["service"],
        state=State(asked["state"]) if asked["state"] else None,
        failed_by=Outcome(asked["cause"]) if asked["cause"] else None,
        before_id=read_id(asked["cursor"], filters) if asked["cursor"] else None,
        limit=limit + 1,
    )
    cursor = cursor_of_id(rows[limit - 1]["id"], filters) if len(rows) > limit else None
    body = {"notifications": _notification_answer.dump(rows[:limit], many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, request.next_link(cursor))


async def retry_notification(request: Request) -> Reply:
    """POST /notifications/{notification_id}/retry."""
    row = await request.ledger.notifications.send_again(
        request.parameters["notification_id"], request.cause()
    )
    return Reply.of_text(200, _notification_answer.text(row))


async def retry_notifications(request: Request) -> Reply:
    """POST /notifications/retry: all that are dead, or some kind of them."""
    failed_by = request.body.get("cause")
    number = await request.ledger.notifications.send_all_again(
        request.cause(),
        service=request.body.get("service"),
        failed_by=Outcome(failed_by) if failed_by else None,
    )
    return Reply.of_json(200, {"retried": number})


async def list_neighbours(request: Request) -> Reply:
    """GET /neighbours: what each has not been told, and whether it answers."""
    backlogs = await request.ledger.notifications.backlogs()
    shown = [_neighbour_answer.dump(asdict(each) | _circuit_of(each.service)) for each in backlogs]
    return Reply.of_json(200, {"neighbours": shown})


def _circuit_of(service: str) -> dict[str, str | None]:
    is_open = is_circuit_open(service)
    return {"circuit": None if is_open is None else "open" if is_open else "closed"}
