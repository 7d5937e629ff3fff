"""The list of refunds: those of a time, of whichever payments, newest first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select, tuple_

from payment.ledger.listing import Position
from payment.storage.tables import refunds

_row = refunds.c


@dataclass(frozen=True, slots=True)
class RefundPage:
    """Some refunds, newest first.

    Attributes:
        refunds: their rows.
        following: after which refund the next page begins; None if this is the last one.
    """

    refunds: Sequence[RowMapping]
    following: Position | None


def find_refund_page(
    connection: Connection, from_us: int | None, to_us: int | None, after: Position | None, limit: int
) -> RefundPage:
    """Return a page of refunds, along the index by time.

    Args:
        connection: to read from.
        from_us: made then or later, microseconds since the epoch; None for any.
        to_us: made before that; None for any.
        after: where the page before ended; None for the first.
        limit: the most rows.
    """
    query = select(refunds).order_by(_row.created_us.desc(), _row.id.desc()).limit(limit + 1)
    if from_us is not None:
        query = query.where(_row.created_us >= from_us)
    if to_us is not None:
        query = query.where(_row.created_us < to_us)
    if after is not None:
        query = query.where(tuple_(_row.created_us, _row.id) < (after.created_us, after.id))
    rows = connection.execute(query).mappings().all()
    return RefundPage(rows[:limit], Position.of(rows[limit - 1]) if len(rows) > limit else None)
