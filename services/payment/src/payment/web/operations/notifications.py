"""/notifications: what each neighbour was told, and what is to be sent again."""

from payment.core.states import State
from payment.ledger.answers import NotificationAnswer
from payment.web.endpoints import Request
from payment.web.replies import Reply

_notification_answer = NotificationAnswer()


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
    return Reply.of_json(200, body, request.next_link(cursor))


async def retry_notification(request: Request) -> Reply:
    """POST /notifications/{notification_id}/retry."""
    row = await request.ledger.send_again(request.parameters["notification_id"], request.cause())
    return Reply.of_text(200, _notification_answer.text(row))
