"""Lists of payments: which payments, and the query for a page of them.

Newest first: by the time they were made, then by id. A page begins after the last payment of the page before
(keyset pagination), so it costs the same at any depth, and a payment that is made meanwhile neither repeats
nor hides another.

No index has the amounts. A page of an amount looks along the index that it would have without, at so many
payments and no more; it may be short, or empty, and the next one goes on where it ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    RowMapping,
    Select,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from payment.core.states import Method, Status
from payment.storage.literals import written
from payment.storage.tables import payments

LOOKED_AT_MAX = 20_000
"""The most payments that a page of an amount looks at: some milliseconds' worth."""

IS_LAST = "is_last"
"""Marks the row that is not selected, but the last that was looked at."""

_row = payments.c


@dataclass(frozen=True, slots=True)
class Selection:
    """Which payments; None is any. Times are microseconds since the epoch.

    Attributes:
        created_from_us: made then or later.
        created_to_us: made before that.
        late: whether late money of it waits for somebody to say what became of it.
    """

    order_id: int | None = None
    user_id: int | None = None
    status: Status | None = None
    method: Method | None = None
    amount: int | None = None
    created_from_us: int | None = None
    created_to_us: int | None = None
    reference: str | None = None
    late: bool | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The payment after which a page begins."""

    created_us: int
    id: int

    @classmethod
    def of(cls, payment: RowMapping) -> "Position":
        """Return the position of a payment."""
        return cls(payment["created_us"], payment["id"])


@dataclass(frozen=True, slots=True)
class Page:
    """Some payments, newest first.

    Attributes:
        payments: their rows.
        following: after which payment the next page begins; None if this is the last one.
    """

    payments: Sequence[RowMapping]
    following: Position | None


def find_page(connection: Connection, selection: Selection, after: Position | None, limit: int) -> Page:
    """Return a page of payments.

    Args:
        connection: to read from.
        selection: which.
        after: where the page before ended; None for the first.
        limit: the most rows.
    """
    along = _along_an_index(selection, after)
    query: Select[Any] | CompoundSelect[Any]
    if _is_bounded(selection):
        query = _looked_at(along, selection, limit + 1)
    else:
        query = along.where(*_conditions(selection, _row)).limit(limit + 1)
    rows = connection.execute(query).mappings().all()
    found = [row for row in rows if not row.get(IS_LAST)]
    if len(found) > limit:
        return Page(found[:limit], Position.of(found[limit - 1]))
    return Page(found, Position.of(rows[-1]) if len(rows) > len(found) else None)


def _along_an_index(selection: Selection, after: Position | None) -> Select[Any]:
    """Return the query of all payments from a position on that an index has one after the other."""
    leading = _leading(selection)
    columns, values = [*leading, _row.created_us, _row.id], list(leading.values())
    query = select(payments).order_by(*(each.desc() for each in columns))
    if after is not None:
        query = query.where(tuple_(*columns) < (*values, after.created_us, after.id))
    elif selection.created_to_us is not None:
        query = query.where(tuple_(*columns[:-1]) < (*values, selection.created_to_us))
    elif leading:
        query = query.where(*(each <= literal(value, each.type) for each, value in leading.items()))
    if selection.created_from_us is not None:
        query = query.where(tuple_(*columns[:-1]) >= (*values, selection.created_from_us))
    elif leading:
        query = query.where(*(each >= literal(value, each.type) for each, value in leading.items()))
    if _row.status in leading:
        query = query.where(_row.status != written(Status.PAID))  # the condition of the index
    if _row.late in leading:
        query = query.where(_row.late == true())  # likewise
    if _row.reference in leading:
        query = query.where(_row.reference.is_not(None))  # likewise
    return query


def _is_bounded(selection: Selection) -> bool:
    """Say whether a page must end somewhere though it is not full; an order has only a few payments.

    So has a reference, but SQLite would rather look for a method by its index.
    """
    if selection.reference is not None:
        return True
    return selection.amount is not None and selection.order_id is None


def _looked_at(along: Select[Any], selection: Selection, limit: int) -> CompoundSelect[Any]:
    """Return the query of the payments, among the first `LOOKED_AT_MAX`, that are selected.

    If they are fewer than the limit, and there are more to look at, the last of those looked at follows them
    (`IS_LAST`). It is one statement, so both parts see the same payments. The amount is no condition of the
    inner query: PostgreSQL would look for another index, and read all that it has. Both databases read the
    inner query in its order, and stop once the outer one has enough.
    """
    looked_at = along.limit(LOOKED_AT_MAX).subquery()
    found = (
        select(looked_at, literal_column("0").label(IS_LAST))
        .where(*_conditions(selection, looked_at.c))
        .limit(limit)
        .subquery()
    )
    last_id = along.with_only_columns(_row.id).offset(LOOKED_AT_MAX - 1).limit(1).scalar_subquery()
    last = select(payments, literal_column("1").label(IS_LAST)).where(_row.id == last_id)
    return union_all(select(found), last).limit(limit)


def _leading(selection: Selection) -> dict[Column[Any], int | str | bool]:
    """Return the first column of the index to use, with its value; nothing for the index by time alone.

    The query orders by this column first, and gives it a lower and an upper bound instead of one value: only
    the index that begins with it fits. Otherwise a database that expects many rows with this value would
    read the index by time and skip the others.
    """
    if selection.reference is not None:
        return {_row.reference: selection.reference}
    if selection.late:
        return {_row.late: True}
    if selection.user_id is not None:
        return {_row.user_id: selection.user_id}
    if selection.status not in (None, Status.PAID):
        return {_row.status: selection.status}
    if selection.method is not None:
        return {_row.method: selection.method}
    return {}


def _conditions(
    selection: Selection, row: ReadOnlyColumnCollection[str, Any]
) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions on all columns but the first one of the index."""
    leading = _leading(selection)
    for column, value in (
        (_row.order_id, selection.order_id),
        (_row.user_id, selection.user_id),
        (_row.status, selection.status),
        (_row.method, selection.method),
        (_row.amount, selection.amount),
        (_row.late, selection.late),
    ):
        if value is not None and column not in leading:
            yield row[column.name] == value
