"""The day's closing: what was paid and what was given back on one day of the restaurant, by method.

A payment counts on the day it was paid, with its whole amount, whatever is given back later; a refund counts
on the day it was made, under its payment's method. Neither changes any more, so a day that is over has the
same report however often it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select, func, literal, select, union_all

from payment.core.states import Method, Status
from payment.storage.tables import payments, refunds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_NEVER_US = 2**63 - 1
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


@dataclass(frozen=True, slots=True)
class DailyReport:
    """A day's takings: every method in a fixed order, and their sums."""

    date: date
    time_zone: str
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


def day_of(now_us: int, zone: ZoneInfo) -> date:
    """Return what day it is in the zone."""
    return (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone).date()


def day_begins_us(day: date, zone: ZoneInfo) -> int:
    """Return when a day of the zone begins, microseconds since the epoch.

    A day ends when the next begins: where clocks are changed it has 23 or 25 hours.
    """
    return (datetime.combine(day, time(), zone) - _EPOCH) // timedelta(microseconds=1)


def daily_report(connection: Connection, day: date, zone: ZoneInfo) -> DailyReport:
    """Return the closing of a day, all of it from one state of the database."""
    begins_us = day_begins_us(day, zone)
    ends_us = day_begins_us(day + _DAY, zone) if day < date.max else _NEVER_US
    rows = connection.execute(sums_between(begins_us, ends_us)).all()

    def total(kind: str, method: Method, of: Callable[[Any], int]) -> int:
        return sum(of(row) for row in rows if row.kind == kind and row.method == method)

    def amount(row: Any) -> int:
        return int(row.billions) * _PART + int(row.rest)

    methods = tuple(
        Takings(
            method,
            payments=total("paid", method, lambda row: row.number),
            gross=total("paid", method, amount),
            refunds=total("refunded", method, amount),
        )
        for method in Method
    )
    return DailyReport(day, zone.key, methods)


def sums_between(begins_us: int, ends_us: int) -> CompoundSelect[Any]:
    """Return the query of what was paid and given back in a time; each part is a range of an index."""

    def within(column: ColumnElement[int | None]) -> ColumnElement[bool]:
        return (column >= begins_us) & (column < ends_us)

    was_paid = payments.c.status.in_([Status.PAID, Status.REFUNDED])
    at_once = payments.c.settled_us.is_(None)
    of_refund = refunds.c.payment_id == payments.c.id
    return union_all(
        _sums("paid", payments.c.amount).where(within(payments.c.created_us), at_once, was_paid),
        _sums("paid", payments.c.amount).where(within(payments.c.settled_us), was_paid),
        _sums("refunded", refunds.c.amount)
        .join_from(refunds, payments, of_refund)
        .where(within(refunds.c.created_us)),
    )


def _sums(kind: str, amount: ColumnElement[int]) -> Select[Any]:
    return select(
        literal(kind).label("kind"),
        payments.c.method,
        func.count().label("number"),
        func.sum(amount // _PART).label("billions"),
        func.sum(amount % _PART).label("rest"),
    ).group_by(payments.c.method)
