"""A day of the restaurant: where it begins and ends, whatever its clocks do."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.states import Method
from payment.ledger.reports import (
    DailyReport,
    LateSums,
    Takings,
    day_begins_us,
    day_ends_us,
    day_of,
    hour_of,
    hours_of,
)

DAY = timedelta(days=1)
HOUR_US = 3_600_000_000


def length_h(day: date, zone: str) -> float:
    key = ZoneInfo(zone)
    return (day_begins_us(day + DAY, key) - day_begins_us(day, key)) / HOUR_US


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Asia/Jakarta", date(2026, 3, 29), 24),
        ("Europe/Berlin", date(2026, 3, 28), 24),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        pytest.param("America/Sao_Paulo", date(2018, 11, 4), 23, id="the clocks go on at midnight"),
        pytest.param("America/Havana", date(2025, 11, 2), 25, id="midnight comes twice"),
        pytest.param("Pacific/Apia", date(2011, 12, 30), 0, id="a day that was left out"),
    ],
)
def test_a_day_has_as_many_hours_as_its_clocks_say(zone: str, day: date, hours: float) -> None:
    assert length_h(day, zone) == hours


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    begins = datetime(2026, 1, 30, 17, tzinfo=UTC)
    assert day_begins_us(date(2026, 1, 31), ZoneInfo("Asia/Jakarta")) == begins.timestamp() * 1_000_000


ZONES = st.sampled_from(sorted(available_timezones()))


@given(ZONES, st.dates(date(1970, 1, 1), date(2100, 1, 1)))
def test_in_any_zone_one_day_ends_where_the_next_begins(zone: str, day: date) -> None:
    """No payment is in two days or in none: the beginnings only go on."""
    assert 0 <= length_h(day, zone) <= 48


@given(ZONES, st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001  # UTC is put on below
def test_today_is_the_day_whose_report_holds_what_is_paid_now(zone: str, now: datetime) -> None:
    now_us = round(now.replace(tzinfo=UTC).timestamp()) * 1_000_000
    key = ZoneInfo(zone)
    today = day_of(now_us, key)
    assert day_begins_us(today, key) <= now_us < day_begins_us(today + DAY, key)


def test_what_was_given_back_may_be_more_than_what_was_paid() -> None:
    cash = Takings(Method.CASH, payments=1, gross=100, refunds=250)
    card = Takings(Method.CARD, payments=2, gross=70, refunds=0)
    report = DailyReport(date(2026, 1, 31), "Asia/Jakarta", (cash, card), LateSums(0, 0, 0))
    assert (cash.net, card.net) == (-150, 70)
    assert (report.payments, report.gross, report.refunds, report.net) == (3, 170, 250, -80)


@pytest.mark.parametrize(
    ("zone", "day", "count", "some"),
    [
        ("Asia/Jakarta", date(2026, 3, 29), 24, ["00:00", "01:00", "02:00", "03:00"]),
        ("Asia/Kolkata", date(2026, 3, 29), 24, ["00:00", "01:00", "02:00", "03:00"]),
        ("Europe/Berlin", date(2026, 3, 29), 23, ["00:00", "01:00", "03:00", "04:00"]),
        ("Europe/Berlin", date(2026, 10, 25), 25, ["00:00", "01:00", "02:00", "02:00", "03:00"]),
        ("America/Sao_Paulo", date(2018, 11, 4), 23, ["01:00", "02:00"]),
        ("America/Havana", date(2025, 11, 2), 25, ["00:00", "00:00", "01:00"]),
        ("Australia/Lord_Howe", date(2026, 4, 5), 25, ["00:00", "01:00", "01:30", "02:00"]),
        ("Australia/Lord_Howe", date(2026, 10, 4), 24, ["00:00", "01:00", "02:30", "03:00"]),
        ("Pacific/Apia", date(2011, 12, 30), 0, []),
        # UTC says the year 0, and 10000, of the others
        ("Asia/Jakarta", date.min, 17, ["07:07", "08:00"]),
        ("America/Los_Angeles", date.max, 16, ["00:00", "01:00"]),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_show(zone: str, day: date, count: int, some: list[str]) -> None:
    key = ZoneInfo(zone)
    hours = hours_of(day, key)
    assert len(hours) == count
    assert [hour_of(begins_us, key) for begins_us in hours][: len(some)] == some


@given(ZONES, st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_in_any_zone_the_hours_of_a_day_are_all_of_it(zone: str, day: date) -> None:
    key = ZoneInfo(zone)
    begins_us, ends_us = day_begins_us(day, key), day_ends_us(day, key)
    hours = hours_of(day, key)
    assert (hours[0] if hours else ends_us) == begins_us
    lengths = [later - earlier for earlier, later in pairwise([*hours, ends_us])]
    assert all(0 < length <= HOUR_US for length in lengths)
