"""The story of a payment: what happened to it, and what the neighbours were told. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or is going to.

    Attributes:
        at: when, RFC 3339.
        what: the type of an event; or `told`, `not told`, `superseded`, `next try` of a notification.
        who: the actor of an event; the neighbour's name for a notification.
        facts: what the template says of it.
    """

    at: str
    what: str
    who: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def tell(events: Sequence[Mapping[str, Any]], notifications: Sequence[Mapping[str, Any]]) -> list[Moment]:
    """Return the moments of a payment, oldest first.

    Args:
        events: those of the payment, as the API gives them.
        notifications: those of the payment, as the API gives them.
    """
    moments = [Moment(event["time"], event["type"], event["actor"], event["data"]) for event in events]
    for notification in notifications:
        moments += _attempts(notification)
    # what is given up was not told at that same time
    return sorted(moments, key=lambda moment: (moment.at, moment.what == "notification.dead"))


def _attempts(notification: Mapping[str, Any]) -> Iterator[Moment]:
    """Yield what came of each attempt to tell a neighbour, and when the next one is."""
    service = notification["service"]
    left_out = (
        notification["attempts"] - len(notification["failures"]) - (notification["state"] == "delivered")
    )
    for number, failure in enumerate(notification["failures"]):
        more = max(0, left_out) if number == 0 else 0
        yield Moment(failure["at"], "not told", service, {**failure, "more": more})
    if notification["state"] == "delivered":
        yield Moment(notification["settled_at"], "told", service, notification)
    elif notification["state"] == "superseded":
        yield Moment(notification["settled_at"], "superseded", service, notification)
    elif notification["next_attempt_at"]:
        yield Moment(notification["next_attempt_at"], "next try", service, notification)
