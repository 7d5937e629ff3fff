"""When the newest state is told once more after an attempt that may have been applied late: all cases."""

from dataclasses import replace
from typing import Any

import pytest

from payment.core.neighbours import ORDER
from payment.core.states import Outcome, State, Status
from payment.ledger.claims import Claim
from payment.ledger.judgements import (
    FAILURES_MAX,
    Judgement,
    Repeat,
    failures_after,
    repeat_after,
    repeat_after_lost_lease,
)

NOW_US = 1_000_000
SINCE_US = 5
FEARED_US = NOW_US + 60
"""Until then an attempt without an answer may still be applied."""

CLAIM = Claim(
    id=1,
    neighbour=ORDER,
    target_id=7,
    payment_id=3,
    status=Status.PAID,
    attempts=0,
    created_us=0,
    due_since_us=SINCE_US,
    unknown_since_us=None,
    resend_us=None,
    is_repeat=False,
    traceparent=None,
    request_id=None,
)
AT_LAST = Repeat(FEARED_US, FEARED_US)
SAME_PATIENCE = Repeat(FEARED_US, SINCE_US)


@pytest.mark.parametrize("is_repeat", [False, True])
@pytest.mark.parametrize("is_ours", [False, True])
@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (State.DELIVERED, Outcome.DELIVERED),
        (State.WAITING, Outcome.OUTAGE),
        (State.WAITING, Outcome.UNKNOWN),
        (State.DEAD, Outcome.REJECTED),
        (State.DEAD, Outcome.OUTAGE),
    ],
)
@pytest.mark.parametrize("resend_us", [None, NOW_US - 1, NOW_US])
def test_what_nobody_has_to_fear_is_not_repeated(
    *, resend_us: int | None, state: State, outcome: Outcome, is_ours: bool, is_repeat: bool
) -> None:
    judgement = Judgement(replace(CLAIM, is_repeat=is_repeat), state, outcome, resend_us=resend_us)
    assert repeat_after(judgement, is_ours=is_ours, now_us=NOW_US) is None


@pytest.mark.parametrize(
    ("state", "outcome", "is_ours", "is_repeat", "repeat"),
    [
        # told since; the earlier attempt may undo it
        (State.DELIVERED, Outcome.DELIVERED, True, False, AT_LAST),
        (State.DELIVERED, Outcome.DELIVERED, True, True, AT_LAST),
        (State.DELIVERED, Outcome.DELIVERED, False, False, AT_LAST),
        # it is tried again anyway, with the newest state
        (State.WAITING, Outcome.OUTAGE, True, False, None),
        (State.WAITING, Outcome.OUTAGE, True, True, None),
        (State.WAITING, Outcome.UNKNOWN, True, False, None),
        # another worker finished the row, so nobody tries it again
        (State.WAITING, Outcome.OUTAGE, False, False, AT_LAST),
        (State.WAITING, Outcome.OUTAGE, False, True, AT_LAST),
        # refused for good, but an earlier attempt may be applied
        (State.DEAD, Outcome.REJECTED, True, False, AT_LAST),
        (State.DEAD, Outcome.UNKNOWN, True, True, AT_LAST),
        # too old to be tried again: once more, and no oftener
        (State.DEAD, Outcome.OUTAGE, True, False, SAME_PATIENCE),
        (State.DEAD, Outcome.NO_ROUTE, True, False, SAME_PATIENCE),
        (State.DEAD, Outcome.DENIED, False, False, SAME_PATIENCE),
        (State.DEAD, Outcome.OUTAGE, True, True, None),
        (State.DEAD, Outcome.OUTAGE, False, True, None),
    ],
)
def test_what_may_be_applied_late_is_repeated_unless_it_is_tried_anyway(
    *, state: State, outcome: Outcome, is_ours: bool, is_repeat: bool, repeat: Repeat | None
) -> None:
    judgement = Judgement(replace(CLAIM, is_repeat=is_repeat), state, outcome, resend_us=FEARED_US)
    assert repeat_after(judgement, is_ours=is_ours, now_us=NOW_US) == repeat


@pytest.mark.parametrize(
    ("resend_us", "at_us"), [(None, NOW_US), (NOW_US - 1, NOW_US), (FEARED_US, FEARED_US)]
)
def test_after_a_lost_lease_the_newest_state_is_told_in_any_case(resend_us: int | None, at_us: int) -> None:
    judgement = Judgement(CLAIM, State.DELIVERED, Outcome.DELIVERED, resend_us=resend_us)
    assert repeat_after_lost_lease(judgement, now_us=NOW_US) == Repeat(at_us, at_us)


def test_the_last_ten_failures_are_kept_oldest_first() -> None:
    failures = None
    for number in range(FAILURES_MAX + 2):
        judgement = Judgement(CLAIM, State.WAITING, Outcome.OUTAGE, error=f"error {number}")
        failures = failures_after(failures, judgement, NOW_US + number)
    assert failures is not None
    assert [(each["at_us"], each["error"]) for each in failures] == [
        (NOW_US + number, f"error {number}") for number in range(2, FAILURES_MAX + 2)
    ]
    assert {each["outcome"] for each in failures} == {"outage"}


@pytest.mark.parametrize("before", [None, [{"at_us": 1, "outcome": "unknown", "error": None}]])
def test_a_delivery_is_no_failure_and_forgets_none(before: list[Any] | None) -> None:
    judgement = Judgement(CLAIM, State.DELIVERED, Outcome.DELIVERED)
    assert failures_after(before, judgement, NOW_US) == before
