"""The story of a payment: events and attempts in the order of time."""

from typing import Any

from payment.console.story import tell


def notification(**facts: Any) -> dict[str, Any]:
    return {
        "service": "order",
        "state": "waiting",
        "told": None,
        "attempts": 0,
        "failures": [],
        "next_attempt_at": "2026-11-27T05:00:09Z",
        "settled_at": None,
    } | facts


def failure(at: str) -> dict[str, Any]:
    return {"at": at, "cause": "outage", "error": "no answer"}


def test_events_and_attempts_come_in_the_order_of_time() -> None:
    events = [
        {
            "time": "2026-11-27T05:00:00Z",
            "type": "payment.created",
            "actor": "kasir-1/abc",
            "data": {"amount": 1},
        },
        {
            "time": "2026-11-27T05:00:05Z",
            "type": "refund.created",
            "actor": "kasir-2/def",
            "data": {"amount": 1},
        },
    ]
    told = notification(
        state="delivered",
        told="paid",
        attempts=2,
        failures=[failure("2026-11-27T05:00:01Z")],
        next_attempt_at=None,
        settled_at="2026-11-27T05:00:03Z",
    )
    moments = tell(events, [told])
    assert [moment.what for moment in moments] == ["payment.created", "not told", "told", "refund.created"]
    assert moments[1].facts["more"] == 0
    assert [moment.who for moment in moments] == ["kasir-1/abc", "order", "order", "kasir-2/def"]


def test_attempts_that_are_not_kept_are_counted() -> None:
    kept = [failure(f"2026-11-27T05:00:0{second}Z") for second in range(1, 4)]
    moments = tell([], [notification(attempts=40, failures=kept)])
    assert [moment.facts.get("more") for moment in moments] == [37, 0, 0, None]
    assert moments[-1].what == "next try"


def test_a_dead_notification_has_no_next_try() -> None:
    moments = tell(
        [], [notification(state="dead", attempts=1, failures=[failure("t")], next_attempt_at=None)]
    )
    assert [moment.what for moment in moments] == ["not told"]


def test_a_superseded_one_says_so() -> None:
    moments = tell([], [notification(state="superseded", next_attempt_at=None, settled_at="t")])
    assert [moment.what for moment in moments] == ["superseded"]
