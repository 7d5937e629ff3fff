"""The retry policy: its schedule for people to read, and what must be true of any other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.retry_policy import RetryPolicy
from payment.core.units import SECOND_US

DAY_US = 24 * 3600 * SECOND_US
NOW_US = 1_700_000_000 * SECOND_US

# What production does, unless a setting says otherwise. The wait before the next attempt is drawn evenly
# from 0 to this; the last column is the sum of all waits so far, if the jitter were always the most.
SCHEDULE = """\
after attempt  waits at most  in sum at most
            1            1 s             1 s
            2            2 s             3 s
            3            4 s             7 s
            4            8 s            15 s
            5           16 s            31 s
            6           32 s            63 s
            7           64 s           127 s
            8          128 s           255 s
            9          256 s           511 s
           10          512 s          1023 s
           11         1024 s          2047 s
           12         2048 s          4095 s
           13         3600 s          7695 s
           14         3600 s         11295 s
           15         3600 s         14895 s
"""

waits_s = st.floats(min_value=0.001, max_value=7 * 24 * 3600)
policies = st.builds(
    RetryPolicy,
    wait_initial_s=waits_s,
    wait_max_s=waits_s,
    give_up_after_s=waits_s,
    unknown_for_s=waits_s,
    retry_after_max_s=waits_s,
)
attempts = st.integers(1, 50) | st.integers(1, 10**9)
times_us = st.integers(0, 4 * NOW_US)
jitters = st.floats(0, 1)


def test_the_schedule_is_this() -> None:
    """Change the policy, and change this table: it is what the documentation promises to the neighbours."""
    policy, total_s = RetryPolicy(), 0.0
    lines = ["after attempt  waits at most  in sum at most"]
    for attempt in range(1, 16):
        ceiling_s = policy.ceiling_s(attempt)
        total_s += ceiling_s
        lines.append(f"{attempt:13}  {f'{ceiling_s:g} s':>13}  {f'{total_s:g} s':>14}")
    assert "\n".join(lines) + "\n" == SCHEDULE


def test_the_patience_is_this() -> None:
    """14 days for a neighbour that is down, an hour for an id that it does not know."""
    policy = RetryPolicy()
    assert policy.give_up_after_s == 14 * 24 * 3600
    assert policy.unknown_for_s == 3600
    assert policy.retry_after_max_s == 3600


def test_the_jitter_chooses_evenly_from_now_to_the_ceiling() -> None:
    policy = RetryPolicy()
    drawn = [policy.next_attempt_at(4, NOW_US, eighths / 8) - NOW_US for eighths in range(9)]
    assert drawn == [eighths * SECOND_US for eighths in range(9)]


@given(policies, attempts, times_us, jitters, st.none() | st.floats(-1e9, 1e9))
def test_the_next_attempt_is_never_before_now(
    policy: RetryPolicy, attempt: int, now_us: int, jitter: float, retry_after_s: float | None
) -> None:
    assert policy.next_attempt_at(attempt, now_us, jitter, retry_after_s) >= now_us


@given(policies, attempts, times_us, jitters)
def test_nobody_waits_longer_than_the_ceiling_unasked(
    policy: RetryPolicy, attempt: int, now_us: int, jitter: float
) -> None:
    wait_us = policy.next_attempt_at(attempt, now_us, jitter) - now_us
    assert wait_us <= round(policy.ceiling_s(attempt) * SECOND_US)


@given(policies, attempts)
def test_ceilings_only_grow_and_end_at_the_longest_wait(policy: RetryPolicy, attempt: int) -> None:
    assert 0 < policy.ceiling_s(attempt) <= policy.ceiling_s(attempt + 1) <= policy.wait_max_s


@pytest.mark.parametrize("attempt", [64, 65, 1025, 2**31, 2**63, 10**400])
def test_a_huge_attempt_waits_the_longest_wait(attempt: int) -> None:
    """2.0 ** 1024 overflows; a row that somebody has retried by hand for years must not stop a lane."""
    policy = RetryPolicy()
    assert policy.ceiling_s(attempt) == policy.wait_max_s
    assert policy.next_attempt_at(attempt, NOW_US, 1.0) == NOW_US + 3600 * SECOND_US


def test_attempts_count_from_one() -> None:
    with pytest.raises(AssertionError):
        RetryPolicy().ceiling_s(0)


@pytest.mark.parametrize(
    ("asked_s", "waited_s"),
    [
        (None, 1.0),  # nothing asked: the jitter
        (0.0, 1.0),
        (0.5, 1.0),  # less than the jitter says: the jitter
        (1.5, 1.5),
        (120.0, 120.0),  # far more than the ceiling
        (3600.0, 3600.0),
        (3601.0, 3600.0),  # no more than an hour: a neighbour cannot silence us for a year
        (1e12, 3600.0),
        (float("inf"), 3600.0),
        (-1.0, 1.0),  # a date that has passed
        (-1e12, 1.0),
    ],
)
def test_retry_after_is_honoured_up_to_its_limit(asked_s: float | None, waited_s: float) -> None:
    jitter = 0.25  # of the four seconds after the third attempt
    next_us = RetryPolicy().next_attempt_at(3, NOW_US, jitter, asked_s)
    assert next_us == NOW_US + round(waited_s * SECOND_US)


@pytest.mark.parametrize(
    ("asked_s", "kept_s"), [(0.0, 0), (0.5, 0.5), (3600.0, 3600), (3601.0, 3600), (1e12, 3600), (-1.0, 0)]
)
def test_what_a_neighbour_asks_for_is_a_time_up_to_the_limit(asked_s: float, kept_s: float) -> None:
    assert RetryPolicy().not_before(NOW_US, asked_s) == NOW_US + round(kept_s * SECOND_US)


def test_a_neighbour_that_asks_for_nothing_names_no_time() -> None:
    assert RetryPolicy().not_before(NOW_US, None) is None


@given(policies, attempts, times_us, jitters, st.floats(0, 1e9))
def test_what_was_asked_for_is_waited_for_and_no_more_than_that_or_the_ceiling(
    policy: RetryPolicy, attempt: int, now_us: int, jitter: float, asked_s: float
) -> None:
    wait_us = policy.next_attempt_at(attempt, now_us, jitter, asked_s) - now_us
    honoured_us = round(min(asked_s, policy.retry_after_max_s) * SECOND_US)
    assert honoured_us <= wait_us <= max(honoured_us, round(policy.ceiling_s(attempt) * SECOND_US))


@given(policies, attempts, times_us, st.floats(-1e9, 0))
def test_asking_for_a_time_that_has_passed_is_asking_for_nothing(
    policy: RetryPolicy, attempt: int, now_us: int, asked_s: float
) -> None:
    unasked_us = policy.next_attempt_at(attempt, now_us, 0.5)
    assert policy.next_attempt_at(attempt, now_us, 0.5, asked_s) == unasked_us


@pytest.mark.parametrize(
    ("age_us", "is_exhausted"),
    [
        (-1, False),
        (0, False),
        (14 * DAY_US - 1, False),
        (14 * DAY_US, True),
        (14 * DAY_US + 1, True),
    ],
)
def test_news_is_given_up_when_it_is_fourteen_days_old(age_us: int, is_exhausted: bool) -> None:  # noqa: FBT001  # a column of the table
    assert RetryPolicy().is_exhausted(NOW_US, NOW_US + age_us) is is_exhausted


@pytest.mark.parametrize(
    ("age_us", "is_for_good"),
    [
        (-1, False),
        (0, False),
        (3600 * SECOND_US - 1, False),
        (3600 * SECOND_US, True),
        (3600 * SECOND_US + 1, True),
    ],
)
def test_an_id_unknown_for_an_hour_is_unknown_for_good(age_us: int, is_for_good: bool) -> None:  # noqa: FBT001  # a column of the table
    assert RetryPolicy().is_unknown_for_good(NOW_US, NOW_US + age_us) is is_for_good


@given(policies, times_us)
def test_the_patience_of_a_policy_is_its_own(policy: RetryPolicy, since_us: int) -> None:
    """Both limits are the policy's, and neither is the other's."""
    give_up_us = since_us + round(policy.give_up_after_s * SECOND_US)
    unknown_us = since_us + round(policy.unknown_for_s * SECOND_US)
    assert not policy.is_exhausted(since_us, give_up_us - 1)
    assert policy.is_exhausted(since_us, give_up_us + 1)
    assert not policy.is_unknown_for_good(since_us, unknown_us - 1)
    assert policy.is_unknown_for_good(since_us, unknown_us + 1)
