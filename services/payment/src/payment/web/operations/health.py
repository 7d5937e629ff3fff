"""Whether the process lives, and whether it can book."""

from payment.core.errors import Unavailable
from payment.storage.migrate import SCHEMA_REVISION, is_current
from payment.web.endpoints import Request
from payment.web.replies import Reply


async def live(request: Request) -> Reply:
    """GET /healthz: the process answers."""
    del request
    return Reply.of_json(200, {"status": "ok"})


async def ready(request: Request) -> Reply:
    """GET /readyz: payments can be booked; else 503 and what is wrong.

    The database answers, can be written, and its schema is current, or newer.
    """
    try:
        revision, why_read_only = await request.ledger.condition()
    except Unavailable:
        return Reply.of_json(503, {"status": "unavailable", "error": "the database does not answer"})
    if not is_current(revision):
        wrong = f"the schema is at {revision}, not at {SCHEMA_REVISION}; run: payment migrate"
        return Reply.of_json(503, {"status": "unavailable", "error": wrong})
    if why_read_only:
        wrong = f"the database can only be read: {why_read_only}"
        return Reply.of_json(503, {"status": "unavailable", "error": wrong})
    return Reply.of_json(200, {"status": "ok"})
