"""What a neighbour's `Retry-After` says, in seconds (RFC 9110, 10.2.3): a number, a date, or nothing."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from payment.telling.downstream import _retry_after_s


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("120", 120), (" 5 ", 5)])
def test_a_number_is_seconds(value: str, seconds: float) -> None:
    assert _retry_after_s(value) == seconds


def test_a_date_is_the_time_until_then_and_none_if_it_is_past() -> None:
    now = datetime.now(UTC)
    in_a_minute = _retry_after_s(format_datetime(now + timedelta(minutes=1), usegmt=True))
    assert in_a_minute is not None
    assert 55 < in_a_minute <= 60
    assert _retry_after_s(format_datetime(now - timedelta(days=1), usegmt=True)) == 0


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "-5", "5.5", "1e3", "٣", "9" * 5_000, "1 Jan 99999 00:00:00 GMT", "a, b c d e f"],
)
def test_anything_else_says_nothing(value: str | None) -> None:
    assert _retry_after_s(value) is None
