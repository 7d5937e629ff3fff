"""Whole numbers, times and dates. Times are microseconds since the epoch, amounts whole rupiah."""

import re
from datetime import UTC, date, datetime, timedelta

SECOND_US = 1_000_000
DAY_US = 24 * 3600 * SECOND_US
WHOLE_NUMBER_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, 6)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

TIME_MIN_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
TIME_MAX_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The first and the last time that can be written: the years 1 to 9999 of UTC."""


def written_us(time_us: int) -> int:
    """Return the time that can be written which is nearest to a time."""
    return min(max(time_us, TIME_MIN_US), TIME_MAX_US)


def rfc_3339(time_us: int) -> str:
    """Return microseconds since the epoch as RFC 3339 UTC."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+ -])(\d\d:\d\d))", re.ASCII
)


def read_time(text: str) -> int:
    """Return an RFC 3339 time as microseconds since the epoch.

    A space before the zone is taken for the + that a query string makes of it. Its fraction may have any
    number of digits; what is beyond microseconds is dropped.

    Raises:
        ValueError: it is none.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction, sign, zone = match.groups()
    ahead = f"{'-' if sign == '-' else '+'}{zone}" if zone else "+00:00"
    moment = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{ahead}")
    return (moment - _EPOCH) // _MICROSECOND


def read_date(text: str) -> date:
    """Return an ISO 8601 calendar date.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    return date.fromisoformat(text)
