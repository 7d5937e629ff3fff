"""Lists of payments: which, from where on, and how they look in a spreadsheet.

Newest first, by the time they were made and then by id. A page goes on where the last one ended (keyset), so
it costs the same at any depth, and payments made meanwhile neither repeat nor hide another.
"""

import base64
import binascii
import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, select, tuple_

from payment.core.errors import CursorInvalid
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.storage.literals import written
from payment.storage.tables import payments

_VERSION = "1"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
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
    """Return the column that leads the index to be used, with its value; none if that is the one of time.

    The column is given by its bounds, not by its value, and leads the order: so no other index will do. The
    database would rather walk through time if it thinks that the value is found often.
    """
    if selection.user_id is not None:
        return {_row.user_id: selection.user_id}
    if selection.status not in (None, Status.PAID):
        return {_row.status: selection.status}
    if selection.method is not None:
        return {_row.method: selection.method}
    return {}


def _conditions(selection: Selection) -> Iterable[ColumnElement[bool]]:
    """Yield what the order and its bounds do not say."""
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


def cursor_of(position: Position, selection: Selection) -> str:
    """Return an opaque cursor; `read_cursor` takes it with the same selection only."""
    where = f"{_VERSION}.{position.created_us}.{position.id}"
    return base64.urlsafe_b64encode(f"{where}.{_seal(where, selection)}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, selection: Selection) -> Position:
    """Return the position that a cursor stands for.

    Raises:
        CursorInvalid: it is none of ours, or of another selection.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        where, _, seal = base64.b64decode(padded, altchars=b"-_", validate=True).decode().rpartition(".")
        _, created_us, payment_id = where.split(".")
        position = Position(int(created_us), int(payment_id))
    except (binascii.Error, ValueError):
        raise CursorInvalid(field="cursor") from None
    if max(abs(position.created_us), abs(position.id)) > WHOLE_NUMBER_MAX:  # no payment is there
        raise CursorInvalid(field="cursor")
    if seal != _seal(where, selection) or cursor != cursor_of(position, selection):
        raise CursorInvalid(field="cursor")
    return position


def _seal(where: str, selection: Selection) -> str:
    """Return what makes a typing error, or a cursor of another list, evident; it keeps nobody out."""
    sealed = repr((where, sorted(asdict(selection).items())))
    return hashlib.blake2b(sealed.encode(), digest_size=6).hexdigest()


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as lines of CSV (RFC 4180).

    No text begins like a formula: a spreadsheet would run it (OWASP, "CSV Injection").
    """
    lines = io.StringIO()
    csv.writer(lines).writerows([_harmless(value) for value in row] for row in rows)
    return lines.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
