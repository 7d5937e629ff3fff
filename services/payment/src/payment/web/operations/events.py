"""/events: what happened, for audit, feeds and live views; and the story of one payment."""

from collections.abc import AsyncGenerator
from typing import Any

from payment.core.states import EventType
from payment.core.units import rfc_3339
from payment.ledger.cloud_events import cloud_event, server_sent
from payment.ledger.event_log import BEGINNING, EventPage, EventSelection, Place, read_place
from payment.ledger.feed import Feed
from payment.web.endpoints import Request
from payment.web.headers import wait_of
from payment.web.http_errors import ApiKeyRefused
from payment.web.replies import JSON, Reply, Stream, best_type

CLOUD_EVENTS = "application/cloudevents-batch+json"
EVENT_STREAM = "text/event-stream"
NEWEST = "newest"

STREAM_PAGE = 200
STREAM_PAUSE_S = 1.0
"""How long a stream waits before it looks whether its reader is still there, and may still read."""

PAUSES_TO_A_SIGN = 15
"""After so many pauses without an event the reader gets a sign of life; proxies cut what is silent."""

RETRY_AFTER_MS = 2000


async def list_events(request: Request) -> Reply | Stream:
    """GET /events: a page of them, or a stream that goes on."""
    asked = request.parameters
    selection = EventSelection(
        type=EventType(asked["type"]) if asked["type"] else None,
        order_id=asked["order_id"],
        payment_id=asked["payment_id"],
    )
    vary = (b"vary", b"Accept")
    wanted = best_type(request.header("accept"), JSON, CLOUD_EVENTS, EVENT_STREAM)
    if wanted == EVENT_STREAM:
        request.stream()
    last_seen = request.header("last-event-id") if wanted == EVENT_STREAM else None
    after = await _place(request.ledger.feed, last_seen or asked["after"])
    if wanted == EVENT_STREAM:
        first = await request.ledger.feed.page(selection, after, STREAM_PAGE)
        return Stream(_stream(request.ledger.feed, selection, first), EVENT_STREAM.encode(), [vary])
    page = await request.ledger.feed.page(selection, after, asked["limit"])
    headers = [vary]
    if (wait_s := wait_of(request.header_values(b"prefer"))) and not page.events:
        page = await request.ledger.feed.page_within(selection, page, asked["limit"], wait_s)
        if not request.caller.is_allowed():  # its key may have ended while it waited
            raise ApiKeyRefused
        headers.append((b"preference-applied", b"wait"))
    shown = [cloud_event(event) for event in page.events]
    if wanted == CLOUD_EVENTS:
        headers += request.next_link(str(page.place), parameter="after")
        return Reply.of_json(200, shown, headers, content_type=CLOUD_EVENTS)
    return Reply.of_json(200, _body(page, shown), [*headers, *request.next_link(str(page.place), "after")])


async def list_payment_events(request: Request) -> Reply:
    """GET /payments/{payment_id}/events: its story."""
    asked = request.parameters
    after = read_place(asked["after"]) if asked["after"] else BEGINNING
    page = await request.ledger.feed.story(asked["payment_id"], after, asked["limit"])
    shown = [cloud_event(event) for event in page.events]
    link = request.next_link(str(page.place) if page.has_more else None, "after")
    return Reply.of_json(200, _body(page, shown), link)


def _body(page: EventPage, shown: list[dict[str, Any]]) -> dict[str, Any]:
    return {"events": shown, "next_cursor": str(page.place), "begins_at": rfc_3339(page.begins_us)}


async def _place(feed: Feed, text: str | None) -> Place:
    if text is None:
        return BEGINNING
    return await feed.newest() if text == NEWEST else read_place(text)


async def _stream(feed: Feed, selection: EventSelection, page: EventPage) -> AsyncGenerator[str]:
    """Yield the events of a selection, of which the first page is given, and then those that come."""
    yield f"retry: {RETRY_AFTER_MS}\n\n"
    pauses = 0
    while True:
        yield "".join(map(server_sent, page.events))
        if not page.has_more:
            while not await feed.has_next(page.place, STREAM_PAUSE_S):
                if feed.has_ended:
                    return
                pauses += 1
                yield ":\n\n" if pauses % PAUSES_TO_A_SIGN == 0 else ""
        page = await feed.page(selection, page.place, STREAM_PAGE)
