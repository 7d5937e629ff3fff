"""A day of the restaurant: where it begins and ends, whenever it starts and whatever its clocks do."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.business_day import BusinessDays
from payment.core.units import TIME_MAX_US, TIME_MIN_US, rfc_3339

DAY = timedelta(days=1)
HOUR_US = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ZONES = st.sampled_from(sorted(available_timezones()))
STARTS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59]))
DAYS = st.builds(BusinessDays, ZONES.map(ZoneInfo), STARTS)


def length_h(days: BusinessDays, day: date) -> float:
    assert days.ends_us(day) == days.begins_us(day + DAY)
    return (days.ends_us(day) - days.begins_us(day)) / HOUR_US


def from_midnight(zone: str) -> BusinessDays:
    return BusinessDays(ZoneInfo(zone))


def changes(zone: ZoneInfo, years: range) -> list[date]:
    """Return the days on which a zone's clocks are changed."""
    days = [date(years.start, 1, 1) + each * DAY for each in range(366 * len(years))]
    noon = [datetime.combine(day, time(12), zone).utcoffset() for day in days]
    return [day for day, (before, after) in zip(days[1:], pairwise(noon), strict=True) if before != after]


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
    assert length_h(from_midnight(zone), day) == hours


@pytest.mark.parametrize(
    ("zone", "starts", "day", "begins", "hours"),
    [
        ("Asia/Jakarta", "04:00", date(2026, 1, 31), "2026-01-30T21:00", 24),
        # Berlin's clocks go from 02:00 to 03:00, and half a year later from 03:00 to 02:00
        ("Europe/Berlin", "04:00", date(2026, 3, 28), "2026-03-28T03:00", 23),
        ("Europe/Berlin", "04:00", date(2026, 3, 29), "2026-03-29T02:00", 24),
        ("Europe/Berlin", "04:00", date(2026, 10, 24), "2026-10-24T02:00", 25),
        pytest.param(
            "Europe/Berlin", "02:30", date(2026, 3, 29), "2026-03-29T01:00", 23.5, id="no such time"
        ),
        pytest.param(
            "Europe/Berlin", "02:30", date(2026, 10, 25), "2026-10-25T00:30", 25, id="twice, the first counts"
        ),
        pytest.param(
            "America/Sao_Paulo", "00:30", date(2018, 11, 4), "2018-11-04T03:00", 23.5, id="none at midnight"
        ),
        # 23:59:59 was followed by 23:00:00, so Saturday's last hour came twice
        ("America/Sao_Paulo", "23:30", date(2018, 2, 17), "2018-02-18T01:30", 25),
        ("America/Sao_Paulo", "00:00", date(2018, 2, 18), "2018-02-18T03:00", 24),
        pytest.param("Pacific/Apia", "04:00", date(2011, 12, 30), "2011-12-30T10:00", 4, id="left out"),
    ],
)
def test_a_day_begins_the_first_time_that_the_clocks_show_its_start_or_more(
    zone: str, starts: str, day: date, begins: str, hours: float
) -> None:
    days = BusinessDays(ZoneInfo(zone), time.fromisoformat(starts))
    assert rfc_3339(days.begins_us(day)) == f"{begins}:00.000000Z"
    assert length_h(days, day) == hours
    moments_us = (*range(days.begins_us(day), days.ends_us(day), HOUR_US // 4), days.ends_us(day) - 1)
    assert {days.day_of(each) for each in moments_us} == {day}, "also while the start comes again"


@given(DAYS, st.dates(date(1840, 1, 1), date(2100, 1, 1)), st.data())
def test_days_tile_the_time_line(days: BusinessDays, day: date, data: st.DataObject) -> None:
    """No moment is in two days or in none, on any day and on those whose clocks change, of any zone."""
    changed = changes(days.zone, range(day.year, day.year + 1))
    for each in [day, *changed]:
        around = [days.begins_us(each + number * DAY) for number in range(-2, 4)]
        assert around == sorted(around)
        assert 0 <= length_h(days, each) <= 48
        for number, (begins_us, ends_us) in enumerate(pairwise(around), -2):
            if begins_us < ends_us:
                within = data.draw(st.integers(begins_us, ends_us - 1))
                for moment_us in (begins_us, within, ends_us - 1):
                    assert days.day_of(moment_us) == each + number * DAY


@given(DAYS, st.dates(date(1840, 1, 1), date(2100, 1, 1)))
def test_before_its_day_the_clocks_had_not_shown_the_start(days: BusinessDays, day: date) -> None:
    start = datetime.combine(day, days.starts)
    begins_us = days.begins_us(day)
    shown, before = (days.local(each).replace(tzinfo=None) for each in (begins_us, begins_us - 1))
    assert before < start <= shown


@pytest.mark.parametrize("starts", [time(), time(4), time(23, 59)])
@pytest.mark.parametrize("zone", ["Asia/Jakarta", "America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("time_us", [TIME_MIN_US, TIME_MAX_US])
def test_the_first_and_the_last_moment_have_a_day(zone: str, starts: time, time_us: int) -> None:
    days = BusinessDays(ZoneInfo(zone), starts)
    assert abs(days.begins_us(days.day_of(time_us)) - time_us) <= 48 * HOUR_US


@pytest.mark.parametrize(
    ("zone", "starts", "day", "count", "some"),
    [
        ("Asia/Jakarta", "00:00", date(2026, 3, 29), 24, ["00:00", "01:00", "02:00", "03:00"]),
        ("Asia/Jakarta", "04:00", date(2026, 3, 29), 24, ["04:00", "05:00"]),
        ("Asia/Jakarta", "04:30", date(2026, 3, 29), 25, ["04:30", "05:00", "06:00"]),
        ("Asia/Kolkata", "00:00", date(2026, 3, 29), 24, ["00:00", "01:00", "02:00", "03:00"]),
        ("Europe/Berlin", "00:00", date(2026, 3, 29), 23, ["00:00", "01:00", "03:00", "04:00"]),
        ("Europe/Berlin", "00:00", date(2026, 10, 25), 25, ["00:00", "01:00", "02:00", "02:00", "03:00"]),
        ("Europe/Berlin", "04:00", date(2026, 10, 24), 25, ["04:00", "05:00"]),
        ("America/Sao_Paulo", "00:00", date(2018, 11, 4), 23, ["01:00", "02:00"]),
        ("America/Havana", "00:00", date(2025, 11, 2), 25, ["00:00", "00:00", "01:00"]),
        ("Australia/Lord_Howe", "00:00", date(2026, 4, 5), 25, ["00:00", "01:00", "01:30", "02:00"]),
        ("Australia/Lord_Howe", "00:00", date(2026, 10, 4), 24, ["00:00", "01:00", "02:30", "03:00"]),
        ("Pacific/Apia", "00:00", date(2011, 12, 30), 0, []),
        # UTC says the year 0, and 10000, of the others
        ("Asia/Jakarta", "00:00", date.min, 17, ["07:07", "08:00"]),
        ("America/Los_Angeles", "00:00", date.max, 16, ["00:00", "01:00"]),
        ("America/Los_Angeles", "23:59", date.max, 0, []),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_show(
    zone: str, starts: str, day: date, count: int, some: list[str]
) -> None:
    days = BusinessDays(ZoneInfo(zone), time.fromisoformat(starts))
    hours = days.hours_of(day)
    assert len(hours) == count
    assert [days.hour_of(begins_us) for begins_us in hours][: len(some)] == some


@given(DAYS, st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_the_hours_of_a_day_are_all_of_it(days: BusinessDays, day: date) -> None:
    begins_us, ends_us = days.begins_us(day), days.ends_us(day)
    hours = days.hours_of(day)
    assert (hours[0] if hours else ends_us) == begins_us
    lengths = [later - earlier for earlier, later in pairwise([*hours, ends_us])]
    assert all(0 < length <= HOUR_US for length in lengths)
