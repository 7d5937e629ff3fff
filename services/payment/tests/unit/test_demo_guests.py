"""The sample days of `payment demo`, as they are drawn: like a restaurant's, the same for a seed."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from click import IntRange

from payment.cli.demo import demo
from payment.core.business_day import BusinessDays
from payment.core.neighbours import NEIGHBOURS, ORDER, USER
from payment.core.states import Method, Outcome, Status
from payment.core.units import SECOND_US, read_time
from payment.demo.guests import DEAREST, THOUSAND, visits_of
from payment.demo.history import DAYS, DAYS_MIN, History, history_until
from payment.demo.mishaps import Mishap, answer_of
from payment.demo.visits import Share, Visit

JAKARTA = ZoneInfo("Asia/Jakarta")
NOW_US = read_time("2026-03-14T20:30:00+07:00")
MONDAY = date(2026, 3, 2)
SEEDS = range(1, 9)


def shares_of(visits: list[Visit]) -> list[Share]:
    return [share for visit in visits for share in visit.shares]


def days(*weekdays: int) -> Iterator[list[Share]]:
    """Yield the payments of these days of the week, of several history."""
    for seed in SEEDS:
        for weekday in weekdays:
            yield shares_of(visits_of(MONDAY + timedelta(days=weekday), JAKARTA, seed, 1))


def test_a_day_has_120_to_180_payments_or_so_and_a_weekend_more() -> None:
    working, weekend = ([len(day) for day in days(*which)] for which in ((0, 1, 2, 3), (5, 6)))
    assert all(105 <= number <= 200 for number in (*working, *weekend))
    assert 120 <= sum(working) / len(working) < sum(weekend) / len(weekend) <= 185


def test_most_come_for_lunch_and_for_dinner_and_nobody_before_it_opens() -> None:
    hours: Counter[int] = Counter()
    for seed in SEEDS:
        midnight_us = BusinessDays(JAKARTA).begins_us(MONDAY)
        for share in shares_of(visits_of(MONDAY, JAKARTA, seed, 1)):
            hours[(share.at_us - midnight_us) // (3600 * SECOND_US)] += 1
    assert set(hours) <= set(range(10, 22))
    assert min(hours[12], hours[19]) > 4 * hours[15]


def test_amounts_are_believable_and_mostly_whole_thousands() -> None:
    shares = [share for day in days(*range(7)) for share in day]
    amounts = [share.amount for share in shares]
    assert min(amounts) >= 10 * THOUSAND
    assert max(amounts) <= DEAREST
    assert 0.9 < sum(amount % THOUSAND == 0 for amount in amounts) / len(amounts) < 1
    assert {share.method for share in shares} == set(Method)


def test_split_bills_have_two_to_four_shares_and_never_more_than_their_total() -> None:
    visits = [visit for seed in SEEDS for visit in visits_of(MONDAY, JAKARTA, seed, 1)]
    split = [visit for visit in visits if visit.order_total]
    left = [(visit.order_total or 0) - sum(share.amount for share in visit.shares) for visit in split]
    assert {len(visit.shares) for visit in split} == {1, 2, 3, 4}, "one: of two, whose second is not paid"
    assert min(left) == 0
    assert 0 < sum(each > 0 for each in left) < len(left) / 4


def test_what_waits_is_paid_fails_or_is_never_settled_and_refunds_come_after_it_was_paid() -> None:
    shares = [share for day in days(*range(7)) for share in day]
    waiting = [share for share in shares if share.waits]
    assert {share.method for share in waiting} == {Method.QRIS, Method.TRANSFER}
    ends = Counter(share.settled.status if share.settled else None for share in waiting)
    assert set(ends) == {Status.PAID, Status.FAILED, None}
    assert ends[Status.PAID] > 5 * (ends[Status.FAILED] + ends[None])
    refunds = [(share, share.given_back) for share in shares if share.given_back]
    assert all(share.paid_at_us is not None and share.paid_at_us < given.at_us for share, given in refunds)
    assert all(given.amount is None or 0 < given.amount < share.amount for share, given in refunds)
    assert {given.amount is None for _, given in refunds} == {True, False}


def test_the_same_seed_and_time_make_the_same_days_and_others_do_not() -> None:
    history = history_until(NOW_US, JAKARTA, 1)
    assert history == history_until(NOW_US, JAKARTA, 1)
    assert history.visits != history_until(NOW_US, JAKARTA, 2).visits
    later = history_until(NOW_US + 60 * 60 * SECOND_US, JAKARTA, 1)
    assert later.visits[: len(history.visits) - 3] == history.visits[:-3], "what is over does not change"


@pytest.mark.parametrize("clock", ["00:00:00", "04:00:00", "10:01:00", "11:40:00", "15:00:00", "23:59:59"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_any_time_of_the_day_something_waits_to_be_settled(clock: str, seed: int) -> None:
    now_us = read_time(f"2026-03-14T{clock}+07:00")
    history = history_until(now_us, JAKARTA, seed)
    assert history.begins_us == BusinessDays(JAKARTA).begins_us(date(2026, 3, 14) - timedelta(days=DAYS))
    assert all(visit.begins_us <= now_us for visit in history.visits)
    numbers = [visit.order_id for visit in history.visits]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert any(is_pending(share, now_us) for visit in history.visits for share in visit.shares)


def is_pending(share: Share, now_us: int) -> bool:
    """Say whether a payment still waits."""
    is_settled = share.settled is not None and share.settled.at_us <= now_us
    return share.waits and share.at_us <= now_us and not is_settled


def test_one_evening_order_is_away_for_twenty_minutes() -> None:
    history: History = history_until(NOW_US, JAKARTA, 1)
    dinner_us = BusinessDays(JAKARTA).begins_us(date(2026, 3, 12)) + 19 * 3600 * SECOND_US
    for minutes, outcome in (
        (-7, Outcome.DELIVERED),
        (0, Outcome.OUTAGE),
        (14, Outcome.OUTAGE),
        (16, Outcome.DELIVERED),
    ):
        at_us = dinner_us + minutes * 60 * SECOND_US
        assert answer_of(history.mishaps, ORDER, 1, at_us).outcome is outcome, minutes
        assert answer_of(history.mishaps, USER, 1, at_us).outcome is Outcome.DELIVERED


def test_a_mishap_befalls_whom_it_concerns() -> None:
    told = answer_of([], USER, 7, 5)
    mishap = Mishap(USER, 4, 6, answer=told, target_id=7)
    called = [
        (neighbour, target, at) for neighbour in NEIGHBOURS.values() for target in (7, 8) for at in (3, 4, 6)
    ]
    assert [each for each in called if mishap.befalls(*each)] == [(USER, 7, 4)]


def test_the_command_offers_as_few_days_as_have_all_mishaps() -> None:
    """It loads none of this to say so."""
    (days,) = (option for option in demo.params if option.name == "days")
    assert isinstance(days.type, IntRange)
    assert (days.type.min, days.default) == (DAYS_MIN, DAYS)
    weeks = history_until(NOW_US, JAKARTA, 1, DAYS_MIN)
    assert weeks.begins_us == BusinessDays(JAKARTA).begins_us(date(2026, 3, 11))
    assert {each.neighbour for each in weeks.mishaps} == {ORDER, USER}
