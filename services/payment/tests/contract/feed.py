"""What those who follow the feed of events rely on from us; `feed_reader` is what they read.

A stream (`text/event-stream`) has no end, so no contract can hold it: `integration/test_events.py` does.
"""

import re
from collections.abc import Mapping
from typing import Any

from pact import match

import feed_reader
from any_client import UNKNOWN_ID, ask, error, from_state
from interaction import Interaction
from json_reading import Reader, refusal

EVENTS = ("GET", "/events")
STORY = ("GET", "/payments/{payment_id}/events")
FIRST = 1_769_862_896_789_012
CURSOR = f"2.{FIRST}"
GONE = "Peristiwa yang disebut after tidak ada di sini, atau sudah tidak ada"
HAPPENED_AT = {
    "payment.created": "payment exists",
    "payment.paid": "payment exists",
    "payment.failed": "payment is failed",
    "payment.refunded": "payment is refunded",
}
"""By type: the state in which that has happened."""


def feed_interactions() -> list[Interaction]:
    """Return what whoever follows the feed relies on from us."""
    any_event = _event(match.str("payment.created"), match.type({}))
    refund = {name: match.int(1) for name in ("id", "payment_id", "amount")}
    return [
        ask(
            "read the feed from its beginning",
            "payment exists",
            {},
            EVENTS,
            200,
            _page(any_event),
            feed_reader.page,
        ),
        _read_on(
            4,
            "read on from a cursor",
            "something happened after the cursor",
            200,
            _page(any_event),
            feed_reader.page,
        ),
        *(
            _read_on(
                number,
                description,
                "nothing happened after the cursor",
                200,
                {"events": [], "next_cursor": match.str(CURSOR)},
                feed_reader.end_of_log,
                request_headers=headers,
            )
            for number, description, headers in (
                (6, "read on at the end of the log", {}),
                (8, "wait at the end of the log", {"Prefer": "wait=1"}),
            )
        ),
        _read_on(
            10,
            "read on from a cursor that is not in the log",
            "cursor is not in the log",
            410,
            error(GONE),
            refusal(410),
        ),
        *(
            ask(
                f"read only what is {kind}",
                state,
                {},
                EVENTS,
                200,
                _page(_event(_exactly(kind), _payment(kind))),
                feed_reader.payments(kind),
                query={"type": kind},
            )
            for kind, state in HAPPENED_AT.items()
        ),
        ask(
            "read only what is refund.created",
            "payment is refunded in part",
            {"refunded": 5_000},
            EVENTS,
            200,
            _page(_event(_exactly("refund.created"), refund)),
            feed_reader.refunds,
            query={"type": "refund.created"},
        ),
        ask(
            "read the feed as the bare array of CloudEvents",
            "payment exists",
            {},
            EVENTS,
            200,
            match.each_like(any_event, min=1),
            feed_reader.batch,
            query={"limit": "100"},
            request_headers={"Accept": feed_reader.BATCH},
            answer_type=feed_reader.BATCH,
            answer_headers={
                "Link": match.regex(f'</events?limit=100&after={CURSOR}>; rel="next"', regex=feed_reader.NEXT)
            },
        ),
        ask(
            "read the story of a payment",
            "payment exists",
            {"payment_id": 1},
            STORY,
            200,
            {"events": match.each_like(any_event, min=1)},
            feed_reader.story,
        ),
        ask(
            "read the story of an unknown payment",
            "payment does not exist",
            {"payment_id": UNKNOWN_ID},
            STORY,
            404,
            error("Pembayaran tidak ditemukan"),
            refusal(404),
        ),
    ]


def _read_on(
    number: int, description: str, state: str, code: int, answer: Any, reads: Reader, **more: Any
) -> Interaction:
    cursor = f"{number}.{FIRST}"  # another each time: by its request alone is it known which answer it gets
    return ask(
        description,
        state,
        {"cursor": cursor},
        EVENTS,
        code,
        answer,
        reads,
        query={"after": cursor},
        request_generators={"query": {"after": from_state("cursor", "STRING")}},
        **more,
    )


def _page(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"events": match.each_like(event, min=1), "next_cursor": match.str(CURSOR)}


def _event(kind: Any, data: Any) -> Mapping[str, Any]:
    return {
        "specversion": _exactly(feed_reader.VERSION),
        "id": match.str(CURSOR),
        "source": match.str("urn:payment:service"),
        "type": kind,
        "subject": match.str("payments/1"),
        "time": match.regex("2026-01-31T12:34:56.789012Z", regex=feed_reader.TIME),
        "actor": match.str("kasir-1/Ab3dE6gH"),
        "data": data,
    }


def _exactly(words: str) -> Any:
    """Match these words alone: inside `each_like` a plain value stands for any of its kind."""
    return match.regex(words, regex=f"^{re.escape(words)}$")


def _payment(kind: str) -> Mapping[str, Any]:
    statuses = feed_reader.STATUSES[kind]
    return {
        **{name: match.int(1) for name in ("id", "order_id")},
        "amount": match.int(20_000),
        "status": match.regex(statuses[0], regex=f"^({'|'.join(statuses)})$"),
    }
