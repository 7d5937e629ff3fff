"""One delivery: what becomes of a claim, for every result."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.neighbours import ORDER
from payment.core.retry_policy import RetryPolicy
from payment.core.states import Outcome, State, Status
from payment.core.units import SECOND_US
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.telling.delivery import child_of, judge_delivery
from payment.telling.downstream import DeliveryResult

NOW_US = 1_700_000_000 * SECOND_US
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
RESEND_AFTER_US = 60 * SECOND_US
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
FAILURES = [outcome for outcome in Outcome if outcome is not Outcome.DELIVERED]
TRIED_AGAIN = [outcome for outcome in FAILURES if outcome is not Outcome.REJECTED]


def claim(
    *, attempts: int = 0, age_us: int = 0, unknown_for_us: int | None = None, now_us: int = NOW_US
) -> Claim:
    return Claim(
        id=1,
        neighbour=ORDER,
        target_id=7,
        payment_id=3,
        status=Status.PAID,
        attempts=attempts,
        created_us=now_us - age_us,
        due_since_us=now_us - age_us,
        unknown_since_us=None if unknown_for_us is None else now_us - unknown_for_us,
        resend_us=None,
        is_repeat=False,
        traceparent=TRACE,
        request_id=None,
    )


def judged(result: DeliveryResult, of: Claim | None = None, jitter: float = 1.0) -> Judgement:
    return judge_delivery(
        of or claim(), result, RetryPolicy(), now_us=NOW_US, jitter=jitter, resend_after_us=RESEND_AFTER_US
    )


def failed(outcome: Outcome, retry_after_s: float | None = None) -> DeliveryResult:
    return DeliveryResult(outcome, "HTTP 503", retry_after_s=retry_after_s)


def test_what_was_delivered_is_delivered() -> None:
    judgement = judged(DeliveryResult(Outcome.DELIVERED))
    assert judgement == Judgement(claim(), State.DELIVERED, Outcome.DELIVERED)
    assert judgement.error is None
    assert judgement.resend_us is None


def test_what_was_delivered_in_the_end_is_delivered_however_old_it_is() -> None:
    old = claim(attempts=400, age_us=30 * DAY_US, unknown_for_us=2 * HOUR_US)
    assert judged(DeliveryResult(Outcome.DELIVERED), old).state is State.DELIVERED


@pytest.mark.parametrize("outcome", TRIED_AGAIN)
def test_a_failure_is_tried_again_after_the_wait_that_the_jitter_says(outcome: Outcome) -> None:
    for attempts in (0, 3):
        judgement = judged(failed(outcome), claim(attempts=attempts), jitter=0.5)
        wait_us = round(RetryPolicy().ceiling_s(attempts + 1) * SECOND_US) // 2
        assert (judgement.state, judgement.next_attempt_us) == (State.WAITING, NOW_US + wait_us)


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failure_keeps_what_was_heard(outcome: Outcome) -> None:
    judgement = judged(failed(outcome))
    assert (judgement.claim, judgement.outcome, judgement.error) == (claim(), outcome, "HTTP 503")


def test_what_is_rejected_is_dead_at_once() -> None:
    judgement = judged(DeliveryResult(Outcome.REJECTED, "HTTP 400"))
    assert judgement.state is State.DEAD


@pytest.mark.parametrize("outcome", TRIED_AGAIN)
@pytest.mark.parametrize(
    ("age_us", "state"),
    [
        (14 * DAY_US - 1, State.WAITING),
        (14 * DAY_US, State.DEAD),
        (14 * DAY_US + 1, State.DEAD),
    ],
)
def test_after_fourteen_days_a_failure_is_the_last(outcome: Outcome, age_us: int, state: State) -> None:
    assert judged(failed(outcome), claim(attempts=350, age_us=age_us)).state is state


def test_the_patience_counts_from_when_it_became_due_not_from_when_it_was_made() -> None:
    """A dead one that somebody sends again has its fourteen days anew."""
    sent_again = replace(claim(age_us=60 * DAY_US), due_since_us=NOW_US - DAY_US)
    assert judged(failed(Outcome.OUTAGE), sent_again).state is State.WAITING


def test_the_first_time_that_an_id_is_unknown_starts_its_hour() -> None:
    judgement = judged(failed(Outcome.UNKNOWN))
    assert (judgement.state, judgement.unknown_since_us) == (State.WAITING, NOW_US)


@pytest.mark.parametrize(
    ("unknown_for_us", "state"),
    [
        (1, State.WAITING),
        (HOUR_US - 1, State.WAITING),
        (HOUR_US, State.DEAD),
        (HOUR_US + 1, State.DEAD),
    ],
)
def test_an_id_that_stays_unknown_for_an_hour_is_given_up(unknown_for_us: int, state: State) -> None:
    judgement = judged(failed(Outcome.UNKNOWN), claim(unknown_for_us=unknown_for_us))
    assert judgement.state is state
    assert judgement.unknown_since_us == NOW_US - unknown_for_us, "the hour does not begin anew"


def test_what_waited_out_an_outage_of_days_still_has_its_hour_of_being_unknown() -> None:
    judgement = judged(failed(Outcome.UNKNOWN), claim(attempts=50, age_us=5 * DAY_US))
    assert judgement.state is State.WAITING


@pytest.mark.parametrize("outcome", [Outcome.OUTAGE, Outcome.NO_ROUTE])
def test_an_outage_stops_the_clock_of_the_unknown(outcome: Outcome) -> None:
    """Nobody can know an id while nobody answers: the hour is one of saying "unknown", without a break."""
    judgement = judged(failed(outcome), claim(unknown_for_us=HOUR_US - 1))
    assert judgement.unknown_since_us is None
    assert judgement.state is State.WAITING


@pytest.mark.parametrize("outcome", [Outcome.OUTAGE, Outcome.NO_ROUTE])
def test_a_missing_route_and_an_outage_have_fourteen_days_not_an_hour(outcome: Outcome) -> None:
    old = claim(attempts=100, age_us=13 * DAY_US, unknown_for_us=2 * HOUR_US)
    assert judged(failed(outcome), old).state is State.WAITING


@pytest.mark.parametrize("outcome", TRIED_AGAIN)
@pytest.mark.parametrize("asked_s", [2.0, 120.0, 3600.0])
def test_a_wait_that_was_asked_for_is_kept_and_noted(outcome: Outcome, asked_s: float) -> None:
    judgement = judged(failed(outcome, retry_after_s=asked_s))
    asked_us = NOW_US + round(asked_s * SECOND_US)
    assert (judgement.next_attempt_us, judgement.not_before_us) == (asked_us, asked_us)


def test_a_wait_of_our_own_is_not_noted_as_asked_for() -> None:
    assert judged(failed(Outcome.OUTAGE)).not_before_us is None


@pytest.mark.parametrize(("asked_s", "kept_s"), [(-3600.0, 0), (0.0, 0), (1.0, 1), (1e9, 3600)])
def test_only_what_was_asked_for_is_noted_as_that_however_long_our_own_wait_is(
    asked_s: float, kept_s: int
) -> None:
    """`Retry-After: 1` must not make half an hour of our own backoff outlast the neighbour's coming back."""
    after_ten = claim(attempts=10)  # the next wait is up to 1024 s
    judgement = judged(failed(Outcome.OUTAGE, retry_after_s=asked_s), after_ten)
    assert judgement.not_before_us == NOW_US + kept_s * SECOND_US
    assert judgement.next_attempt_us == NOW_US + max(1024, kept_s) * SECOND_US


