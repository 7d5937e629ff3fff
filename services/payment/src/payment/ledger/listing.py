"""Lists of payments: which payments, and the query for a page of them.

Newest first: by the time they were made, then by id. A page begins after the last payment of the page before
(keyset pagination), so it costs the same at any depth, and a payment that is made meanwhile neither repeats
nor hides another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, select, tuple_

from payment.core.states import Method, Status
from payment.storage.literals import written
from payment.storage.tables import payments

_row = payments.c


@dataclass(frozen=True, slots=True)
class Selection:
    """Which payments; None is any. Times are microseconds since the epoch.

    Attributes:
        created_from_us: made then or later.
        created_to_us: made before that.
    """

    order_id: int | None = None
    user_id: int | None = None
    status: Status | None = None
    method: Method | None = None
    created_from_us: int | None = None
    created_to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The payment after which a page begins."""

    created_us: int
    id: int

    @classmethod
    def of(cls, payment: RowMapping) -> "Position":
        """Return the position of a payment."""
        return cls(payment["created_us"], payment["id"])


def find_page(
    connection: Connection, selection: Selection, after: Position | None, limit: int
) -> Sequence[RowMapping]:
    """Return payments, newest first.

    Args:
        connection: to read from.
        selection: which.
        after: where the page before ended; None for the first.
        limit: the most rows.
    """
    leading = _leading(selection)
    columns, values = [*leading, _row.created_us, _row.id], list(leading.values())
    query = select(payments).order_by(*(each.desc() for each in columns)).limit(limit)
    for condition in _conditions(selection):
        query = query.where(condition)
    if after is not None:
        query = query.where(tuple_(*columns) < (*values, after.created_us, after.id))
    elif selection.created_to_us is not None:
        query = query.where(tuple_(*columns[:-1]) < (*values, selection.created_to_us))
    elif leading:
        query = query.where(*(each <= value for each, value in leading.items()))
    if selection.created_from_us is not None:
        query = query.where(tuple_(*columns[:-1]) >= (*values, selection.created_from_us))
    elif leading:
        query = query.where(*(each >= value for each, value in leading.items()))
    return connection.execute(query).mappings().all()


def _leading(selection: Selection) -> dict[Column[Any], int | str]:
    """Return the first column of the index to use, with its value; nothing for the index by time alone.

    The query orders by this column first, and gives it a lower and an upper bound instead of one value: only
    the index that begins with it fits. Otherwise a database that expects many rows with this value would
    read the index by time and skip the others.
    """
    if selection.user_id is not None:
        return {_row.user_id: selection.user_id}
    if selection.status not in (None, Status.PAID):
        return {_row.status: selection.status}
    if selection.method is not None:
        return {_row.method: selection.method}
    return {}


def _conditions(selection: Selection) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions on all columns but the first one of the index."""
    leading = _leading(selection)
    for column, value in (
        (_row.order_id, selection.order_id),
        (_row.status, selection.status),
        (_row.method, selection.method),
    ):
        if value is not None and column not in leading:
            yield column == value
    if _row.status in leading:
        yield _row.status != written(Status.PAID)  # the condition of the index
