"""Cursors: where the next page of a list begins, as opaque text that the caller sends back."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from payment.core.errors import CursorInvalid
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.listing import Position, Selection

_VERSION = "1"
_ADDED = ("amount", "reference", "late")
"""Filters that came later: a cursor that was given before stays good where they are not asked for."""


Filters = Mapping[str, Any]
"""What a list was asked for, by name; a value says itself in `repr`."""


def cursor_of(position: Position, selection: Selection) -> str:
    """Return an opaque cursor; `read_cursor` takes it with the same selection only."""
    return cursor_within(position, _filters(selection))


def read_cursor(cursor: str, selection: Selection) -> Position:
    """Return the position that a cursor stands for.

    Raises:
        CursorInvalid: it is not one of ours, or it belongs to another selection.
    """
    return read_within(cursor, _filters(selection))


def cursor_within(position: Position, filters: Filters) -> str:
    """Return an opaque cursor of another list by time; `read_within` takes it with the same filters only."""
    return _cursor((position.created_us, position.id), filters)


def read_within(cursor: str, filters: Filters) -> Position:
    """Return the position after which a page begins.

    Raises:
        CursorInvalid: it is not one of ours, or it belongs to another list.
    """
    created_us, row_id = _numbers(cursor, filters, 2)
    return Position(created_us, row_id)


def cursor_of_id(last_id: int, filters: Filters) -> str:
    """Return an opaque cursor of a list that goes by id; `read_id` takes it with the same filters only."""
    return _cursor((last_id,), filters)


def read_id(cursor: str, filters: Filters) -> int:
    """Return the id after which a page begins.

    Raises:
        CursorInvalid: it is not one of ours, or it belongs to another list.
    """
    (last_id,) = _numbers(cursor, filters, 1)
    return last_id


def _filters(selection: Selection) -> Filters:
    return {
        name: value for name, value in asdict(selection).items() if value is not None or name not in _ADDED
    }


def _cursor(numbers: Sequence[int], filters: Filters) -> str:
    where = ".".join([_VERSION, *map(str, numbers)])
    return base64.urlsafe_b64encode(f"{where}.{_seal(where, filters)}".encode()).decode().rstrip("=")


def _numbers(cursor: str, filters: Filters, count: int) -> Sequence[int]:
    """Return the numbers that a cursor holds, `count` of them, or raise CursorInvalid."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        where, _, _ = base64.b64decode(padded, altchars=b"-_", validate=True).decode().rpartition(".")
        _, *parts = where.split(".")
        numbers = [int(part) for part in parts]
    except (binascii.Error, ValueError):
        raise CursorInvalid(field="cursor") from None
    if len(numbers) != count or max(map(abs, numbers)) > WHOLE_NUMBER_MAX:  # nothing is there
        raise CursorInvalid(field="cursor")
    if cursor != _cursor(numbers, filters):
        raise CursorInvalid(field="cursor")
    return numbers


def _seal(where: str, filters: Filters) -> str:
    """Return a checksum that shows a typing error, or a cursor of another list. It is no protection."""
    sealed = repr((where, sorted(filters.items())))
    return hashlib.blake2b(sealed.encode(), digest_size=6).hexdigest()