@pytest.mark.parametrize("outcome", FAILURES)
def test_an_attempt_without_an_answer_is_followed_by_the_newest_state_once_more(outcome: Outcome) -> None:
    """The other side may still apply it, after something newer."""
    silent = DeliveryResult(outcome, "ReadTimeout", may_come_late=True)
    assert judged(silent).resend_us == NOW_US + RESEND_AFTER_US


@pytest.mark.parametrize("outcome", FAILURES)
def test_an_attempt_that_was_answered_is_not_repeated_for_safety(outcome: Outcome) -> None:
    assert judged(failed(outcome)).resend_us is None


def test_a_silence_is_remembered_until_something_is_delivered_after_it() -> None:
    """What is delivered before `resend_us` is told once more then; a retry after it is that already."""
    silent = judged(DeliveryResult(Outcome.OUTAGE, "ReadTimeout", may_come_late=True), claim())
    assert silent.resend_us == NOW_US + RESEND_AFTER_US
    later = replace(claim(), resend_us=silent.resend_us)
    for result in (
        DeliveryResult(Outcome.DELIVERED),
        DeliveryResult(Outcome.OUTAGE, "HTTP 500"),
        DeliveryResult(Outcome.REJECTED),
    ):
        assert judged(result, later).resend_us == silent.resend_us


@given(
    outcome=st.sampled_from(Outcome),
    attempts=st.integers(0, 10**6),
    age_us=st.integers(0, 30 * DAY_US),
    unknown_for_us=st.none() | st.integers(0, 2 * HOUR_US),
    jitter=st.floats(0, 1),
    retry_after_s=st.none() | st.floats(-1e9, 1e9),
    may_come_late=st.booleans(),
)
def test_nothing_is_ever_dropped_superseded_or_sent_in_the_past(  # all that matters
    *,
    outcome: Outcome,
    attempts: int,
    age_us: int,
    unknown_for_us: int | None,
    jitter: float,
    retry_after_s: float | None,
    may_come_late: bool,
) -> None:
    given_claim = claim(attempts=attempts, age_us=age_us, unknown_for_us=unknown_for_us)
    result = DeliveryResult(outcome, "said", may_come_late=may_come_late, retry_after_s=retry_after_s)
    judgement = judged(result, given_claim, jitter)
    assert judgement.claim is given_claim
    assert (judgement.state is State.DELIVERED) is (outcome is Outcome.DELIVERED)
    assert judgement.state is not State.SUPERSEDED, "only a newer notification supersedes"
    if judgement.state is State.WAITING:
        assert NOW_US <= judgement.next_attempt_us <= NOW_US + HOUR_US
        assert (judgement.not_before_us or 0) <= judgement.next_attempt_us
    if judgement.unknown_since_us is not None:
        assert outcome is Outcome.UNKNOWN
        assert judgement.unknown_since_us <= NOW_US


TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


def test_the_call_belongs_to_the_trace_of_the_payment_and_is_a_span_of_its_own() -> None:
    match = TRACEPARENT.fullmatch(child_of(TRACE))
    assert match
    assert match[1] == TRACE_ID
    assert match[2] != "00f067aa0ba902b7"


def test_each_attempt_is_a_span_of_its_own() -> None:
    assert len({child_of(TRACE) for _ in range(100)}) == 100


def test_a_payment_without_a_trace_gets_a_new_one_for_each_call() -> None:
    made = [TRACEPARENT.fullmatch(child_of(None)) for _ in range(100)]
    assert all(made)
    assert len({match[1] for match in made if match}) == 100
