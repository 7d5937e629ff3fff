"""After a backup was restored: ids go on beyond all that may have been given since it was made.

Nobody but those who were told of them knows these ids: callers, followers of the events, logs, receipts. What
is not known is bounded: no database gives ids faster than `IDS_PER_S` (docs/decisions/0022).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, func, select

from payment.core.units import SECOND_US, WHOLE_NUMBER_MAX
from payment.storage.base import Database
from payment.storage.ids import keep_ids_above, last_id
from payment.storage.tables import event_log, events, notifications, payments, refunds

IDS_PER_S = 20_000
"""More than a database was seen to give (docs/scaling.md): two notifications for each of 6,200 payments."""

SPARE_S = 3600
"""By so much clocks may differ, and a backup may be older than its newest row shows."""

IDS: tuple[Column[int], ...] = (payments.c.id, refunds.c.id, notifications.c.id, events.c.id)
"""All that are given in turn. Those of API keys are drawn at random."""

_ABOVE_MAX = WHOLE_NUMBER_MAX // 4
"""So much can be passed on: an event's place has twice its row's id. It leaves room for what follows."""


class NoRoom(Exception):
    """An id would be so large that readers of JSON could not keep it."""


class TooLow(Exception):
    """The copy itself has larger ids."""


@dataclass(frozen=True, slots=True)
class GoesOn:
    """How the ids of a table go on.

    Attributes:
        last_id: the largest that the copy knows of.
        above: from now on ids are larger than this.
    """

    table: str
    last_id: int
    above: int


def go_on_after_restore(
    database: Database, now_us: int, payments_above: int | None = None
) -> Sequence[GoesOn]:
    """Let no id be given that may have been given after the backup was made.

    Args:
        database: restored, and not served yet.
        now_us: the time, microseconds since the epoch.
        payments_above: a payment's id of which somebody knows that no larger one was given; None if nobody
            does.

    Raises:
        TooLow: the copy has a payment with a larger id.
        NoRoom: there is no number that large.
    """
    with database.write() as connection:
        went_on = list(_go_on(connection, now_us, payments_above))
        for column, each in zip(IDS, went_on, strict=True):
            keep_ids_above(connection, column, each.above)
    return went_on


def bound(last: int, elapsed_us: int) -> int:
    """Return a number, easy to read, that ids cannot have passed.

    Args:
        last: the largest id that is known.
        elapsed_us: how long ago that was; less than nothing if a clock was wrong.
    """
    given_max = (max(0, elapsed_us) // SECOND_US + SPARE_S) * IDS_PER_S
    unit = int(f"1{'0' * (len(str(given_max)) - 1)}")
    return -(-(last + given_max) // unit) * unit


def _go_on(connection: Connection, now_us: int, payments_above: int | None) -> Iterator[GoesOn]:
    elapsed_us = now_us - _newest_us(connection)
    for column in IDS:
        last = last_id(connection, column)
        above = bound(last, elapsed_us)
        if column is payments.c.id and payments_above is not None:
            if payments_above < last:
                raise TooLow(last)
            above = payments_above
        if above > _ABOVE_MAX:
            raise NoRoom(column.table.name)
        yield GoesOn(column.table.name, last, above)


def _newest_us(connection: Connection) -> int:
    """Return when the newest change that the copy knows of was made."""
    newest = select(events.c.created_us).order_by(events.c.id.desc()).limit(1)
    times: list[int | None] = [
        connection.execute(query).scalar()
        for query in (
            newest,
            select(func.max(payments.c.created_us)),
            select(func.max(event_log.c.begins_us)),
        )
    ]
    return max(time_us for time_us in times if time_us is not None)
