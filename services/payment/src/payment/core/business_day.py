"""The restaurant's day: where it begins and ends, by its own clocks, whatever these do. Pure.

A day begins the first time that the clocks show its start, or later than that: so a start that comes twice
begins the day the first time, and one that the clocks leave out begins it when they are set on. A day ends
where the next one begins. Times are microseconds since the epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from payment.core.units import SECOND_US, TIME_MAX_US, TIME_MIN_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = 3600 * SECOND_US
_DAY_US = 24 * _HOUR_US
MIDNIGHT = time()


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """The days of a restaurant; each has the date on which it begins.

    Attributes:
        zone: whose clocks count.
        starts: what they show when a day begins: at `04:00` the night's last guests belong to the evening.
    """

    zone: ZoneInfo
    starts: time = MIDNIGHT

    def begins_us(self, day: date) -> int:
        """Return when a day begins."""
        first = datetime.combine(day, self.starts, self.zone)
        begins_us: int = (first - _EPOCH) // _MICROSECOND
        by_both = [first.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
        if by_both[0] >= by_both[1]:  # the clocks show it once, or twice: then this is the first time
            return begins_us
        return self._set_on_us(first, begins_us - (by_both[1] - by_both[0]) // _MICROSECOND, begins_us)

    def ends_us(self, day: date) -> int:
        """Return when the next day begins."""
        return self.begins_us(day + _DAY) if day < date.max else self.begins_us(day) + _DAY_US

    def day_of(self, time_us: int) -> date:
        """Return the day that a time belongs to."""
        clock = self.local(time_us)
        day = clock.date() - _DAY if clock.time() < self.starts and clock.date() > date.min else clock.date()
        # where clocks were set back over a start, they show a day that is over
        while day < date.max and time_us >= self.begins_us(day + _DAY):
            day += _DAY
        while day > date.min and time_us < self.begins_us(day):
            day -= _DAY
        return day

    def hours_of(self, day: date) -> Sequence[int]:
        """Return when the hours of a day begin, ascending; none for a day that was left out of the calendar.

        The first begins with the day, the others whenever the clocks show a full hour, or would if they were
        not changed at that moment. Those to which UTC gives the year 0 or 10000 are left out.
        """
        begins_us = max(self.begins_us(day), TIME_MIN_US)
        ends_us = min(self.ends_us(day), TIME_MAX_US)
        hours: list[int] = []
        while begins_us < ends_us:
            hours.append(begins_us)
            clock = self.local(begins_us)
            full = clock.replace(minute=0, second=0, microsecond=0)
            begins_us += _HOUR_US - (clock.replace(tzinfo=None) - full.replace(tzinfo=None)) // _MICROSECOND
        return hours

    def hour_of(self, time_us: int) -> str:
        """Return what the clocks show at a time: `07:00`."""
        return f"{self.local(time_us):%H:%M}"

    def local(self, time_us: int) -> datetime:
        """Return a time as the clocks show it; in UTC where they show no year that there is."""
        moment = _EPOCH + timedelta(microseconds=time_us)
        try:
            return moment.astimezone(self.zone)
        except OverflowError:
            return moment

    def _set_on_us(self, wanted: datetime, before_us: int, after_us: int) -> int:
        """Return when, between two times, clocks that had not shown a time yet were set beyond it."""
        shown = wanted.replace(tzinfo=None)
        before_s, after_s = before_us // SECOND_US, after_us // SECOND_US
        while after_s - before_s > 1:
            between_s = (before_s + after_s) // 2
            if self.local(between_s * SECOND_US).replace(tzinfo=None) >= shown:
                after_s = between_s
            else:
                before_s = between_s
        return after_s * SECOND_US
