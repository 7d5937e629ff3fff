"""Amounts and times as people read them: `Rp 20.000`, the restaurant's own clock."""

from datetime import date, datetime

from babel.dates import format_date

from payment.core.business_day import BusinessDays
from payment.core.units import read_time, rfc_3339, written_us

DIGITS_MAX = 16
"""No number that counts here has more."""


def rupiah(amount: int) -> str:
    """Return whole rupiah as `Rp 20.000`."""
    sign = "\N{MINUS SIGN}" if amount < 0 else ""
    return f"{sign}Rp\N{NO-BREAK SPACE}{whole(abs(amount))}"


def whole(number: int) -> str:
    """Return a whole number with dots between thousands."""
    return f"{number:,}".replace(",", ".")


class Clock:
    """Times as the restaurant's clocks show them, in a language.

    Args:
        days: the restaurant's.
        language: `id` or `en`.
    """

    def __init__(self, days: BusinessDays, language: str) -> None:
        self._days = days
        self._language = language

    def moment(self, at: str) -> str:
        """Return an RFC 3339 time as day and time: `27 Nov 2026 13.05`."""
        return f"{format_date(self._local(at), 'd MMM y', locale=self._language)} {self.time(at)}"

    def moment_s(self, at: str) -> str:
        """Return an RFC 3339 time to the second."""
        return f"{self.moment(at)}{self._local(at).strftime(f'{self._dot}%S')}"

    def time(self, at: str) -> str:
        """Return an RFC 3339 time as the time of its day."""
        return self._local(at).strftime(f"%H{self._dot}%M")

    def day(self, day: str) -> str:
        """Return an ISO date: `Jumat, 27 November 2026`."""
        return format_date(date.fromisoformat(day), "EEEE, d MMMM y", locale=self._language)

    def day_of(self, at: str) -> str:
        """Return the ISO date of the restaurant's day that an RFC 3339 time belongs to."""
        return self._days.day_of(read_time(at)).isoformat()

    @property
    def _dot(self) -> str:
        return "." if self._language == "id" else ":"

    def _local(self, at: str) -> datetime:
        return self._days.local(read_time(at))

    def begins(self, day: date) -> str:
        """Return the RFC 3339 time at which a day of the restaurant begins."""
        return rfc_3339(written_us(self._days.begins_us(day)))


def seconds_since(at: str, now: datetime) -> int:
    """Return the whole seconds from an RFC 3339 time to another; 0 if it is to come."""
    return max(0, int((now - datetime.fromisoformat(at)).total_seconds()))


def read_whole(text: str) -> int | str | None:
    """Return a whole number: None for nothing, the text itself if it is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    return int(text) if is_number else text or None


def read_amount(text: str) -> int | str | None:
    """Return an amount as it is typed (`20.000`): None for nothing, the text itself if it is none."""
    typed = "".join(text.lower().removeprefix("rp").split())
    amount = read_whole(typed.replace(".", "").replace(",", ""))
    return amount if isinstance(amount, int) or not typed else text
