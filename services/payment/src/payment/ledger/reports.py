"""A day's closing, and its hours: what was paid and given back on one day of the restaurant, by method.

A payment counts when it was paid, with its whole amount, whatever is given back later; a refund counts when
it was made, under its payment's method. Neither changes any more, so a day that is over has the same reports
however often they are asked for. Both come from one statement, so the hours of a day add up to the day.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import gcd
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    bindparam,
    func,
    literal,
    select,
    union_all,
)

from payment.core.business_day import BusinessDays
from payment.core.errors import DayPruned
from payment.core.states import Method, Status
from payment.core.units import rfc_3339, written_us
from payment.ledger.payment_pruning import payments_begin_us
from payment.storage.tables import late_money, payments, refunds

_HOUR_US = 3_600_000_000
_PART = 1_000_000_000
"""Billions and the rest are added apart: 1,025 of the largest amounts overflow SQLite's integers."""


@dataclass(frozen=True, slots=True)
class Takings:
    """What came in and went out by one method, whole rupiah.

    Attributes:
        method: the method.
        payments: how many were paid.
        gross: what they came to.
        refunds: what was given back, of these or of earlier ones.
    """

    method: Method
    payments: int
    gross: int
    refunds: int

    @property
    def net(self) -> int:
        """Return what came in less what went out; negative if more was given back."""
        return self.gross - self.refunds


class Sums:
    """What the takings by method come to together."""

    __slots__ = ()
    methods: tuple[Takings, ...]

    @property
    def payments(self) -> int:
        """Return how many were paid."""
        return sum(takings.payments for takings in self.methods)

    @property
    def gross(self) -> int:
        """Return what was paid."""
        return sum(takings.gross for takings in self.methods)

    @property
    def refunds(self) -> int:
        """Return what was given back."""
        return sum(takings.refunds for takings in self.methods)

    @property
    def net(self) -> int:
        """Return what came in less what went out."""
        return self.gross - self.refunds


@dataclass(frozen=True, slots=True)
class LateSums:
    """What came on a day for payments that had failed, when their bills had no room for it: no takings.

    Attributes:
        payments: how many.
        amount: what they came to, whole rupiah.
        open: of how many nobody has said what became of the money. This alone may change later.
    """

    payments: int
    amount: int
    open: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day that is reported on.

    Attributes:
        date: on which it begins.
        time_zone: whose, an IANA name.
        begins_us: from then on, microseconds since the epoch.
        ends_us: until before this.
    """

    date: date
    time_zone: str
    begins_us: int
    ends_us: int


@dataclass(frozen=True, slots=True)
class DailyReport(Sums):
    """A day's takings: every method in a fixed order, and their sums; and what came late."""

    day: Day
    methods: tuple[Takings, ...]
    late: LateSums


@dataclass(frozen=True, slots=True)
class Hour(Sums):
    """The takings of one hour of a day.

    Attributes:
        starts_us: when it begins, microseconds since the epoch.
        hour: what the restaurant's clocks say then, `07:00`.
        methods: every method in a fixed order.
    """

    starts_us: int
    hour: str
    methods: tuple[Takings, ...]


@dataclass(frozen=True, slots=True)
class HourlyReport:
    """A day's takings hour by hour; together they are the day's."""

    day: Day
    hours: tuple[Hour, ...]


def _day(day: date, days: BusinessDays) -> Day:
    """Return a day of a restaurant, as far as it has times that can be written."""
    return Day(day, days.zone.key, written_us(days.begins_us(day)), written_us(days.ends_us(day)))


def daily_report(connection: Connection, which: date, days: BusinessDays) -> DailyReport:
    """Return the closing of a day, all of it from one state of the database.

    Raises:
        DayPruned: payments of that day may have been deleted as old.
    """
    day = _day(which, days)
    rows = connection.execute(SUMS, bounds(day.begins_us, day.ends_us, day.ends_us - day.begins_us)).all()
    _refuse_pruned(connection, day)
    return DailyReport(day, _takings(rows), _late(rows))


