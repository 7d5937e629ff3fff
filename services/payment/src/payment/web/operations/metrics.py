"""/metrics: what Prometheus asks."""

import asyncio

from payment.watching.exposition import CONTENT_TYPE
from payment.web.endpoints import Request
from payment.web.replies import Reply


async def show_metrics(request: Request) -> Reply:
    """GET /metrics: those of this process, of the others on its port, and of what the database holds."""
    text = await asyncio.to_thread(request.exposition.text)
    return Reply(200, text, content_type=CONTENT_TYPE.encode())
