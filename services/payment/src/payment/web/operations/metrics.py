"""/metrics: what Prometheus asks."""

from payment.watching.exposition import CONTENT_TYPE
from payment.web.endpoints import Request
from payment.web.replies import Reply


async def show_metrics(request: Request) -> Reply:
    """GET /metrics: those of this process, of the others on its port, and of what the database holds."""
    return Reply(200, await request.exposition.text(), content_type=CONTENT_TYPE.encode())
