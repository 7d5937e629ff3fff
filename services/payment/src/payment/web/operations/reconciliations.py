"""/reconciliations: have payments compared with what Order and User say, which a worker does."""

from payment.ledger.answers import FindingAnswer, ReconciliationAnswer
from payment.ledger.cursors import cursor_of_id, read_id
from payment.ledger.reconciliations import Asked
from payment.web.endpoints import Request
from payment.web.replies import Reply

_answer = ReconciliationAnswer()
_finding_answer = FindingAnswer()


async def create_reconciliation(request: Request) -> Reply:
    """POST /reconciliations."""
    body = request.body
    since = body.get("since")
    asked = Asked(
        since=since,
        since_us=request.ledger.days.begins_us(since) if since else 0,
        service=body.get("service"),
        repair=body["repair"],
    )
    row = await request.ledger.reconciliations.ask(asked, request.cause())
    location = f"/reconciliations/{row['id']}".encode()
    return Reply.of_text(202, _answer.text(row), [(b"location", location)])


async def list_reconciliations(request: Request) -> Reply:
    """GET /reconciliations: those that are kept."""
    rows = await request.ledger.reconciliations.all()
    return Reply.of_json(200, {"reconciliations": _answer.dump(rows, many=True)})


async def get_reconciliation(request: Request) -> Reply:
    """GET /reconciliations/{reconciliation_id}."""
    row = await request.ledger.reconciliations.one(request.parameters["reconciliation_id"])
    return Reply.of_text(200, _answer.text(row))


async def list_findings(request: Request) -> Reply:
    """GET /reconciliations/{reconciliation_id}/findings: what did not agree."""
    asked = request.parameters
    filters = {"list": "findings", "of": asked["reconciliation_id"]}
    after = read_id(asked["cursor"], filters) if asked["cursor"] else 0
    limit = asked["limit"]
    rows = await request.ledger.reconciliations.findings(asked["reconciliation_id"], after, limit + 1)
    cursor = cursor_of_id(rows[limit - 1]["number"], filters) if len(rows) > limit else None
    body = {"findings": _finding_answer.dump(rows[:limit], many=True), "next_cursor": cursor}
    return Reply.of_json(200, body, request.next_link(cursor))


async def cancel_reconciliation(request: Request) -> Reply:
    """POST /reconciliations/{reconciliation_id}/cancel."""
    row = await request.ledger.reconciliations.cancel(request.parameters["reconciliation_id"])
    return Reply.of_text(200, _answer.text(row))