def hourly_report(connection: Connection, which: date, days: BusinessDays) -> HourlyReport:
    """Return the takings of a day hour by hour, all of it from one state of the database.

    Raises:
        DayPruned: payments of that day may have been deleted as old.
    """
    day, hours = _day(which, days), days.hours_of(which)
    if not hours:  # a day that was left out of the calendar
        return HourlyReport(day, ())
    slot_us = gcd(*(later - earlier for earlier, later in pairwise([*hours, hours[-1] + _HOUR_US])))
    of_hour: list[list[Any]] = [[] for _ in hours]
    for row in connection.execute(SUMS, bounds(day.begins_us, day.ends_us, slot_us)):
        of_hour[bisect_right(hours, day.begins_us + row.slot * slot_us) - 1].append(row)
    _refuse_pruned(connection, day)
    return HourlyReport(
        day,
        tuple(
            Hour(starts_us, days.hour_of(starts_us), _takings(rows))
            for starts_us, rows in zip(hours, of_hour, strict=True)
        ),
    )


def _refuse_pruned(connection: Connection, day: Day) -> None:
    """Let a day pass of which no payment was deleted, as far as the statement before this one could see."""
    since_us = payments_begin_us(connection)
    if since_us is not None and day.begins_us < since_us:
        raise DayPruned(field="date", date=day.date, since=rfc_3339(since_us))


def _takings(rows: Sequence[Any]) -> tuple[Takings, ...]:
    """Return what rows of `SUMS` come to, by method."""
    numbers: Counter[tuple[str, str]] = Counter()
    amounts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        numbers[row.kind, row.method] += row.number
        amounts[row.kind, row.method] += int(row.billions) * _PART + int(row.rest)
    return tuple(
        Takings(
            method,
            payments=numbers["paid", method],
            gross=amounts["paid", method],
            refunds=amounts["refunded", method],
        )
        for method in Method
    )


def _late(rows: Sequence[Any]) -> LateSums:
    """Return what rows of `SUMS` say of late money."""
    late = [row for row in rows if row.kind == "late"]
    return LateSums(
        payments=sum(row.number for row in late),
        amount=sum(int(row.billions) * _PART + int(row.rest) for row in late),
        open=sum(row.number for row in rows if row.kind == "late, open"),
    )


_BEGINS_US, _ENDS_US, _SLOT_US = (
    bindparam(name, type_=BigInteger) for name in ("begins_us", "ends_us", "slot_us")
)


def bounds(begins_us: int, ends_us: int, slot_us: int) -> dict[str, int]:
    """Return the parameters of `SUMS`: from when to when, and how long the slots are, microseconds."""
    return {"begins_us": begins_us, "ends_us": ends_us, "slot_us": max(1, slot_us)}


def _sums(kind: str, amount: ColumnElement[int], time_us: ColumnElement[Any]) -> Select[Any]:
    """Return the sums of what lies within the time, by slot and method; `time_us` is a column of an index."""
    return (
        select(
            literal(kind).label("kind"),
            ((time_us - _BEGINS_US) // _SLOT_US).label("slot"),
            payments.c.method,
            func.count().label("number"),
            func.sum(amount // _PART).label("billions"),
            func.sum(amount % _PART).label("rest"),
        )
        .where(time_us >= _BEGINS_US, time_us < _ENDS_US)
        .group_by("slot", payments.c.method)
    )


def _all_sums() -> CompoundSelect[Any]:
    was_paid = payments.c.status.in_([Status.PAID, Status.REFUNDED])
    at_once = payments.c.settled_us.is_(None)
    came_late = _sums("late", late_money.c.amount, late_money.c.came_us).join_from(
        late_money, payments, late_money.c.payment_id == payments.c.id
    )
    still_open = _sums("late, open", late_money.c.amount, late_money.c.came_us).join_from(
        late_money, payments, late_money.c.payment_id == payments.c.id
    )
    return union_all(
        _sums("paid", payments.c.amount, payments.c.created_us).where(at_once, was_paid),
        _sums("paid", payments.c.amount, payments.c.settled_us).where(was_paid),
        _sums("refunded", refunds.c.amount, refunds.c.created_us).join_from(
            refunds, payments, refunds.c.payment_id == payments.c.id
        ),
        came_late,
        still_open.where(late_money.c.resolution.is_(None)),
    )


SUMS = _all_sums()
"""What was paid, given back, and came late in a time, by slots of equal length: see `bounds`. Each part is a
range of an index."""
