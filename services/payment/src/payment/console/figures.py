"""Amounts and times as people read them: `Rp 20.000`, the restaurant's own clock."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date


def rupiah(amount: int) -> str:
    """Return whole rupiah as `Rp 20.000`."""
    sign = "\N{MINUS SIGN}" if amount < 0 else ""
    return f"{sign}Rp\N{NO-BREAK SPACE}{whole(abs(amount))}"


def whole(number: int) -> str:
    """Return a whole number with dots between thousands."""
    return f"{number:,}".replace(",", ".")


class Clock:
    """Times in a zone and a language.

    Args:
        zone: the restaurant's.
        language: `id` or `en`.
    """

    def __init__(self, zone: ZoneInfo, language: str) -> None:
        self._zone = zone
        self._language = language

    def moment(self, time: str) -> str:
        """Return an RFC 3339 time as day and time: `27 Nov 2026 13.05`."""
        return f"{format_date(self._local(time), 'd MMM y', locale=self._language)} {self.time(time)}"

    def moment_s(self, time: str) -> str:
        """Return an RFC 3339 time to the second."""
        return f"{self.moment(time)}{self._local(time).strftime(f'{self._dot}%S')}"

    def time(self, time: str) -> str:
        """Return an RFC 3339 time as the time of its day."""
        return self._local(time).strftime(f"%H{self._dot}%M")

    def day(self, day: str) -> str:
        """Return an ISO date: `Jumat, 27 November 2026`."""
        return format_date(date.fromisoformat(day), "EEEE, d MMMM y", locale=self._language)

    def day_of(self, time: str) -> str:
        """Return the ISO date on which an RFC 3339 time is."""
        return self._local(time).date().isoformat()

    @property
    def _dot(self) -> str:
        return "." if self._language == "id" else ":"

    def _local(self, time: str) -> datetime:
        return datetime.fromisoformat(time).astimezone(self._zone)

    def begins(self, day: date) -> str:
        """Return the RFC 3339 time at which a day begins."""
        return datetime.combine(day, datetime.min.time(), self._zone).isoformat()


def seconds_since(time: str, now: datetime) -> int:
    """Return the whole seconds from an RFC 3339 time to another; 0 if it is to come."""
    return max(0, int((now - datetime.fromisoformat(time)).total_seconds()))
