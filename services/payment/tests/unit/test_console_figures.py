"""Amounts and times as people read them, at the ends of what there is."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.console.figures import Clock, read_amount, read_whole, rupiah, seconds_since, whole
from payment.core.business_day import BusinessDays
from payment.core.units import TIME_MAX_US, TIME_MIN_US, WHOLE_NUMBER_MAX, read_time, rfc_3339

JAKARTA = BusinessDays(ZoneInfo("Asia/Jakarta"))
ZONES = [
    JAKARTA.zone,
    ZoneInfo("UTC"),
    *map(ZoneInfo, ("Pacific/Apia", "America/Sao_Paulo", "Asia/Kathmandu", "America/Los_Angeles")),
]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "Rp\u00a00"),
        (999, "Rp\u00a0999"),
        (20_000, "Rp\u00a020.000"),
        (-1_500, "\u2212Rp\u00a01.500"),
        (WHOLE_NUMBER_MAX, "Rp\u00a09.007.199.254.740.991"),
    ],
)
def test_an_amount_is_shown_as_it_is_written_here(amount: int, shown: str) -> None:
    assert rupiah(amount) == shown


@given(st.integers(0, WHOLE_NUMBER_MAX))
def test_an_amount_that_is_shown_is_read_back(amount: int) -> None:
    assert read_amount(whole(amount)) == amount
    assert read_amount(rupiah(amount)) == amount


@pytest.mark.parametrize("typed", ["", " ", "rp", "Rp "])
def test_nothing_typed_is_no_amount(typed: str) -> None:
    assert read_amount(typed) is None


@pytest.mark.parametrize("typed", ["-1", "1e5", "dua", ".", "٣", "1" * 17, "9" * 5000, "20 ribu"])
def test_what_is_no_amount_is_returned_for_the_api_to_refuse(typed: str) -> None:
    assert read_amount(typed) == typed


@pytest.mark.parametrize(
    ("typed", "number"), [("", None), ("0", 0), ("007", 7), ("7.0", "7.0"), ("9" * 17, "9" * 17)]
)
def test_a_whole_number_has_digits_alone(typed: str, number: object) -> None:
    assert read_whole(typed) == number


def test_times_are_the_restaurants() -> None:
    indonesian, english = Clock(JAKARTA, "id"), Clock(JAKARTA, "en")
    at = "2026-11-27T17:05:09.123456Z"
    assert (indonesian.moment_s(at), english.moment(at)) == ("28 Nov 2026 00.05.09", "28 Nov 2026 00:05")
    assert indonesian.day_of(at) == "2026-11-28"
    assert indonesian.day("2026-11-28") == "Sabtu, 28 November 2026"


def test_the_nights_last_guests_are_of_the_evenings_day() -> None:
    clock = Clock(BusinessDays(JAKARTA.zone, time(4)), "id")
    assert clock.day_of("2026-11-27T20:59:59Z") == "2026-11-27"
    assert clock.day_of("2026-11-27T21:00:00Z") == "2026-11-28"
    assert clock.begins(date(2026, 11, 28)) == "2026-11-27T21:00:00.000000Z"
    assert clock.time("2026-11-27T20:30:00Z") == "03.30"


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("time_us", [TIME_MIN_US, TIME_MAX_US, 0])
def test_the_first_and_the_last_time_are_shown_everywhere(zone: ZoneInfo, time_us: int) -> None:
    """A key may be good until the last second of the year 9999."""
    clock = Clock(BusinessDays(zone), "id")
    assert clock.moment_s(rfc_3339(time_us))
    assert clock.day(clock.day_of(rfc_3339(time_us)))


@pytest.mark.parametrize("zone", ZONES, ids=str)
@given(day=st.dates())
def test_a_day_begins_at_a_time_that_the_api_reads(zone: ZoneInfo, day: date) -> None:
    """In Jakarta a day of 1900 began 7 hours, 7 minutes and 12 seconds before that of UTC."""
    begins = datetime.fromtimestamp(0, UTC)
    read = read_time(Clock(BusinessDays(zone), "id").begins(day))
    if date(1980, 1, 2) < day < date(2030, 1, 1):
        begins = datetime.fromtimestamp(read / 1_000_000, zone)
        assert (begins.date() - day).days in (0, 1), "the next one, if this was left out of the calendar"
    assert TIME_MIN_US <= read <= TIME_MAX_US


def test_seconds_are_whole_and_never_negative() -> None:
    now = datetime(2026, 11, 27, 5, 0, 9, 900_000, UTC)
    assert seconds_since("2026-11-27T05:00:00Z", now) == 9
    assert seconds_since("2026-11-27T05:00:10Z", now) == 0
